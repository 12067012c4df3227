"""Vectors of a frozen encoder on disk, found by the content that they were made of.

A store is a folder: `store.json` says which encoder made it, and parts hold what was
encoded, `PART.npy` the vectors and `PART.keys` their keys, a line each. The keys are
written last, so a part without them was cut off and is made anew. Where every token is
kept, `PART.lengths.npy` says how many of an item are tokens; the others are zero. A key
is the sha1 of a text or of a picture's bytes: what occurs twice is stored once, and a
store serves any catalogue with the same content.
"""

import contextlib
import functools
import json
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from hsjax.atomic import finished
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store_parts import Part, add_part, read_part

__all__ = [
    "FeatureStore",
    "add_part",
    "differences",
    "open_store",
    "start_store",
    "store_facts",
    "store_shape",
]

FORMAT = 1
ABSENT = -1  # the row of an item that is not there
SOURCE = "source"  # where the encoder lies: it may move, its hash may not
KEPT = 8  # stores that stay open


class FeatureStore:
    """A folder of vectors as it was when it was opened, read through a memory map.

    A copy in another process opens the same parts again: no vector travels.

    Attributes:
      folder: where it lies.
      facts: what `store.json` says: the encoder, its hash, pool, width and dtype.
      shape: of one item: (D,), or (T, D) where every token or patch is kept.

    Raises:
      CatalogueError: the folder is no store, or a part is torn.
    """

    def __init__(self, folder: Path | str):
        names = sorted(path.stem for path in Path(folder).glob("*.keys"))
        self.__setstate__((Path(folder), names, ()))

    def __getstate__(self) -> tuple:
        return self.folder, self._names, self._held

    def __setstate__(self, state: tuple) -> None:
        folder, names, held = state
        facts = store_facts(folder)
        shape = tuple(facts["shape"])
        read = [read_part(folder / name, shape) for name in names]
        self._set(folder, facts, names, read, held)

    def _set(self, folder, facts, names, read, held) -> None:
        self.folder, self.facts, self.shape = folder, facts, tuple(facts["shape"])
        self._names, self._read, self._held = names, read, tuple(held)
        self._parts: list[Part] = [*read, *held]
        self._ends = np.array([0, *accumulate(len(p.keys) for p in self._parts)])

    def extended(
        self,
        keys: Sequence[str],
        vectors: Float[np.ndarray, "N *shape"],
        lengths: Integer[np.ndarray, "N"] | None,
    ) -> "FeatureStore":
        """This store with other items in memory; its folder stays as it is.

        Args:
          lengths: tokens of each, None = all.
        """
        whole = object.__new__(FeatureStore)
        held = (*self._held, Part(keys, vectors, lengths))
        whole._set(self.folder, self.facts, self._names, self._read, held)
        first = int(self._ends[-1])
        own = {key: first + i for i, key in enumerate(keys)}
        whole._where = ChainMap(own, self._where)  # of many keys no copy is made
        return whole

    @functools.cached_property
    def _where(self) -> MutableMapping[str, int]:
        """Key -> row. Of two that were stored at once by two processes, the first."""
        where: dict[str, int] = {}
        for part, first in zip(self._parts, self._ends.tolist(), strict=False):
            for row, key in enumerate(part.keys, first):
                where.setdefault(key, row)
        return where

    @functools.cached_property
    def _lengths(self) -> Integer[np.ndarray, "M"]:
        """Of every row, and 0 for the row -1."""
        whole = self.shape[0] if len(self.shape) > 1 else 1
        parts = [
            np.full(len(p.keys), whole) if p.lengths is None else p.lengths
            for p in self._parts
        ]
        return np.concatenate([*parts, np.zeros(1, np.int64)])

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def keys(self) -> list[str]:
        """Of all items, in the order of their rows."""
        return list(self._where)

    def rows(self, keys: Sequence[str]) -> Integer[np.ndarray, "N"]:
        """Row of each key, -1 where it is '' or not stored."""
        return np.array([self._where.get(key, ABSENT) for key in keys], np.int64)

    def take(self, rows: Integer[np.ndarray, "N"]) -> Float[np.ndarray, "N *shape"]:
        """float32 vectors of these rows, zeros for -1."""
        found = np.zeros((len(rows), *self.shape), np.float32)
        place = np.searchsorted(self._ends, rows, side="right") - 1
        for number in np.unique(place[rows != ABSENT]).tolist():
            here = np.flatnonzero(place == number)
            found[here] = self._parts[number].vectors[rows[here] - self._ends[number]]
        return found

    def masks(self, rows: Integer[np.ndarray, "N"]) -> Bool[np.ndarray, "N T"]:
        """Which tokens or patches of these rows are there; none for -1.

        Only where the shape of an item is (T, D).
        """
        return np.arange(self.shape[0])[None] < self._lengths[rows][:, None]


def open_store(folder: Path | str) -> FeatureStore:
    """A store, from memory where its folder has not changed since it was opened.

    Raises:
      CatalogueError: see `FeatureStore`.
    """
    folder, files = Path(folder), []
    for path in sorted(folder.glob("*.*")):
        with contextlib.suppress(FileNotFoundError):  # another process's unfinished one
            stat = path.stat()
            files.append((path.name, stat.st_size, stat.st_mtime_ns))
    return _opened(folder, tuple(files))


@functools.lru_cache(KEPT)
def _opened(folder: Path, files: tuple) -> FeatureStore:
    """`files` tell one state of the folder from another."""
    return FeatureStore(folder)


def store_facts(folder: Path | str) -> dict:
    """What `store.json` says.

    Raises:
      CatalogueError: the folder is no store, or its file is torn.
    """
    path = Path(folder) / "store.json"
    if not path.is_file():
        raise CatalogueError(
            f"{folder} holds no features (no store.json); make them with"
            " --config.task=extract"
        )
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CatalogueError(
            f"{path} is torn ({error}): bring it back, or delete the folder and extract"
            " again"
        ) from None
    kind = facts.get("format") if isinstance(facts, dict) else None
    if kind != FORMAT or not isinstance(facts.get("shape"), list):
        raise CatalogueError(f"{path}: format {kind!r}, not {FORMAT} with a shape")
    return facts


def store_shape(folder: Path | str) -> tuple[int, ...]:
    """Shape of one item of a store."""
    return tuple(store_facts(folder)["shape"])


def differences(held: Mapping, facts: Mapping) -> str:
    """What makes the vectors of two stores different, in words; '' = nothing does."""
    return ", ".join(
        f"{k} {held.get(k)!r} -> {facts.get(k)!r}"
        for k in sorted((facts.keys() | held.keys()) - {SOURCE})
        if held.get(k) != facts.get(k)
    )


def start_store(
    folder: Path, facts: Mapping, *, instead: str = "take a new folder"
) -> None:
    """Opens a folder for vectors of one encoder; one that is there must be the same.

    An encoder that has moved is the same, and its new place is written down.

    Args:
      instead: what a user can do where the folder is another's.

    Raises:
      CatalogueError: the folder holds features of another encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, facts = folder / "store.json", {"format": FORMAT, **facts}
    held = store_facts(folder) if path.exists() else facts
    if told := differences(held, facts):
        raise CatalogueError(f"{folder} holds other features ({told}); {instead}")
    if not path.exists() or held.get(SOURCE) != facts.get(SOURCE):
        with finished(path) as partial:
            partial.write_text(json.dumps(facts, indent=1) + "\n")
