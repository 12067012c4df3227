"""Small pictures that a page holds within itself."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

PICTURES = 5_000_000  # characters of all pictures together
# side in pixels and JPEG quality: the first with which the pictures fit, or the last
SIZES = ((96, 85), (96, 75), (96, 60), (96, 45), (72, 45), (48, 40))


def thumbnails(
    images: Mapping[int, UInt8[np.ndarray, "_ _ 3"]],
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> dict[int, str]:
    """Data URIs of JPEGs of at most 96 pixels, by the same keys.

    All have the best of `sizes` with which they fit in 5 MB together.
    """
    small = {row: _shrunk(Image.fromarray(x), sizes[0][0]) for row, x in images.items()}
    found: dict[int, str] = {}
    for side, quality in sizes:
        found = {row: _jpeg(_shrunk(x, side), quality) for row, x in small.items()}
        if _length(found.values()) <= PICTURES:
            break
    return found


def _length(texts: Iterable[str]) -> int:
    return sum(map(len, texts))


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side))
    return image


def _jpeg(image: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
