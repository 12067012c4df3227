"""A published model as it was published, with other parameters in their places.

The same files with the same names, shapes and dtypes, and what no encoder reads (a
pooler, the head of a pretraining) as it was: unchanged parameters give back the same
bytes, so that whatever read the original reads the copy.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from hsjax.atomic import finished
from hsjax.batch import IMAGE
from hsjax.models.one_tower import KIND, PARTS, families_of, tower_of
from hsjax.models.published_files import (
    INDEX,
    OTHER_RUNTIMES,
    SINGLE,
    PublishedError,
    PublishedModel,
    write_tensors,
)
from hsjax.models.published_weights import short_names, to_tensors

BESIDE = (".json", ".txt", ".model")  # configs and tokenizers
MODULES = "modules.json"  # of sentence-transformers: what follows the encoder


def write_copy(
    directory: Path,
    source: PublishedModel,
    towers: Mapping[str, tuple[dict, Mapping, Mapping]],
) -> None:
    """Every file of the source that a model is read from.

    Args:
      towers: "text" or "image" -> (settings, params, stats) as `load_parameters` gives;
        a source with both keeps the one that is not here.

    Raises:
      PublishedError: a parameter of another shape than the source's, or one that its
        dtype cannot hold.
    """
    new: dict[str, np.ndarray] = {}
    for side, variables in towers.items():
        new |= _replaced(source, side, *variables)
    directory.mkdir(parents=True, exist_ok=True)
    modules = _modules(source.directory)
    for name in modules:  # one that only divides by a length has an empty folder
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name in _files_beside(source.directory, directory, modules):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        _copy(source.directory / name, directory / name)
    for path, names, metadata in source.tensors.files():
        tensors = {name: new.get(name, source.tensors[name]) for name in names}
        write_tensors(directory / path.name, tensors, metadata=metadata)
    if not (source.directory / SINGLE).is_file():
        _copy(source.directory / INDEX, directory / INDEX)


def _modules(directory: Path) -> list[Path]:
    """Folders of what follows the encoder, below the directory."""
    try:
        told = json.loads((directory / MODULES).read_text(encoding="utf-8"))
        found = [Path(module["path"]) for module in told]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    found = [x for x in found if x.parts and not {"..", x.anchor} & {*x.parts}]
    return [x for x in found if (directory / x).is_dir()]


def _files_beside(directory: Path, output: Path, modules: Sequence[Path]) -> list[Path]:
    """What is read beside the weights: small files, and all of a module's folder."""
    found, whole, own = [], directory.resolve(), output.resolve()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        apart = any(fnmatch(name.as_posix(), x) for x in OTHER_RUNTIMES)
        hidden = any(part.startswith(".") for part in name.parts[:-1])
        inside = (whole / name).is_relative_to(own)
        if apart or hidden or inside or not path.is_file():
            continue
        needed = any(name.is_relative_to(module) for module in modules)
        if needed or (path.suffix in BESIDE and name != Path(INDEX)):
            found.append(name)
    return found


def _copy(path: Path, target: Path) -> None:
    with finished(target) as partial:
        shutil.copyfile(path, partial)


def _replaced(
    source: PublishedModel, side: str, settings: dict, params: Mapping, stats: Mapping
) -> dict[str, np.ndarray]:
    """Name in the source -> tensor, of one tower."""
    part = tower_of(source, side)
    family = families_of(side)[part.config["model_type"]]
    tensors = to_tensors(family, settings, params, stats)
    names = short_names(family, part)
    start = PARTS[side][1] if source.config.get("model_type") == KIND else ""
    found = {}
    for short, tensor in tensors.items():
        name = names[short]
        before = part.tensors[name]
        if tensor.size != before.size:
            raise PublishedError(
                f"{part.tensors.place(name)} is {before.shape}, and of the run"
                f" {tensor.shape}: the run saw {_SEEN[side]}; leave out --as_published"
            )
        with np.errstate(over="ignore"):
            found[start + name] = tensor.reshape(before.shape).astype(before.dtype)
        if not np.isfinite(found[start + name].astype(np.float32)).all():
            raise PublishedError(
                f"{part.tensors.place(name)} is {before.dtype}, which cannot hold what"
                " was trained: leave out --as_published, for float32"
            )
    return found


_SEEN = {"text": "other texts", IMAGE: "pictures of another size"}
