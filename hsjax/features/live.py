"""Vectors of what a feature store lacks, made as the store's own; in memory alone."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from hsjax.data.store import store_facts
from hsjax.data.store_parts import as_stored
from hsjax.features.encoded_batches import fetched
from hsjax.features.reduce import load_reduction
from hsjax.features.store_encoder import store_encoder

log = logging.getLogger("hsjax")


def embed(
    folder: Path | str, items: Sequence[str | bytes | Path], *, max_pixels: int
) -> Float[np.ndarray, "N *shape"]:
    """What a store holds of these items, or would hold: (N, *shape) float32.

    Each is encoded by the store's encoder with the store's settings: pool, length,
    picture size, dtypes and principal components. As batches have other shapes than
    in an extraction, the last bit may differ, which float16 vectors show rarely.

    Args:
      items: texts, or encoded pictures as bytes or paths; an empty text gives zeros.
      max_pixels: larger pictures are refused.

    Raises:
      CatalogueError: no store; its encoder is not where it was, or is another; a
        picture that cannot be decoded, with its number.
    """
    return encode_missing(folder, items, max_pixels=max_pixels)[0].astype(np.float32)


def encode_missing(
    folder: Path | str,
    items: Sequence[str | bytes | Path],
    *,
    max_pixels: int,
    told: bool = True,
) -> tuple[Float[np.ndarray, "N *shape"], Integer[np.ndarray, "N"] | None]:
    """As `embed`, in the store's dtype, and (N,) lengths where tokens are kept.

    Lengths are None for pooled vectors, and where all of an item counts.

    Args:
      told: does the log say it?
    """
    facts = store_facts(folder)
    encoder = store_encoder(folder, facts, max_pixels=max_pixels)
    shape, dtype = encoder.facts["shape"], facts["dtype"]
    found = np.zeros((len(items), *shape), dtype)
    lengths = np.zeros(len(items), np.int32)
    there = [i for i, x in enumerate(items) if not isinstance(x, str) or x.strip()]
    shown = {"total": len(there), "told": f"encoding {facts['modality']}" * told}
    if told:
        log.info("%s: encoding %d items that are not in it", folder, len(there))
    batches = encoder.encode([items[i] for i in there])
    partial = False
    for batch in fetched(batches, shape=shape, dtype=dtype, **shown):
        here = np.array(there)[batch.positions]
        found[here] = batch.vectors
        if batch.lengths is not None:
            lengths[here], partial = batch.lengths, True
    if reduction := load_reduction(Path(folder)):
        found = as_stored(reduction(found.astype(np.float32)), dtype)
        found[np.setdiff1d(np.arange(len(items)), there)] = 0
        if partial:  # padding is no vector
            found[np.arange(found.shape[1])[None] >= lengths[:, None]] = 0
    return found, lengths if partial else None


class Encoded:
    """`encode_missing` for several runs: what one has had encoded serves the others.

    All of it is in memory until `forget`.
    """

    def __init__(self):
        self._held: dict[tuple, tuple] = {}

    def forget(self) -> None:
        """Other products come."""
        self._held.clear()

    def __call__(self, folder: Path, items: Sequence, *, max_pixels: int):
        new = [x for x in dict.fromkeys(items) if (folder, x) not in self._held]
        if new:
            vectors, lengths = encode_missing(folder, new, max_pixels=max_pixels)
            of = [None] * len(new) if lengths is None else lengths.tolist()
            pairs = zip(vectors, of, strict=True)
            for item, pair in zip(new, pairs, strict=True):
                self._held[folder, item] = pair
        vectors, of = zip(*(self._held[folder, x] for x in items), strict=True)
        whole = None in of
        return np.stack(vectors), None if whole else np.array(of, np.int32)
