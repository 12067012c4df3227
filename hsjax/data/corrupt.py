"""Seeded damage to records, for robustness tables: a pure function of (seed, row)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hsjax.data.records import CatalogueError, Record


def drop_words(record: Record, share: float, rng: np.random.Generator) -> Record:
    """Every whitespace-separated word is dropped with probability `share`."""
    texts = {}
    for column, text in record.texts.items():
        words = text.split()
        kept = rng.random(len(words)) >= share
        texts[column] = " ".join(w for w, k in zip(words, kept, strict=True) if k)
    return replace(record, texts=texts)


def no_text(record: Record, share: float, rng: np.random.Generator) -> Record:
    """All texts are taken away with probability `share`."""
    if rng.random() >= share:
        return record
    return replace(record, texts=dict.fromkeys(record.texts, ""))


def no_image(record: Record, share: float, rng: np.random.Generator) -> Record:
    """The picture is taken away with probability `share`."""
    if rng.random() >= share:
        return record
    return replace(record, image=None, image_key="")


CORRUPTIONS: dict[str, Callable[[Record, float, np.random.Generator], Record]] = {
    "word_drop": drop_words,
    "no_text": no_text,
    "no_image": no_image,
}


def read_corruption(spec: str) -> tuple[str, float]:
    """(name, strength) of `name:strength`; without a strength it is 1, all of it.

    Raises:
      CatalogueError: an unknown name or a strength outside 0..1.
    """
    name, _, strength = spec.partition(":")
    try:
        share = float(strength or 1.0)
    except ValueError:
        share = -1.0
    if name not in CORRUPTIONS or not 0 <= share <= 1:
        known = ", ".join(f"{n}:0.5" for n in CORRUPTIONS)
        raise CatalogueError(f"--corrupt={spec}: not understood; known: {known}")
    return name, share


def corrupt_records(records: Sequence[Record], spec: str, *, seed: int) -> list[Record]:
    """Damages every record as `name:strength` says, for example `word_drop:0.5`.

    Row r uses Philox(seed, r), so the damage depends on nothing else.

    Raises:
      CatalogueError: see `read_corruption`.
    """
    name, share = read_corruption(spec)
    rngs = (np.random.Generator(np.random.Philox(key=[seed, r.row])) for r in records)
    return [CORRUPTIONS[name](r, share, g) for r, g in zip(records, rngs, strict=True)]
