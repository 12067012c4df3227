"""Pictures of a catalogue, as its records have them."""

import contextlib
import hashlib
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

from hsjax.data.pixels import ImageError, decode_image, opened_image, picture_source
from hsjax.data.prepared import StoredPicture

Picture = np.ndarray | bytes | Path | StoredPicture | None  # as a record has it
EMPTY = "empty image"


def decoded(image: Picture, *, resize: tuple[int, int], max_pixels: int) -> Picture:
    """A record's picture as (H, W, 3) uint8; what is decoded or absent stays so."""
    if isinstance(image, Path | StoredPicture):
        image = image.read_bytes()
    if isinstance(image, bytes):
        return decode_image(image, resize=resize, max_pixels=max_pixels)
    return image


def cores() -> int:
    """How many this process may use: Pillow frees the GIL, so a thread each decodes."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_image(
    value: Any,
    *,
    root: Path,
    config_image,
    seen: bool = True,
    stored: Container[str] = (),
    resample: str = "bicubic",
):
    """(image, sha1 of its encoded bytes, flaw) of a field; without a flaw it is ''.

    The hash is '' where not even the header can be read.

    The image is decoded if `config.data.image.cache`, else the checked bytes, path or
    picture of a prepared catalogue, which was decoded when it was prepared.

    Args:
      seen: False = only the hash is wanted: the image is None, and of flaws only those
        that the header shows are found.
      stored: hashes of pictures that were decoded before, and are not wanted again.
      resample: see `decode_image`.
    """
    data, limit = b"", config_image.max_pixels
    try:
        source = encoded_image(value, root=root)
        if source is None:
            return None, "", EMPTY
        if isinstance(source, StoredPicture):
            if source.key and source.key in stored:
                return None, source.key, ""
            if flaw := source.flaw_at(limit, seen=seen):
                return None, source.key_at(limit), flaw
            if not seen or not config_image.cache:
                return source if seen else None, source.key, ""
        data = encoded_bytes(source)
        key = hashlib.sha1(data).hexdigest()
        if key in stored:
            return None, key, ""
        if not seen:
            with opened_image(data, max_pixels=limit):
                return None, key, ""
        size = {"resize": config_image.resize, "resample": resample}
        pixels = decode_image(data, max_pixels=limit, **size)
    except ImageError as error:
        return None, _known_by(data, limit), str(error)
    except OSError as error:
        return None, "", f"unreadable image file: {error}"
    return pixels if config_image.cache else source, key, ""


def _known_by(data: bytes, limit: int) -> str:
    """The hash of a broken picture, '' where not even its header can be read."""
    with contextlib.suppress(ImageError), opened_image(data, max_pixels=limit):
        return hashlib.sha1(data).hexdigest()
    return ""


def encoded_image(value: Any, *, root: Path) -> bytes | Path | StoredPicture | None:
    """As `picture_source`; a picture of a prepared catalogue stays as it is."""
    if isinstance(value, StoredPicture):
        return value
    return picture_source(value, root=root)


def encoded_bytes(source: bytes | Path | StoredPicture) -> bytes:
    """What `encoded_image` found, read."""
    return source if isinstance(source, bytes) else source.read_bytes()
