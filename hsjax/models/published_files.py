"""Files of a published model: a directory or a hub name -> config and tensors.

Only safetensors are read. A pickle runs whatever code its author put in.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hsjax.atomic import finished

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack"}
DOWNLOADED = ["*.safetensors", "*.json", "*.txt", "*.model"]
OTHER_RUNTIMES = ["onnx/*", "openvino/*", "coreml/*"]
HUB_NAME = re.compile(r"([\w.-]+/)?[\w.-]+(@[\w./-]+)?")


class PublishedError(ValueError):
    """A published model that cannot be used, told in words for the user."""


class LazyTensors(Mapping):
    """Tensor name -> numpy array, read when asked for; of one file or many."""

    def __init__(self, files: Mapping[str, tuple[Path, Any]]):
        """`files`: tensor name -> (path, open safetensors file) that holds it."""
        self._files = dict(files)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._files[name][1].get_tensor(name)

    def place(self, name: str) -> str:
        """A tensor's name with its file, for a message."""
        return f"{name} of {self._files[name][0]}"

    def header(self, name: str) -> tuple[tuple[int, ...], str]:
        """(shape, dtype as safetensors writes it) without reading the tensor."""
        part = self._files[name][1].get_slice(name)
        return tuple(part.get_shape()), part.get_dtype()

    def files(self) -> list[tuple[Path, list[str], dict | None]]:
        """(path, names of its tensors, its metadata) of each file."""
        names: dict[Path, list[str]] = {}
        for name, (path, _) in self._files.items():
            names.setdefault(path, []).append(name)
        opened = {path: file for path, file in self._files.values()}
        return [(path, own, opened[path].metadata()) for path, own in names.items()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class PublishedModel(NamedTuple):
    """What a directory in Hugging Face's layout holds.

    Attributes:
      config: config.json.
      tensors: name -> numpy array, read lazily.
      directory: where the files are (the tokenizer's, too).
      preprocessor: preprocessor_config.json (mean, std, size), None without it.
    """

    config: dict
    tensors: LazyTensors
    directory: Path
    preprocessor: dict | None


def read_published(
    name: str | Path, *, offline: bool = False, shape_only: bool = False
) -> PublishedModel:
    """A local directory, or a hub name (`org/name`, `org/name@revision`), cached.

    `offline` (or HF_HUB_OFFLINE=1) asks the cache only; with `shape_only` no tensors
    are read or needed.

    Raises:
      PublishedError: there is no such place, no config.json, no safetensors (only a
        pickle), or a file that is truncated or missing.
    """
    directory = find_directory(str(name), offline=offline)
    if not (directory / CONFIG).is_file():
        raise PublishedError(f"{directory} has no {CONFIG}: it is no model's directory")
    preprocessor = None
    if (directory / PREPROCESSOR).is_file():
        preprocessor = _json(directory / PREPROCESSOR)
    tensors = LazyTensors({}) if shape_only else _open_tensors(directory)
    return PublishedModel(_json(directory / CONFIG), tensors, directory, preprocessor)


def find_directory(name: str, *, offline: bool = False) -> Path:
    """Where the files of a model are, downloaded if need be; see `read_published`."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.suffix in PICKLES:
        raise PublishedError(f"{name} is a pickle: {_INSTEAD}")
    if path.is_file():
        raise PublishedError(f"{name} is a file: give the directory that holds it")
    if not HUB_NAME.fullmatch(name):
        raise PublishedError(f"{name}: there is no such directory")
    from huggingface_hub import constants, snapshot_download

    offline = offline or constants.HF_HUB_OFFLINE
    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=DOWNLOADED,
            ignore_patterns=OTHER_RUNTIMES,
            local_files_only=offline,
        )
    except Exception as error:  # of the hub, of whatever it asks the network by, a disk
        why = "not in the hub's cache, and offline" if offline else _line(error)
        raise PublishedError(
            f"{name}: no such directory, and as a hub name: {why}. Run `hf download"
            f" {repository}` where there is a network, or give a directory"
        ) from None
    return Path(found)


def write_tensors(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = MappingProxyType({"format": "pt"}),
) -> None:
    """A safetensors file; whole or not at all, also where two processes write it."""
    arrays = {name: np.array(x, order="C") for name, x in tensors.items()}
    with finished(path) as partial:
        save_file(arrays, partial, metadata=metadata and dict(metadata))


_INSTEAD = (
    "it can run any code when it is read. Save it as safetensors where you trust it"
    " (transformers: `model.save_pretrained(directory)`), or take a revision that has"
    f" {SINGLE}"
)


def _open_tensors(directory: Path) -> LazyTensors:
    if (directory / SINGLE).is_file():
        path = directory / SINGLE
        file = _opened(path)
        return LazyTensors(dict.fromkeys(file.keys(), (path, file)))
    if (directory / INDEX).is_file():
        return _sharded(directory)
    pickles = sorted(p.name for p in directory.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise PublishedError(
            f"{directory} holds its weights only as a pickle ({pickles[0]}): {_INSTEAD}"
        )
    raise PublishedError(
        f"{directory} has neither {SINGLE} nor {INDEX}; if the hub has the model only"
        " as a pickle, save it as safetensors first"
    )


def _sharded(directory: Path) -> LazyTensors:
    """The tensors of all files of an index, which must agree with it."""
    listed: dict[str, set[str]] = {}
    weight_map = _json(directory / INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise PublishedError(f"{directory / INDEX} has no weight_map")
    for name, part in weight_map.items():
        listed.setdefault(part, set()).add(name)
    files = {}
    for part, names in sorted(listed.items()):
        path = directory / part
        if Path(part).name != part or not path.is_file():
            raise PublishedError(
                f"{directory / INDEX} names {part}, which is not there"
            )
        file = _opened(path)
        if different := sorted(names ^ set(file.keys())):
            raise PublishedError(
                f"{path} and {INDEX} disagree about {', '.join(different[:3])}"
            )
        files |= dict.fromkeys(names, (path, file))
    return LazyTensors(files)


def _opened(path: Path):
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise PublishedError(
            f"{path} is truncated or no safetensors file ({_line(error)}); fetch it"
            " again"
        ) from None


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PublishedError(f"{path} is no JSON: {_line(error)}") from None
    if not isinstance(value, dict):
        raise PublishedError(f"{path} is no JSON object")
    return value


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
