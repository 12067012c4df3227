"""Encoded pictures: from a field of a row to bytes, from bytes to uint8 pixels."""

import base64
import binascii
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from hsjax.data.fields import EMPTY_WORDS, listed

# A list, because some formats make Pillow start other programs (EPS: Ghostscript).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
NOT_FOUND = "image file not found"
_BASE64_HEADS = ("/9j/", "iVBOR", "UklGR", "R0lG")  # JPEG, PNG, WebP, GIF
_LONGEST_PATH = 1024  # longer text without a dot can only be base64


class ImageError(ValueError):
    """Why a picture cannot be used: a short phrase, then ': ' and the detail.

    Attributes:
      passing: may it be otherwise when the picture is looked at again?
    """

    passing = False


def decode_image(
    data: bytes,
    *,
    resize: tuple[int, int],
    max_pixels: int,
    resample: str = "bicubic",
) -> np.ndarray:
    """Decodes to RGB: (H, W, 3) uint8 with (H, W) = `resize`.

    The whole picture is kept and stretched to that shape. The EXIF orientation is
    applied, transparency lies on white, an animation gives its first frame, 16 bits
    become 8.

    Args:
      resample: Pillow's name of the filter.

    Raises ImageError for all but a complete picture of at most `max_pixels`.
    """
    height, width = resize
    with opened_image(data, max_pixels=max_pixels) as image:
        # A large JPEG is decoded at a fraction of its size, never below twice ours.
        image.draft("RGB", (2 * max(resize), 2 * max(resize)))
        pixels = _as_rgb(_upright(image))
        kind = Image.Resampling[resample.upper()]
        return np.array(pixels.resize((width, height), kind))


@contextlib.contextmanager
def opened_image(data: bytes, *, max_pixels: int) -> Iterator[Image.Image]:
    """A picture whose header is read; what goes wrong inside is an ImageError."""
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            if 0 in image.size:
                raise ImageError("image of zero size")
            if image.width * image.height > max_pixels:
                shape = f"{image.width} x {image.height}"
                raise ImageError(f"image too large: {shape} pixels")
            yield image
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        told = f"not an image: starts with {data[:8]!r}" if data else "empty image file"
        raise ImageError(told) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"image too large: {error}") from None
    except Exception as error:  # Pillow raises whatever a broken file makes it hit
        truncated = "truncated" in str(error).lower()
        phrase = "truncated image" if truncated else "broken image"
        raise ImageError(f"{phrase}: {error}") from None


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a picture with unreadable EXIF data is still a picture
        return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales integers of 16 bits and floats in 0..1 or 0..255 to 0..255."""
    pixels = np.nan_to_num(np.asarray(image, dtype=np.float32))
    sixteen = image.mode.startswith("I;16") or pixels.max() > 255
    scale = (
        1 / 257 if sixteen else 255 if image.mode == "F" and pixels.max() <= 1 else 1
    )
    return Image.fromarray(np.clip(np.rint(pixels * scale), 0, 255).astype(np.uint8))


def picture_source(value: Any, *, root: Path) -> bytes | Path | None:
    """The encoded picture of a field: bytes, or the path of a file below `root`.

    Accepts bytes, a struct {'bytes', 'path'} (Hugging Face), base64 with or without
    'data:' and a relative path; of a list, its first. None where the field is empty.
    Raises ImageError.
    """
    value = first_of(value)
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value) or None
    if value is None or value != value:
        return None
    if not isinstance(value, str):
        raise ImageError(f"unreadable image field: {type(value).__name__}")
    text = value.strip()
    if not text or text in EMPTY_WORDS:
        return None
    if text.startswith("data:"):
        return _from_base64(text.partition(",")[2])
    if "." not in text and (
        text.startswith(_BASE64_HEADS) or len(text) > _LONGEST_PATH
    ):
        return _from_base64(text)
    if "://" in text:
        raise ImageError(f"image is a web address: {text[:80]} (task=prepare fetches)")
    return _below(root, text.replace("\\", "/"))


def first_of(value: Any) -> Any:
    """The first of several pictures, a JSON list in a text among them."""
    if isinstance(value, str) and (found := listed(value.strip())) is not None:
        value = found
    if isinstance(value, list | tuple):
        return next((x for x in value if x not in (None, "")), None)
    return value


def _from_base64(text: str) -> bytes:
    text = "".join(text.split())
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"bad base64: {error}") from None
    if not data:
        raise ImageError("bad base64: no data")
    return data


def _below(root: Path, text: str) -> Path:
    """`root / text`, refused where it leads out of `root`, by a link too."""
    relative = PurePosixPath(text)
    if relative.is_absolute() or PureWindowsPath(text).drive or ".." in relative.parts:
        raise ImageError(f"image path leaves image_root: {text[:200]}")
    try:
        path = (root / relative).resolve()
        if not path.is_relative_to(root.resolve()):
            raise ImageError(f"image path leaves image_root: {text[:200]} is a link")
        if not path.is_file():
            raise ImageError(f"{NOT_FOUND}: {text[:200]}")
    except (OSError, RuntimeError) as error:
        raise ImageError(f"{NOT_FOUND}: {text[:80]}: {error}") from None
    return path
