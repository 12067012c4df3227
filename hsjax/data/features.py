"""Cached features of a catalogue's records, in place of texts and pictures."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.batch import IMAGE
from hsjax.data.prepared import StoredPicture
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.record import Record
from hsjax.data.store import ABSENT, FeatureStore, open_store
from hsjax.data.text import stream_texts

PCA_FILE = "pca.safetensors"  # of a store of principal components
FITTED_FILE = "fitted_on.txt"  # keys of what components were fitted on
# encode(folder of a store, items, max_pixels=...) -> ((N, *shape), (N,) lengths | None)
EncodeMissing = Callable[..., tuple[np.ndarray, np.ndarray | None]]


class Features(NamedTuple):
    """One modality of a catalogue's records, in a store.

    Attributes:
      rows: (N,) row of each record in the store, -1 = the modality is absent.
    """

    store: FeatureStore
    rows: Integer[np.ndarray, "N"]

    def take(self, index: Integer[np.ndarray, "B"]) -> Float[np.ndarray, "B *shape"]:
        """(B, D), or (B, T, D), float32 of the records at `index`; zeros = absent."""
        return self.store.take(self.rows[index])

    def present(self, index: Integer[np.ndarray, "B"]) -> Bool[np.ndarray, "B"]:
        """Is the modality there?"""
        return self.rows[index] != ABSENT

    def masks(self, index: Integer[np.ndarray, "B"]) -> Bool[np.ndarray, "B T"]:
        """Which tokens or patches are there; of (B, T, D) features."""
        return self.store.masks(self.rows[index])


def text_key(text: str) -> str:
    """sha1 of a text, '' for none."""
    return hashlib.sha1(text.encode()).hexdigest() if text.strip() else ""


def stores_of(config) -> dict[str, str]:
    """{modality: folder of its feature store} of the modalities that have one.

    A baseline reads the texts themselves, and needs no store of them.
    """
    folders = config.data.features.to_dict()
    read = [m for m in config.model.modalities if folders.get(m)]
    if config.task == "baseline":
        read = [m for m in read if m == IMAGE]
    return {m: folders[m] for m in read}


def stored_pictures(config) -> FeatureStore | None:
    """The store that stands for pictures; None where pictures are seen, or not used.

    Raises:
      CatalogueError: there is no such store, or it is one of texts.
    """
    folder = stores_of(config).get(IMAGE)
    return _open(folder, IMAGE) if folder else None


def check_modality(folder: Path | str, facts: Mapping, modality: str) -> None:
    """One store may serve every text stream, or the pictures, never both.

    Args:
      facts: of its store.json; one that names no modality may serve any.

    Raises:
      CatalogueError: it holds texts for pictures, or pictures for texts.
    """
    held = facts.get("modality", modality)
    if (held == IMAGE) != (modality == IMAGE):
        raise CatalogueError(
            f"data.features.{modality}: {folder} holds features of {held}, not of"
            f" {modality}"
        )


def _open(folder: str, modality: str) -> FeatureStore:
    store = open_store(folder)
    check_modality(folder, store.facts, modality)
    return store


def contents(
    config, records: Iterable[Record], modality: str
) -> Iterator[tuple[str, Any]]:
    """(content key, text or picture as the record has it) of each record.

    The key is what a feature store knows the content by, '' where it is absent.
    """
    columns = () if modality == IMAGE else config.data.text.streams[modality]
    for record in records:
        if modality == IMAGE:
            yield record.image_key, record.image
        else:
            (text,) = stream_texts([record], columns)
            yield text_key(text), text


def content_keys(config, records: Iterable[Record], modality: str) -> list[str]:
    """The content key of each record, '' where the modality is absent."""
    return [key for key, _ in contents(config, records, modality)]


def content_items(config, records: Iterable[Record], modality: str) -> dict:
    """{content key: text, or picture as the record has it} of what is there."""
    return {key: item for key, item in contents(config, records, modality) if key}


def find_features(
    store: FeatureStore,
    keys: Sequence[str],
    *,
    modality: str,
    records: Sequence[Record],
) -> Features:
    """The vectors of items by their keys; '' is an absent item.

    Args:
      records: whose items they are, for the message.

    Raises:
      CatalogueError: items that the store lacks, with their number and one of them.
    """
    rows = store.rows(keys)
    missing = [i for i, key in enumerate(keys) if key and rows[i] == ABSENT]
    if missing:
        first = records[missing[0]]
        raise CatalogueError(
            f"{store.folder} lacks the features of {len(missing)} of {len(keys)}"
            f" products' {modality} (first: row {first.row}, id {first.id}); extract"
            " them into the same folder with --config.task=extract"
        )
    return Features(store, rows)


def features_of(
    config, records: Sequence[Record], *, encode: EncodeMissing | None = None
) -> Mapping[str, Features]:
    """Vectors in place of the raw modalities that `data.features` names.

    Args:
      encode: makes what a store lacks, in memory; None = nothing may be lacking.

    Raises:
      CatalogueError: no such store, one of texts for pictures or the other way round,
        or one that lacks an item.
    """
    found = {}
    for modality, folder in stores_of(config).items():
        store = _open(folder, modality)
        if encode is not None:
            content = contents(config, records, modality)
            items = {key: x for key, x in content if key and key not in store}
            limit = config.data.image.max_pixels
            store = _with_missing(store, items, encode, limit)
        keys = content_keys(config, records, modality)
        told = {"modality": modality, "records": records}
        found[modality] = find_features(store, keys, **told)
    return found


def _with_missing(
    store: FeatureStore, items: Mapping, encode: EncodeMissing, max_pixels: int
) -> FeatureStore:
    """What is neither stored nor at hand (a picture that was not read) stays away."""
    missing = {
        key: item
        for key, item in items.items()
        if isinstance(item, str | bytes | Path | StoredPicture)
    }
    if not missing:
        return store
    made = encode(store.folder, list(missing.values()), max_pixels=max_pixels)
    return store.extended(list(missing), *made)


def warn_of_components(
    config,
    records: Sequence[Record],
    parts: Shaped[np.ndarray, "N"],
    quarantine: Quarantine,
) -> None:
    """Tells of each store whose components have seen what is held out here.

    Another split or another seed than that of the extraction has other test rows, and
    components that were fitted on them know more of the test part than they may.

    Args:
      parts: (N,) of the records: train | val | test | out.
    """
    held = np.isin(parts, ("val", "test"))
    for modality, folder in stores_of(config).items():
        path = Path(folder) / FITTED_FILE
        if not path.exists():
            continue
        keys = np.array(content_keys(config, records, modality))
        learnt = np.array(path.read_text().split())
        seen = np.isin(keys, learnt) & ~np.isin(keys, keys[parts == "train"])
        if count := int((seen & held).sum()):
            quarantine.warn(
                f"data.features.{modality}: the components of {folder} were fitted on"
                f" {count:,} of the {int(held.sum()):,} validation and test rows of"
                " this split; extract them again with the same data.split"
            )
