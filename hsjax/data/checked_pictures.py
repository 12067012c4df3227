"""Pictures that are decoded once, to see whether any run can use them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hsjax.data.image import encoded_bytes, encoded_image
from hsjax.data.pixels import ImageError, decode_image, first_of, opened_image


class CheckedPicture(NamedTuple):
    """A picture that was decoded to see whether it is sound.

    Attributes:
      key: sha1 of `data`, '' = its header cannot be read; size: (width, height).
      flaw: why it cannot be used, '' = it is sound.
      passing: may the flaw be gone another time?
    """

    data: bytes
    key: str
    size: tuple[int, int]
    flaw: str
    passing: bool = False


def checked_picture(
    value: Any, *, root: Path, config_image, fetch: Callable[[str], bytes]
) -> CheckedPicture | None:
    """The picture of a field, None where there is none; see `read_image` for flaws.

    Args:
      fetch: gives the bytes of a web address, or raises ImageError.
    """
    data, key, size = b"", "", (0, 0)
    value = first_of(value)
    try:
        if isinstance(value, str) and is_web_address(value):
            value = fetch(value.strip())
        source = encoded_image(value, root=root)
        if source is None:
            return None
        data, limit = encoded_bytes(source), config_image.max_pixels
        with opened_image(data, max_pixels=limit) as image:
            key, size = hashlib.sha1(data).hexdigest(), image.size
        decode_image(data, resize=config_image.resize, max_pixels=limit)
    except ImageError as error:
        return CheckedPicture(b"", key, size, str(error), error.passing)
    except OSError as error:
        return CheckedPicture(b"", key, size, f"unreadable image file: {error}")
    return CheckedPicture(data, key, size, "")


def is_web_address(text: str) -> bool:
    """Does it begin as http:// or https:// do?"""
    return text.strip()[:8].lower().startswith(("http://", "https://"))
