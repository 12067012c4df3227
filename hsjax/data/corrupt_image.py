"""Damage to a picture: what cameras, shops and files make of it.

Every function takes (pixels uint8 (H, W, 3), strength in 0..1, generator) and returns
pixels of the same shape. The idea, and the steps of noise, are those of Hendrycks &
Dietterich 2019, https://arxiv.org/abs/1903.12261; their blur is in pixels of a picture
of 224 x 224, ours is a share of the side, as pictures have whatever size is asked for.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Damage = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
MID_GREY = 127


def blur(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur; sigma is `strength` times the shorter side."""
    sigma = strength * min(pixels.shape[:2])
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def noise(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise on every value; its deviation is `strength` times white."""
    grain = rng.standard_normal(pixels.shape)
    return _bytes(pixels + 255 * strength * grain)


def crop(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Both sides lose the share `strength`, anywhere; the rest fills the picture."""
    height, width = pixels.shape[:2]
    (top, left), (lost_y, lost_x) = rng.random(2), (strength * height, strength * width)
    lost_y, lost_x = min(lost_y, height - 1), min(lost_x, width - 1)
    top, left = top * lost_y, left * lost_x
    box = (left, top, left + width - lost_x, top + height - lost_y)
    picture = Image.fromarray(pixels)
    return np.array(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))


def occlusion(
    pixels: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """A grey rectangle covers the share `strength` of the area, anywhere.

    After cutout (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552).
    """
    size = np.rint(np.sqrt(strength) * np.array(pixels.shape[:2])).astype(int)
    room = np.array(pixels.shape[:2]) - size
    y, x = np.rint(rng.random(2) * room).astype(int)
    covered = pixels.copy()
    covered[y : y + size[0], x : x + size[1]] = MID_GREY
    return covered


def grey(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The share `strength` of the colour is taken away; at 1 brightness is left."""
    light = (pixels @ LUMA)[..., None]
    return _bytes((1 - strength) * pixels + strength * light)


def jpeg(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Saved as JPEG of quality 100 (1 - `strength`), at least 1."""
    file = io.BytesIO()
    quality = max(round(100 * (1 - strength)), 1)
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


IMAGE_DAMAGE: dict[str, Damage] = {
    "crop": crop,
    "occlusion": occlusion,
    "grey": grey,
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
}
