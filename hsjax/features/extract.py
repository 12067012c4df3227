"""A frozen encoder over a catalogue: every text or picture once, into a store."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from hsjax.batch import IMAGE
from hsjax.data.features import (
    FeatureStore,
    add_part,
    content_keys,
    start_store,
)
from hsjax.data.records import Record
from hsjax.data.text import stream_texts
from hsjax.features.encoder import Encoded, FrozenEncoder

log = logging.getLogger("hsjax")

PART = 64 * 2**20  # bytes of vectors that are written at once


def extract(
    config, records: Sequence[Record], encoder: FrozenEncoder, folder: Path
) -> FeatureStore:
    """Adds to a store what it lacks of a modality; a second call finds nothing to do.

    Each process of several takes the items whose key falls to it.

    Raises:
      CatalogueError: the folder holds features of another encoder.
    """
    c = config.extract
    start_store(folder, encoder.facts | {"modality": c.modality, "dtype": c.stored})
    items = unique_items(config, records, c.modality)
    held = FeatureStore(folder)
    mine, count = jax.process_index(), jax.process_count()
    todo = [k for k in items if k not in held and int(k[:8], 16) % count == mine]
    log.info("%s: %d items, %d to encode", c.modality, len(items), len(todo))
    batches = one_behind(encoder.encode([items[key] for key in todo]))
    bar = tqdm(total=len(todo), desc=c.modality, disable=None, leave=False)
    keys, vectors = [], []
    for positions, found in batches:
        keys += [todo[i] for i in positions.tolist()]
        vectors.append(found.astype(c.stored))
        bar.update(len(positions))
        if sum(x.nbytes for x in vectors) >= PART:
            add_part(folder, keys, np.concatenate(vectors))
            keys, vectors = [], []
    if keys:
        add_part(folder, keys, np.concatenate(vectors))
    bar.close()
    return FeatureStore(folder)


def one_behind(batches: Encoded) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fetches a batch when the next is on its way, so that the device never waits."""
    before = None
    for positions, vectors in batches:
        if before is not None:
            yield before[0], np.asarray(before[1])
        before = positions, vectors
    if before is not None:
        yield before[0], np.asarray(before[1])


def unique_items(config, records: Sequence[Record], modality: str) -> dict:
    """{content key: text, or encoded picture} of the records that have the modality."""
    keys = content_keys(config, records, modality)
    if modality == IMAGE:
        items = [r.image for r in records]
    else:
        items = stream_texts(records, config.data.text.streams[modality])
    return {key: item for key, item in zip(keys, items, strict=True) if key}
