"""Vectors of a frozen encoder on disk, found by the content that they were made of.

A store is a folder: `store.json` says which encoder made it, and parts hold what was
encoded, `PART.npy` the vectors and `PART.keys` their keys, a line each. The keys are
written last, so a part without them was cut off and is made anew. Where every token is
kept, `PART.lengths.npy` says how many of an item are tokens; the others are zero. A key
is the sha1 of a text or of a picture's bytes: what occurs twice is stored once, and a
store serves any catalogue with the same content.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.data.quarantine import CatalogueError

FORMAT = 1
ABSENT = -1  # the row of an item that is not there
SOURCE = "source"  # where the encoder lies: it may move, its hash may not


class FeatureStore:
    """A folder of vectors, read through a memory map.

    Attributes:
      folder: where it lies.
      facts: what `store.json` says: the encoder, its hash, pool, width and dtype.
      shape: of one item: (D,), or (T, D) where every token or patch is kept.

    Raises:
      CatalogueError: the folder is no store, or a part does not fit its keys.
    """

    def __init__(self, folder: Path | str):
        self.folder, self.facts = Path(folder), store_facts(folder)
        self.shape = tuple(self.facts["shape"])
        self._parts, self._lengths, self._where = [], [], {}
        for keys in sorted(self.folder.glob("*.keys")):
            lengths = keys.with_suffix(".lengths.npy")
            self._add(
                keys.with_suffix(".npy"),
                keys.read_text().split(),
                np.load(keys.with_suffix(".npy"), mmap_mode="r"),
                np.load(lengths) if lengths.exists() else None,
            )

    def _add(self, name, keys, vectors, lengths) -> None:
        if vectors.shape != (len(keys), *self.shape):
            raise CatalogueError(
                f"{name} holds {vectors.shape}, expected {(len(keys), *self.shape)}:"
                " delete both files and extract again"
            )
        first = sum(map(len, self._parts))
        self._parts.append(vectors)
        whole = np.full(len(keys), self.shape[0] if len(self.shape) > 1 else 1)
        self._lengths.append(whole if lengths is None else lengths)
        self._where.update((key, first + i) for i, key in enumerate(keys))

    def hold(
        self, keys: Sequence[str], vectors: np.ndarray, lengths: np.ndarray | None
    ) -> None:
        """Adds items to this object alone: the folder stays as it is.

        Args:
          vectors: (N, *shape).
          lengths: (N,) tokens of each, None = all.
        """
        self._add("what was encoded now", keys, vectors, lengths)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def keys(self) -> list[str]:
        """Of all items, in the order of their rows."""
        return list(self._where)

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """(N,) row of each key, -1 where it is '' or not stored."""
        return np.array([self._where.get(key, ABSENT) for key in keys], np.int64)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(N, *shape) float32 vectors of these rows, zeros for -1."""
        found = np.zeros((len(rows), *self.shape), np.float32)
        first = 0
        for part in self._parts:
            here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
            found[here] = part[rows[here] - first]
            first += len(part)
        return found

    def masks(self, rows: np.ndarray) -> np.ndarray:
        """(N, T) bool: which tokens or patches of these rows are there; none for -1.

        Only where the shape of an item is (T, D).
        """
        lengths = np.concatenate([*self._lengths, [0]])[rows]  # -1 is the last
        return np.arange(self.shape[0])[None] < lengths[:, None]


def store_facts(folder: Path | str) -> dict:
    """What `store.json` says.

    Raises:
      CatalogueError: the folder is no store.
    """
    path = Path(folder) / "store.json"
    if not path.is_file():
        raise CatalogueError(
            f"{folder} holds no features (no store.json); make them with"
            " --config.task=extract"
        )
    facts = json.loads(path.read_text())
    if facts.get("format") != FORMAT:
        raise CatalogueError(f"{path}: format {facts.get('format')!r}, not {FORMAT}")
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


def start_store(folder: Path, facts: Mapping) -> None:
    """Opens a folder for vectors of one encoder; one that is there must be the same.

    An encoder that has moved is the same, and its new place is written down.

    Raises:
      CatalogueError: the folder holds features of another encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, facts = folder / "store.json", {"format": FORMAT, **facts}
    held = json.loads(path.read_text()) if path.exists() else facts
    if told := differences(held, facts):
        raise CatalogueError(
            f"{folder} holds other features ({told}); take a new folder"
        )
    if not path.exists() or held.get(SOURCE) != facts.get(SOURCE):
        _write_text(path, json.dumps(facts, indent=1) + "\n")


def add_part(
    folder: Path,
    keys: Sequence[str],
    vectors: np.ndarray,
    lengths: np.ndarray | None = None,
) -> None:
    """Adds (N, *shape) vectors under their keys; whole or not at all.

    A part is named by its keys: processes and resumed runs never collide.

    Args:
      lengths: (N,) tokens of each item, None = all.
    """
    path = folder / hashlib.sha1("".join(keys).encode()).hexdigest()[:16]
    _write_array(Path(f"{path}.npy"), vectors)
    if lengths is not None:
        _write_array(Path(f"{path}.lengths.npy"), lengths)
    _write_text(Path(f"{path}.keys"), "".join(f"{key}\n" for key in keys))


def _write_array(path: Path, array: np.ndarray) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.save(file, array)
    os.replace(partial, path)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)
