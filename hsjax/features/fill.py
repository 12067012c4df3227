"""A frozen encoder over a catalogue: every text or picture once, into a store."""

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hsjax.data.features import contents
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.data.store import FeatureStore, add_part, start_store
from hsjax.features.encoded_batches import EncodedBatch, fetched
from hsjax.features.frozen_encoder import FrozenEncoder

log = logging.getLogger("hsjax")

PART = 64 * 2**20  # bytes of vectors that are written at once,
PATIENCE = 60.0  # or what so many seconds gave: no more is lost when it is cut off


class Settled:
    """Keys of the items that this process need not encode.

    They are stored, under way, or another process's: each of several takes the items
    whose key falls to it.

    Attributes:
      seen: how many different items there were, whoever encodes them.
    """

    def __init__(self, held: Container[str]):
        self._held, self._seen, self._own = held, set(), []
        self._process, self._count = jax.process_index(), jax.process_count()

    def __contains__(self, key: str) -> bool:
        mine = int(key[:8], 16) % self._count == self._process
        return not mine or key in self._seen or key in self._held

    @property
    def seen(self) -> int:
        return len(self._seen)

    def new(self, items: Iterable[tuple[str, Any]]) -> Iterator[Any]:
        """Of (key, item), the items to encode; '' is none."""
        for key, item in items:
            if not key:
                continue
            wanted = key not in self
            self._seen.add(key)
            if wanted:
                self._own.append(key)
                yield item

    def keys(self, positions: np.ndarray) -> list[str]:
        """Of items that `new` gave, by their place there."""
        return [self._own[i] for i in positions.tolist()]


def fill_store(
    config,
    read: Callable[[Container[str]], Iterable[Record]],
    encoder: FrozenEncoder,
    folder: Path,
) -> FeatureStore:
    """Adds to a store what it lacks of a modality; a second call finds nothing to do.

    Records pass by: no more than a window of texts, or some batches of pictures, are
    in memory at once, and of every item its key, some 300 bytes. Processes share the
    work, and may write at once.

    Args:
      read: keys -> all records; pictures with these keys, which become more meanwhile,
        need not be decoded.

    Raises:
      CatalogueError: the folder holds features of another encoder, there is nothing to
        encode, a picture cannot be decoded, or vectors are not finite.
    """
    c = config.extract
    start_store(folder, encoder.facts | {"modality": c.modality, "dtype": c.stored})
    held = FeatureStore(folder)
    settled = Settled(held)
    items = settled.new(contents(config, read(settled), c.modality))
    batches = fetched(
        encoder.encode(items),
        shape=encoder.facts["shape"],
        dtype=c.stored,
        total=None,
        told=c.modality,
    )
    waiting, written = list[EncodedBatch](), time.monotonic()
    for batch in batches:
        waiting.append(batch)
        much = sum(x.vectors.nbytes for x in waiting) >= PART
        if much or time.monotonic() - written >= PATIENCE:
            _write(folder, settled, waiting)
            waiting, written = [], time.monotonic()
    if waiting:
        _write(folder, settled, waiting)
    if not settled.seen:
        raise CatalogueError(
            f"{config.data.path} has no {c.modality} to encode: every one is empty or"
            " cannot be read; look at data.columns"
        )
    whole = FeatureStore(folder)
    new = len(whole) - len(held)
    log.info("%s: %d items, %d are new in %s", c.modality, settled.seen, new, folder)
    return whole


def _write(folder: Path, settled: Settled, batches: Sequence[EncodedBatch]) -> None:
    """One part of some batches."""
    lengths = [x.lengths for x in batches if x.lengths is not None]
    add_part(
        folder,
        [key for x in batches for key in settled.keys(x.positions)],
        np.concatenate([x.vectors for x in batches]),
        np.concatenate(lengths).astype(np.int32) if lengths else None,
    )
