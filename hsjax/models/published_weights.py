"""Published weights: tensors in Hugging Face's layout -> our parameters, and back.

Names and headers are checked first: what does not fit ends in a sentence before a
single parameter is loaded.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hsjax.models.families import Entry, Family, flat, parameter_shapes
from hsjax.models.published_files import (
    CONFIG,
    PublishedError,
    PublishedModel,
)

FLOATS = {"F64", "F32", "F16", "BF16"}
SHOWN = 4  # names of a list in a message
# what the first files of BERT call scale and bias
OLD_NAMES = ((r"LayerNorm\.gamma$", "LayerNorm.weight"),)
OLD_NAMES += ((r"LayerNorm\.beta$", "LayerNorm.bias"),)


def find_family(published: PublishedModel, families: Mapping[str, Family]) -> Family:
    """The family of its `model_type`.

    Raises:
      PublishedError: it is not known; names those that are.
    """
    kind = published.config.get("model_type")
    if kind not in families:
        raise PublishedError(
            f"{published.directory / CONFIG}: model_type is {kind!r}; known:"
            f" {', '.join(families)}"
        )
    return families[kind]


def load_parameters(
    family: Family, published: PublishedModel
) -> tuple[dict, dict, dict]:
    """(settings, params, stats): float32 numpy arrays for `family.module(**settings)`.

    float16 and bfloat16 are cast.

    Raises:
      PublishedError: an option that the module lacks; tensors that are missing or that
        nobody uses (both lists); a shape that is not the config's; integers; a value
        that is not finite.
    """
    settings = family.settings(published.config)
    entries, names = family.entries(settings), short_names(family, published)
    _check_names(family, entries, names, published.directory)
    shapes = parameter_shapes(family.module, settings, family.inputs(settings))
    if wrong := shapes.keys() ^ {entry.ours for entry in entries}:
        raise ValueError(f"the table of {family.name} is wrong at {sorted(wrong)}")
    for entry in entries:
        expected = _their_shape(entry, shapes[entry.ours])
        for name in entry.theirs:
            _check_tensor(names[name], expected, entry.layout, published)
    arrays = {}
    for entry in entries:
        parts = [published.tensors[names[name]] for name in entry.theirs]
        ours = _to_ours(entry.layout, parts, shapes[entry.ours])
        if not np.isfinite(ours).all():
            raise _not_finite(published, [names[name] for name in entry.theirs])
        arrays[entry.ours] = ours
    nested = _nested(arrays)
    stats = nested.pop("stats", {})
    return settings, nested, stats


def to_tensors(
    family: Family, settings: dict, params: Mapping, stats: Mapping
) -> dict[str, np.ndarray]:
    """Parameters as float32 tensors by their names without the family's prefix.

    What was squeezed gets back one leading axis.
    """
    ours = flat({**params, **({"stats": stats} if stats else {})})
    tensors = {}
    for entry in family.entries(settings):
        whole = _to_theirs(entry.layout, np.asarray(ours[entry.ours], np.float32))
        parts = np.split(whole, len(entry.theirs)) if entry.theirs[1:] else [whole]
        tensors |= zip(entry.theirs, map(np.ascontiguousarray, parts), strict=True)
    return tensors


def short_names(family: Family, published: PublishedModel) -> dict[str, str]:
    """Name without prefix, as of today -> name in the file."""
    short: dict[str, str] = {}
    for full in published.tensors:
        name = full
        for prefix in family.prefixes:
            name = name.removeprefix(prefix)
        for old, new in OLD_NAMES:
            name = re.sub(old, new, name)
        if name in short:
            raise PublishedError(
                f"{published.directory}: {full} and {short[name]} are both {name}"
            )
        short[name] = full
    return short


def _check_names(family, entries: list[Entry], names, directory: Path) -> None:
    """Every tensor is used or explained."""
    needed = {name for entry in entries for name in entry.theirs}
    missing = sorted(needed - names.keys())
    explained = re.compile("|".join(f"(?:{regex})" for regex, _ in family.unused))
    others = sorted(names.keys() - needed)
    left = [name for name in others if not explained.fullmatch(name)]
    if missing or left:
        raise PublishedError(
            f"{directory}: as {family.name} of its {CONFIG} it lacks"
            f" {_listed(missing)} and has, used by nothing, {_listed(left)}"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"[{', '.join(names[:SHOWN])}{more}]"


def _not_finite(published: PublishedModel, names: list[str]) -> PublishedError:
    for name in names:
        with np.errstate(over="ignore"):
            values = np.array(published.tensors[name], np.float32)
        if count := int((~np.isfinite(values)).sum()):
            break
    return PublishedError(
        f"{published.tensors.place(name)}: {count} of its {values.size} values are not"
        " finite (NaN or infinite): fetch the model again, or train it anew"
    )


def _check_tensor(name: str, expected, layout: str, published: PublishedModel) -> None:
    shape, dtype = published.tensors.header(name)
    if dtype not in FLOATS:
        raise PublishedError(
            f"{published.directory}: {name} is {dtype}, not floating point; quantised"
            " weights are not read"
        )
    extra = len(shape) - len(expected) if layout == "squeeze" else 0
    if shape != (1,) * extra + expected:
        raise PublishedError(
            f"{published.directory}: {name} is {shape}, {CONFIG} says {expected}"
        )


def _their_shape(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of each tensor of theirs, from the shape of ours."""
    if entry.layout == "lift":
        return shape[-1:]
    axes = _THEIR_AXES.get(entry.layout, range(len(shape)))
    first, *rest = (shape[axis] for axis in axes)
    return first // len(entry.theirs), *rest


# axes of ours in the order of theirs
_THEIR_AXES = {"linear": (1, 0), "conv": (3, 2, 0, 1)}


def _to_theirs(layout: str, array: np.ndarray) -> np.ndarray:
    if layout == "squeeze":
        return array[None]
    if layout == "lift":
        return array.reshape(-1)
    return array.transpose(_THEIR_AXES.get(layout, range(array.ndim)))


def _to_ours(layout: str, parts: list[np.ndarray], shape) -> np.ndarray:
    whole = np.concatenate(parts) if parts[1:] else parts[0]
    axes = np.argsort(_THEIR_AXES.get(layout, range(whole.ndim)))
    with np.errstate(over="ignore"):  # a float64 beyond float32 is refused by name
        ours = np.array(whole.transpose(axes), np.float32, order="C")
    return ours.reshape(shape)


def _nested(flat: Mapping) -> dict:
    tree: dict = {}
    for path, value in flat.items():
        *groups, last = path.split("/")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return tree
