"""preprocessor_config.json of a published image encoder -> our image settings."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from hsjax.models.published_files import PREPROCESSOR as FILE
from hsjax.models.published_files import PublishedError

# Pillow's numbers
RESAMPLINGS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
CROP_BELOW = 384  # a crop_pct cuts smaller pictures only (ConvNeXt's rule, ResNet's)


class Preprocessing(NamedTuple):
    """What pictures an encoder was trained on.

    Attributes:
      mean, std: per channel, of pixels in 0..1: model.image.mean, model.image.std.
      resize: (height, width) before the crop: data.image.resize. Where the file
        names the shortest edge, both sides are it: hsjax stretches the whole picture
        instead of cutting what is longer.
      size: (height, width) that the encoder sees: data.image.size.
      resample: the filter of their resizing, a name of RESAMPLINGS; extraction takes
        it, while a catalogue that is trained on is always resized by bicubic.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: tuple[int, int]
    size: tuple[int, int]
    resample: str


def from_facts(values: Mapping) -> Preprocessing:
    """The inverse of `_asdict`, after JSON has made lists of its tuples."""
    return Preprocessing(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )


def read_preprocessing(config: Mapping | None) -> Preprocessing:
    """From a `PublishedModel.preprocessor`.

    A factor other than 1 / 255 moves into mean and std: (f p - mean) / std of pixels p
    in 0..255.

    Raises:
      PublishedError: there is no such file (None), or it says something that our
        pictures cannot follow; with the key.
    """
    if config is None:
        raise PublishedError(
            f"no {FILE}: put one beside the weights, with the size, image_mean and"
            " image_std that the encoder was trained with"
        )
    config = config.get("image_processor", config)  # of a processor for text and image
    if config.get("rescale_offset"):
        raise PublishedError(f"{FILE}: rescale_offset is set; it is not known here")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if config.get("do_normalize", True):
        mean, std = (_channels(config, key) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise PublishedError(f"{FILE}: image_std {list(std)} is not above 0")
    factor = _number(config, "rescale_factor", 1 / 255)
    if factor <= 0:
        raise PublishedError(f"{FILE}: rescale_factor {factor} is not above 0")
    whole = factor * 255 if config.get("do_rescale", True) else 255.0
    whole = 1.0 if math.isclose(whole, 1.0, rel_tol=1e-6) else whole
    resize, size = _sizes(config)
    number = config.get("resample", RESAMPLINGS.index("bicubic"))
    if number not in range(len(RESAMPLINGS)):
        raise PublishedError(f"{FILE}: resample is {number!r}, not Pillow's 0 to 5")
    return Preprocessing(
        tuple(x / whole for x in mean),
        tuple(x / whole for x in std),
        resize,
        size,
        RESAMPLINGS[number],
    )


def _sizes(config: Mapping) -> tuple[tuple[int, int], tuple[int, int]]:
    """(resize, size): before and after the crop in the middle."""
    if not config.get("do_resize", True):
        raise PublishedError(
            f"{FILE}: do_resize is false, so it names no size of pictures: write in it"
            " the size that the encoder was trained with, and do_resize true"
        )
    if "size" not in config:
        raise PublishedError(f"{FILE} lacks size")
    resize = _size("size", config["size"])
    share = _number(config, "crop_pct", 1.0)
    if share <= 0 or share > 1:
        raise PublishedError(f"{FILE}: crop_pct is {share}, not a share")
    if share < 1 and max(resize) < CROP_BELOW:
        return tuple(int(side / share) for side in resize), resize
    if "crop_size" not in config or not config.get("do_center_crop", True):
        return resize, resize
    size = _size("crop_size", config["crop_size"])
    if size[0] > resize[0] or size[1] > resize[1]:
        raise PublishedError(
            f"{FILE}: crop_size {size} is larger than the picture {resize} it cuts from"
        )
    return resize, size


def _size(key: str, value) -> tuple[int, int]:
    """(height, width) of 224, {height, width} or {shortest_edge}."""
    sides = value
    if isinstance(value, Mapping):
        edge = value.get("shortest_edge") if "longest_edge" not in value else None
        sides = value.get("height", edge), value.get("width", edge)
    height, width = sides if isinstance(sides, tuple) else (sides, sides)
    if not all(type(side) is int and side > 0 for side in (height, width)):
        raise PublishedError(
            f"{FILE}: {key} is {value!r}; known: a number of pixels, height and width,"
            " or shortest_edge"
        )
    return height, width


def _channels(config: Mapping, key: str) -> tuple[float, float, float]:
    values = config.get(key)
    right = isinstance(values, list | tuple) and len(values) == 3
    if not right or not all(isinstance(x, int | float) for x in values):
        raise PublishedError(f"{FILE}: {key} is {values!r}, not three numbers")
    return tuple(float(x) for x in values)


def _number(config: Mapping, key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PublishedError(f"{FILE}: {key} is {value!r}, not a number")
    return float(value)
