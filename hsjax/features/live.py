"""Vectors of what a feature store lacks, made as the store's own; in memory alone."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from hsjax.data.parts import as_stored
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import SOURCE, differences, store_facts
from hsjax.features.encoder import (
    STATES,
    FrozenEncoder,
    picture_encoder,
    text_encoder,
)
from hsjax.features.encoding import fetched
from hsjax.features.reduce import PCA_FACTS, load_reduction
from hsjax.models.names import CheckpointError
from hsjax.models.preprocessing import Preprocessing, from_facts

log = logging.getLogger("hsjax")

KEPT = 4  # encoders that stay loaded
OF_STORES = {"format", "modality", "dtype", "shape", *PCA_FACTS}  # not an encoder's


class _Use(NamedTuple):
    """How a store used its encoder, by the names of a config's `extract` group."""

    encoder: str
    pool: str
    length: int
    dtype: str
    states: bool
    prefix: str
    tokens: int = 4096
    rows: int = 32


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
    folder: Path | str, items: Sequence[str | bytes | Path], *, max_pixels: int
) -> tuple[Float[np.ndarray, "N *shape"], Integer[np.ndarray, "N"] | None]:
    """As `embed`, in the store's dtype, and (N,) lengths where tokens are kept.

    Lengths are None for pooled vectors, and where all of an item counts.
    """
    facts = store_facts(folder)
    encoder = _encoder_of(folder, facts, max_pixels)
    shape, dtype = encoder.facts["shape"], facts["dtype"]
    found = np.zeros((len(items), *shape), dtype)
    lengths = np.zeros(len(items), np.int32)
    there = [i for i, x in enumerate(items) if not isinstance(x, str) or x.strip()]
    told = {"total": len(there), "told": f"encoding {facts['modality']}"}
    log.info("%s: encoding %d items that are not in it", folder, len(there))
    batches = encoder.encode([items[i] for i in there])
    partial = False
    for batch in fetched(batches, shape=shape, dtype=dtype, **told):
        here = np.array(there)[batch.positions]
        found[here] = batch.vectors
        if batch.lengths is not None:
            lengths[here], partial = batch.lengths, True
    if reduction := load_reduction(Path(folder)):
        found = as_stored(reduction(found.astype(np.float32)), dtype)
        found[np.setdiff1d(np.arange(len(items)), there)] = 0
    return found, lengths if partial else None


def _encoder_of(folder: Path | str, facts: dict, max_pixels: int) -> FrozenEncoder:
    """The encoder that made a store, once it is sure that it is the same."""
    whole = Path(folder).parent if "pca" in facts else folder
    again = (
        f"run --config.task=extract with --workdir={whole} and"
        " --config.extract.encoder=ITS NEW PLACE (with the same encoder nothing is"
        " encoded again)"
    )
    if not facts.get(SOURCE) or "weights" not in facts:
        raise CatalogueError(f"{folder} does not say where its encoder is: {again}")
    use = _Use(
        encoder=facts[SOURCE],
        pool="" if facts["pool"] == STATES else facts["pool"],
        length=facts.get("length", 0),
        dtype=facts["compute"],
        states=facts["pool"] == STATES,
        prefix=facts.get("prefix", ""),
    )
    look = from_facts(facts["preprocessing"]) if "preprocessing" in facts else None
    try:
        encoder = _loaded(use, look, max_pixels)
    except CheckpointError as error:
        raise CatalogueError(
            f"{folder} lacks some items, and its encoder cannot be loaded ({error}). If"
            f" it has moved, {again}"
        ) from None
    own = {k: v for k, v in facts.items() if k not in OF_STORES}
    made = {k: v for k, v in encoder.facts.items() if k not in OF_STORES}
    if told := differences(own, made):
        raise CatalogueError(
            f"{facts[SOURCE]} is no longer the encoder that {folder} was made with"
            f" ({told}): bring that one back, or extract into a new folder and train"
            " on it"
        )
    return encoder


@functools.lru_cache(KEPT)
def _loaded(use: _Use, look: Preprocessing | None, max_pixels: int) -> FrozenEncoder:
    """Kept, as a run may answer one product at a time; of pictures if they have a look.

    The folder's own files are not part of what it is known by: an encoder that changes
    under a running process is not noticed.
    """
    if look is None:
        return text_encoder(use)
    return picture_encoder(use, max_pixels=max_pixels, look=look)
