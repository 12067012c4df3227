"""Pictures changed at random, so that two views of one product differ (SimCLR)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter


class Strength(NamedTuple):
    """How much a view may differ from its picture.

    Attributes:
      area: least share of the picture that a crop keeps; its sides are 3:4 to 4:3.
      jitter: brightness, contrast and saturation are each times 1 - jitter to 1 +
        jitter, and the hue turns by at most jitter / 4 of the circle.
      jitters, grey, blurs: probability that colours change, go, or the view is blurred,
        by 0.1 to 2 pixels of a side of 224.
    """

    area: float
    jitter: float
    jitters: float
    grey: float
    blurs: float


# Chen et al. 2020, appendix A (arxiv.org/abs/2002.05709), at colour strength 0.25, 0.5
# and 1; small pictures are blurred there only at full strength
STRENGTHS = {
    "low": Strength(area=0.5, jitter=0.2, jitters=0.8, grey=0.0, blurs=0.0),
    "middle": Strength(area=0.25, jitter=0.4, jitters=0.8, grey=0.1, blurs=0.25),
    "high": Strength(area=0.08, jitter=0.8, jitters=0.8, grey=0.2, blurs=0.5),
}
TRIES = 10  # to find a crop of the wanted shape that fits


def cropped(
    picture: UInt8[np.ndarray, "H W 3"],
    size: tuple[int, int],
    where: Sequence[float],
) -> UInt8[np.ndarray, "h w 3"]:
    """(height, width) of a picture, at shares from 0 to 1 of the room that it has.

    In plain numbers: arrays of two cost more than the cut.
    """
    height, width = size
    down, right = picture.shape[0] - height, picture.shape[1] - width
    y = min(int(where[0] * (down + 1)), down)
    x = min(int(where[1] * (right + 1)), right)
    return picture[y : y + height, x : x + width]


def augment(
    picture: UInt8[np.ndarray, "H W 3"],
    size: tuple[int, int],
    strength: Strength,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "h w 3"]:
    """A random view of `size` (height, width); a pure function of `rng`'s state."""
    box = _crop_box(picture.shape[:2], strength.area, rng)
    image = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC, box)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < strength.jitters:
        image = _jittered(image, strength.jitter, rng)
    if rng.random() < strength.grey:
        image = image.convert("L").convert("RGB")
    if rng.random() < strength.blurs:
        radius = rng.uniform(0.1, 2.0) * max(size) / 224
        image = image.filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image)


def _crop_box(shape: tuple[int, int], least: float, rng: np.random.Generator):
    """(left, upper, right, lower) in pixels, not whole ones."""
    height, width = shape
    for _ in range(TRIES):
        area = rng.uniform(least, 1.0) * height * width
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        across, down = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if across <= width and down <= height:
            left, upper = (
                rng.random() * (width - across),
                rng.random() * (height - down),
            )
            return left, upper, left + across, upper + down
    return 0, 0, width, height


def _jittered(image: Image.Image, jitter: float, rng: np.random.Generator):
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(rng.uniform(1 - jitter, 1 + jitter))
    turn = rng.uniform(-jitter, jitter) / 4 * 256  # steps round the circle
    hue, saturation, value = image.convert("HSV").split()
    hue = Image.fromarray(np.asarray(hue) + np.uint8(int(turn) % 256))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
