"""Names of a vocabulary that are nearest to the titles of clusters."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsjax.data.features import text_key
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.data.store import open_store
from hsjax.data.strict_tables import read_lines
from hsjax.data.text import stream_texts
from hsjax.features.cluster_cascade import Cascade
from hsjax.features.live import embed
from hsjax.recategorize.proposals import rows_of
from hsjax.settings.discovery import named_stream

FEW = 5  # names that are shown
MOST = 500  # titles of a cluster that its mean is of


def nearest_names(
    config, records: Sequence[Record], cascade: Cascade
) -> dict[str, list[str]]:
    """Cluster -> the names of `recategorize.vocabulary` nearest to its mean text.

    Texts are of the first text stream that has a store, whose encoder reads the names,
    too; {} where no vocabulary is asked for.

    Raises:
      CatalogueError: there is no such file, or it is not UTF-8.
    """
    path = config.recategorize.vocabulary
    if not path:
        return {}
    if not Path(path).is_file():
        raise CatalogueError(f"recategorize.vocabulary: there is no file {path}")
    stream = named_stream(config)
    folder = config.data.features[stream]
    names = _names(Path(path), config.data.columns.separator)
    limit = config.data.image.max_pixels
    vocabulary = _unit(embed(folder, names, max_pixels=limit))
    texts = stream_texts(records, config.data.text.streams[stream])
    store, found = open_store(folder), {}
    for node in cascade.nodes:
        rows = rows_of(cascade.keys, node.key)[:MOST]
        keys = [text_key(texts[i]) for i in rows]
        held = [key for key in keys if key and key in store]
        if held:
            mean = _unit(store.take(store.rows(held))).mean(axis=0)
            order = np.argsort(-(vocabulary @ mean), kind="stable")[:FEW]
            found[node.key] = [names[i] for i in order]
    return found


def _names(path: Path, separator: str) -> list[str]:
    """A name or a path a line, whose last part is the name; `#` starts a comment.

    Parts stand apart by the catalogue's separator, or by ' > ', as public lists have.
    """
    names = []
    for line in read_lines(path):
        if line[:1] != "#":
            last = line.split(" > ")[-1].split(separator)[-1]
            names.append(last.strip())
    names = [name for name in dict.fromkeys(names) if name]
    if not names:
        raise CatalogueError(f"recategorize.vocabulary: {path} has no name")
    return names


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1, x.shape[-1]).mean(axis=1)  # of tokens their mean
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
