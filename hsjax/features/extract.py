"""A frozen encoder over a catalogue: every text or picture once, into a store."""

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from hsjax.data.features import content_items
from hsjax.data.records import Record
from hsjax.data.store import FeatureStore, add_part, start_store
from hsjax.features.encoder import FrozenEncoder
from hsjax.features.encoding import Encoded, fetched

log = logging.getLogger("hsjax")

PART = 64 * 2**20  # bytes of vectors that are written at once


def extract(
    config, records: Sequence[Record], encoder: FrozenEncoder, folder: Path
) -> FeatureStore:
    """Adds to a store what it lacks of a modality; a second call finds nothing to do.

    Each process of several takes the items whose key falls to it.

    Raises:
      CatalogueError: the folder holds features of another encoder, or a picture cannot
        be decoded.
    """
    c = config.extract
    start_store(folder, encoder.facts | {"modality": c.modality, "dtype": c.stored})
    items = content_items(config, records, c.modality)
    held = FeatureStore(folder)
    mine, count = jax.process_index(), jax.process_count()
    todo = [k for k in items if k not in held and int(k[:8], 16) % count == mine]
    log.info("%s: %d items, %d to encode", c.modality, len(items), len(todo))
    if not todo:
        return held
    batches = fetched(
        encoder.encode([items[key] for key in todo]),
        shape=encoder.facts["shape"],
        dtype=c.stored,
        total=len(todo),
        told=c.modality,
    )
    waiting: list[Encoded] = []
    for batch in batches:
        waiting.append(batch)
        if sum(x.vectors.nbytes for x in waiting) >= PART:
            _write(folder, todo, waiting)
            waiting = []
    if waiting:
        _write(folder, todo, waiting)
    return FeatureStore(folder)


def _write(folder: Path, keys: Sequence[str], batches: Sequence[Encoded]) -> None:
    """One part of some batches; `keys` of all items."""
    lengths = [x.lengths for x in batches if x.lengths is not None]
    add_part(
        folder,
        [keys[i] for x in batches for i in x.positions.tolist()],
        np.concatenate([x.vectors for x in batches]),
        np.concatenate(lengths).astype(np.int32) if lengths else None,
    )
