"""Seeded damage to records, for robustness tables: a pure function of (seed, row).

A damage is written NAME:STRENGTH with a strength in 0..1, or NAME@SEVERITY with one of
five severities, as in Hendrycks & Dietterich 2019 (https://arxiv.org/abs/1903.12261).
`/SHARE` behind it hits that share of the rows only, and `+` joins several:
`swap_text:1`, `typos@3`, `blur@2/0.5`, `typos@3+no_image:0.4`.

Labels, groups and ids are never touched and no record is lost. Rows that a smaller
share hits, or words that a weaker damage of the same name hits, are among those of the
larger one, so that curves over them compare the same rows.
"""

import hashlib
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from hsjax.data.corrupt_image import IMAGE_DAMAGE
from hsjax.data.corrupt_swap import Donors
from hsjax.data.corrupt_text import TEXT_DAMAGE
from hsjax.data.pixels import decode_image
from hsjax.data.records import CatalogueError, Record

# Name -> strength of severity 1..5. Several damages are done in this order, however
# they are written: what is shown, how it is written or photographed, what is lost.
SEVERITIES: dict[str, tuple[float, float, float, float, float]] = {
    # probability of a row to have another product's text, picture
    "swap_text": (0.2, 0.4, 0.6, 0.8, 1.0),
    "swap_image": (0.2, 0.4, 0.6, 0.8, 1.0),
    # probability of a word
    "abbreviate": (0.2, 0.4, 0.6, 0.8, 1.0),
    "word_drop": (0.1, 0.2, 0.35, 0.5, 0.7),
    "shuffle": (0.2, 0.4, 0.6, 0.8, 1.0),
    # probability of a character; of one that can be misread
    "typos": (0.02, 0.05, 0.1, 0.15, 0.25),
    "ocr": (0.04, 0.08, 0.15, 0.25, 0.4),
    "truncate": (0.2, 0.35, 0.5, 0.65, 0.8),  # share of the words
    "crop": (0.1, 0.2, 0.3, 0.4, 0.5),  # share of each side
    "occlusion": (0.1, 0.2, 0.3, 0.4, 0.5),  # share of the area
    "grey": (0.2, 0.4, 0.6, 0.8, 1.0),  # share of the colour
    "blur": (0.01, 0.02, 0.03, 0.045, 0.06),  # sigma, as a share of the side
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # deviation, as a share of white
    "jpeg": (0.75, 0.82, 0.85, 0.9, 0.93),  # qualities 25, 18, 15, 10, 7
    # probability of a row to have none
    "no_text": (0.2, 0.4, 0.6, 0.8, 1.0),
    "no_image": (0.2, 0.4, 0.6, 0.8, 1.0),
}
_SPEC = re.compile(r"(\w+)(?::([^:@/]+)|@([1-5]))?(?:/([^:@/]+))?")


class Damage(NamedTuple):
    """One kind of damage: its strength in 0..1, and the share of rows that it hits."""

    name: str
    strength: float
    share: float = 1.0

    def __str__(self) -> str:
        share = f"/{self.share:g}" if self.share < 1 else ""
        return f"{self.name}:{self.strength:g}{share}"


def read_corruption(spec: str) -> tuple[Damage, ...]:
    """What `NAME:STRENGTH`, `NAME@SEVERITY` and their sums ask for, in fixed order.

    A name alone has strength 1, all of it.

    >>> [str(damage) for damage in read_corruption("blur@2/0.5+typos:0.1")]
    ['typos:0.1', 'blur:0.02/0.5']

    Raises:
      CatalogueError: an unknown name, a name twice, a number outside its range.
    """
    damages = [_damage(part, spec) for part in spec.split("+")]
    if len({damage.name for damage in damages}) < len(damages):
        raise _not_understood(spec, "a name appears twice")
    order = list(SEVERITIES)
    return tuple(sorted(damages, key=lambda damage: order.index(damage.name)))


def _damage(part: str, spec: str) -> Damage:
    match = _SPEC.fullmatch(part)
    name, strength, severity, share = match.groups() if match else ("",) * 4
    if name not in SEVERITIES:
        raise _not_understood(spec, f"{part!r} is no damage")
    if severity:
        strength = SEVERITIES[name][int(severity) - 1]
    try:
        damage = Damage(name, float(strength or 1), float(share or 1))
    except ValueError:
        raise _not_understood(spec, f"{part!r} has no number there") from None
    if not (0 <= damage.strength <= 1 and 0 <= damage.share <= 1):
        raise _not_understood(spec, f"{part!r} leaves 0..1")
    return damage


