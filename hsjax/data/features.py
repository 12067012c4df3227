"""Vectors of a frozen encoder on disk, found by the content that they were made of.

A store is a folder: `store.json` says which encoder made it, and parts hold what was
encoded, `PART.npy` the vectors and `PART.keys` their keys, a line each. The keys are
written last, so a part without them was cut off and is made anew. A key is the sha1 of
a text or of a picture's bytes: what occurs twice is stored once, and a store serves any
catalogue with the same content.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.records import CatalogueError, Record
from hsjax.data.text import stream_texts

FORMAT = 1
ABSENT = -1  # the row of an item that is not there


def text_key(text: str) -> str:
    """sha1 of a text, '' for none."""
    return hashlib.sha1(text.encode()).hexdigest() if text.strip() else ""


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
        self._parts, self._where = [], {}
        for keys in sorted(self.folder.glob("*.keys")):
            self._add(keys)

    def _add(self, keys: Path) -> None:
        names = keys.read_text().split()
        vectors = np.load(keys.with_suffix(".npy"), mmap_mode="r")
        if vectors.shape != (len(names), *self.shape):
            raise CatalogueError(
                f"{keys.with_suffix('.npy')} holds {vectors.shape}, expected"
                f" {(len(names), *self.shape)}: delete both files and extract again"
            )
        first = sum(map(len, self._parts))
        self._parts.append(vectors)
        self._where.update((key, first + i) for i, key in enumerate(names))

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


class Features(NamedTuple):
    """One modality of a catalogue's records, in a store.

    Attributes:
      rows: (N,) row of each record in the store, -1 = the modality is absent.
    """

    store: FeatureStore
    rows: np.ndarray

    def take(self, index: np.ndarray) -> np.ndarray:
        """(B, D), or (B, T, D), float32 of the records at `index`; zeros = absent."""
        return self.store.take(self.rows[index])

    def present(self, index: np.ndarray) -> np.ndarray:
        """(B,) bool: is the modality there?"""
        return self.rows[index] != ABSENT


def find_features(
    store: FeatureStore, keys: Sequence[str], *, modality: str
) -> Features:
    """The vectors of items by their keys; '' is an absent item.

    Raises:
      CatalogueError: items that the store lacks, with their number and one of them.
    """
    rows = store.rows(keys)
    missing = [i for i, key in enumerate(keys) if key and rows[i] == ABSENT]
    if missing:
        raise CatalogueError(
            f"{store.folder} lacks the features of {len(missing)} of {len(keys)}"
            f" products' {modality} (first: product {missing[0] + 1}); extract them"
            " into the same folder with --config.task=extract"
        )
    return Features(store, rows)


def stores_of(config) -> dict[str, str]:
    """{modality: folder of its feature store} of the modalities that have one."""
    folders = config.data.features.to_dict()
    return {m: folders[m] for m in config.model.modalities if folders.get(m)}


def features_of(config, records: Sequence[Record]) -> dict[str, Features]:
    """Vectors in place of the raw modalities that `data.features` names.

    Raises:
      CatalogueError: no such store, or one that lacks an item.
    """
    found = {}
    for modality, folder in stores_of(config).items():
        keys = content_keys(config, records, modality)
        found[modality] = find_features(FeatureStore(folder), keys, modality=modality)
    return found


def content_keys(config, records: Sequence[Record], modality: str) -> list[str]:
    """What a feature store knows a modality's content by, '' where it is absent."""
    if modality == IMAGE:
        return [r.image_key for r in records]
    columns = config.data.text.streams[modality]
    return [text_key(text) for text in stream_texts(records, columns)]


def start_store(folder: Path, facts: Mapping) -> None:
    """Opens a folder for vectors of one encoder; one that is there must be the same.

    Raises:
      CatalogueError: the folder holds features of another encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, facts = folder / "store.json", {"format": FORMAT, **facts}
    if path.exists():
        held = json.loads(path.read_text())
        told = ", ".join(
            f"{k} {held.get(k)!r} -> {facts.get(k)!r}"
            for k in sorted(facts.keys() | held.keys())
            if held.get(k) != facts.get(k)
        )
        if told:
            raise CatalogueError(
                f"{folder} holds other features ({told}); take a new folder"
            )
        return
    _write_text(path, json.dumps(facts, indent=1) + "\n")


def add_part(folder: Path, keys: Sequence[str], vectors: np.ndarray) -> None:
    """Adds (N, *shape) vectors under their keys; whole or not at all.

    A part is named by its keys: processes and resumed runs never collide.
    """
    path = folder / hashlib.sha1("".join(keys).encode()).hexdigest()[:16]
    with open(f"{path}.partial", "wb") as file:
        np.save(file, vectors)
    os.replace(f"{path}.partial", f"{path}.npy")
    _write_text(Path(f"{path}.keys"), "".join(f"{key}\n" for key in keys))


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)