def _not_understood(spec: str, reason: str) -> CatalogueError:
    return CatalogueError(
        f"--corrupt={spec}: not understood: {reason}; write NAME:STRENGTH (0..1) or"
        " NAME@SEVERITY (1..5), then /SHARE of the rows if not all, joined by +; names:"
        f" {', '.join(SEVERITIES)}"
    )


def corrupt_records(
    records: Sequence[Record],
    spec: str,
    *,
    seed: int,
    groups: np.ndarray | None = None,
    config_image=None,
) -> list[Record]:
    """Damages every record as `spec` says, for example `word_drop:0.5` or `typos@3`.

    Row r draws from Philox(seed, r) and the name of the damage (and of the column, from
    the second text column on), so the damage depends on nothing else but, for swaps, on
    which other records there are. Pictures are
    damaged as they are after decoding and resizing; those that were kept encoded come
    back as PNG. A damaged picture has another `image_key`, a swapped one its owner's.

    Args:
      groups: (N,) for swaps; computed where not given.
      config_image: `config.data.image`, to decode pictures that are not yet.

    Raises:
      CatalogueError: see `read_corruption`; a swap within one group of products.
    """
    damages = read_corruption(spec)
    swaps = any(damage.name.startswith("swap_") for damage in damages)
    donors = Donors(records, groups) if swaps else None
    damaged = list(records)
    for damage in damages:
        hit = partial(_damaged, damage, seed, donors, config_image)
        damaged = [hit(record) for record in damaged]
    return damaged


def _damaged(
    damage: Damage, seed: int, donors: Donors | None, config_image, record: Record
) -> Record:
    name, strength = damage.name, damage.strength
    if _generator(seed, record.row, name, 1).random() >= damage.share or not strength:
        return record
    rng = _generator(seed, record.row, name, 0)
    if name in TEXT_DAMAGE:
        hit, texts = TEXT_DAMAGE[name], {}
        for number, (column, text) in enumerate(record.texts.items()):
            if number:  # no column's damage depends on the texts before it
                rng = _generator(seed, record.row, f"{name} {column}", 0)
            texts[column] = hit(text, strength, rng)
        return replace(record, texts=texts)
    if name in IMAGE_DAMAGE:
        return _damaged_picture(record, damage, seed, rng, config_image)
    if rng.random() >= strength:
        return record
    if name == "no_text":
        return replace(record, texts=dict.fromkeys(record.texts, ""))
    if name == "no_image":
        return replace(record, image=None, image_key="")
    swap = donors.text if name == "swap_text" else donors.image
    return swap(record, rng.random())


def _generator(seed: int, row: int, name: str, purpose: int) -> np.random.Generator:
    # word_drop is the oldest, and its damage stays what it was
    stream = 0 if name == "word_drop" else zlib.crc32(name.encode())
    bits = np.random.Philox(key=[seed, row], counter=[0, 0, purpose, stream])
    return np.random.Generator(bits)


def _damaged_picture(
    record: Record, damage: Damage, seed: int, rng, config_image
) -> Record:
    if not record.image_key:
        return record
    told = f"{record.image_key} {damage.name}:{damage.strength!r} {seed} {record.row}"
    key, image = hashlib.sha1(told.encode()).hexdigest(), record.image
    if image is None:  # a model of text alone, which keeps no pictures
        return replace(record, image_key=key)
    decoded = isinstance(image, np.ndarray)
    if not decoded:
        data = image if isinstance(image, bytes) else image.read_bytes()
        size, limit = tuple(config_image.resize), config_image.max_pixels
        kind = config_image.get("resample", "bicubic")
        image = decode_image(data, resize=size, max_pixels=limit, resample=kind)
    image = IMAGE_DAMAGE[damage.name](image, damage.strength, rng)
    return replace(record, image=image if decoded else _png(image), image_key=key)


def _png(pixels: np.ndarray) -> bytes:
    """Without loss, so that it decodes to the same pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
