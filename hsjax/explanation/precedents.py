"""The labelled products that a run was trained on, and the nearest ones to others.

WORKDIR/precedents/ holds, made once for each model:

    precedents.json   of which model and which rows the rest is
    rows.parquet      row, id, label, text, group and content of every training row
    SIDE.npy          (N, D) float16 vectors by text, image and both: see `space`
    words.npy         hashes of all words of the training part, sorted
"""

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Integer, UInt64

from hsjax.data.columns import model_columns
from hsjax.data.content import content_key
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.data.record import Record
from hsjax.data.stored_records import selected
from hsjax.data.tokens import BETWEEN_COLUMNS
from hsjax.explanation.space import as_stored, make_vectors, sides_of, space_of
from hsjax.inference.predict import Run
from hsjax.progress import progress
from hsjax.sharding import jit_whole, make_mesh
from hsjax.train.config import config_hash, read_config
from hsjax.train.workdir import check_rows

log = logging.getLogger("hsjax")

FOLDER, FACTS, FORMAT = "precedents", "precedents.json", 1
BLOCK = 65_536  # vectors that are compared at once
OFTEN = 8  # listings of one product that are looked through for another one
COLUMNS = ("row", "id", "label", "text", "content", "group")
LETTERS = 300  # of a text that is kept
EDGES = ".,;:!?()[]{}\"'`/\\|<>*&"  # of a word: not part of it


class Precedents(NamedTuple):
    """The training part of a run, as `precedents/` holds it.

    Attributes:
      rows: row, id, label, text, group, content of N products.
      vectors: side -> (N, D) float16, read from the disk when needed.
      words: sorted hashes.
      space: what the vectors are, in words.
    """

    rows: pa.Table
    vectors: Mapping[str, np.ndarray]
    words: UInt64[np.ndarray, "W"]
    space: str

    def unseen(self, texts: Iterable[str]) -> list[str]:
        """Words of texts that no training row has, each once, in order."""
        words = list(dict.fromkeys(w for text in texts for w in plain_words(text)))
        known = np.isin(word_hashes(words), self.words, assume_unique=True)
        return [w for w, here in zip(words, known, strict=True) if not here]

    def nearest(
        self, side: str, queries: Float[np.ndarray, "Q D"], count: int
    ) -> list[list[tuple[int, float]]]:
        """For each query (position, cosine) of the nearest, one listing a product.

        [] for a query that is absent, whose vector is 0.
        """
        places, cosines = nearest(self.vectors[side], queries, count * OFTEN)
        groups = self.rows["group"].to_numpy()
        found = []
        for own, near in zip(places, cosines, strict=True):
            _, first = np.unique(groups[own], return_index=True)
            kept = [i for i in np.sort(first) if np.isfinite(near[i])][:count]
            found.append([(int(own[i]), float(near[i])) for i in kept])
        there = (queries != 0).any(axis=1)
        return [x if here else [] for x, here in zip(found, there, strict=True)]


def nearest(
    vectors: Float[np.ndarray, "N D"], queries: Float[np.ndarray, "Q D"], count: int
) -> tuple[Integer[np.ndarray, "Q K"], Float[np.ndarray, "Q K"]]:
    """Positions and cosines of the nearest unit vectors, the nearest first.

    The whole is never in memory as float32: a block of it at a time. Vectors of 0 are
    absent, and -inf away; of equals the first comes first.
    """
    best = np.full((len(queries), 0), -np.inf, np.float32)
    place = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], np.float32)
        near = queries.astype(np.float32) @ block.T
        near[:, ~(block != 0).any(axis=1)] = -np.inf
        rows = np.broadcast_to(np.arange(start, start + len(block)), near.shape)
        best = np.concatenate([best, near], axis=1)
        place = np.concatenate([place, rows], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(best, order, axis=1)
        place = np.take_along_axis(place, order, axis=1)
    return place, best


def plain_words(text: str) -> list[str]:
    """Words without case and without the signs around them."""
    words = (word.strip(EDGES).casefold() for word in text.split())
    return [word for word in words if word]


def word_hashes(words: Sequence[str]) -> UInt64[np.ndarray, "W"]:
    """8 bytes of each."""
    found = (hashlib.sha1(w.encode("utf-8", "replace")).digest()[:8] for w in words)
    return np.frombuffer(b"".join(found), np.uint64)


def open_precedents(workdir: Path, run: Run, model: str) -> Precedents:
    """What `precedents/` holds of this model, made first where it does not.

    Args:
      model: hash of the parameters.

    Raises:
      CatalogueError: the run's catalogue cannot be read.
      WorkdirError: it is not the one that the run was trained on.
    """
    folder = workdir / FOLDER
    facts = {
        "format": FORMAT,
        "step": run.step,
        "config": config_hash(read_config(workdir)),
        "parameters": model,
        "space": space_of(run),
        "sides": [*sides_of(run)],
    }
    if _facts(folder) != facts:
        _make(workdir, run, facts, folder)
    vectors = {
        side: np.load(folder / f"{side}.npy", mmap_mode="r") for side in facts["sides"]
    }
    rows, words = pq.read_table(folder / "rows.parquet"), np.load(folder / "words.npy")
    return Precedents(rows, vectors, words, facts["space"])


def _facts(folder: Path) -> dict | None:
    try:
        return json.loads((folder / FACTS).read_text())
    except (OSError, ValueError):
        return None


def _make(workdir: Path, run: Run, facts: Mapping, folder: Path) -> None:
    """Writes `precedents/` beside the old one, then puts it in its place."""
    log.info("%s: vectors of the training part, made once", folder)
    source = workdir if (workdir / "tokenizer.json").exists() else None
    catalogue = read_catalogue(run.config, source_run=source)
    check_rows(workdir, catalogue.manifest)
    places = catalogue.rows("train")
    records = selected(catalogue.records, places)
    partial = folder.with_name(f"{FOLDER}.{uuid.uuid4().hex[:12]}.partial")
    partial.mkdir()
    try:
        for side, vectors in _vectors(run, records).items():
            np.save(partial / f"{side}.npy", vectors)
        rows, words = _described(run, catalogue, places, records)
        pq.write_table(rows, partial / "rows.parquet", compression="zstd")
        np.save(partial / "words.npy", words)
        (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _vectors(run: Run, records: Sequence[Record]) -> dict[str, np.ndarray]:
    program = jit_whole(make_vectors(run), make_mesh())
    feed = run.feed(records, groups=np.arange(len(records)))
    parts: dict[str, list[np.ndarray]] = {side: [] for side in sides_of(run)}
    for batch in progress(feed, "precedents", unit="batches"):
        real = np.asarray(batch["weight"]) > 0
        made = jax.tree.map(np.asarray, program(run.params, run.stats, batch))
        for side, x in made.items():
            parts[side].append(as_stored(x[real]))
    return {side: np.concatenate(found) for side, found in parts.items()}


def _described(run: Run, catalogue: Catalogue, places, records):
    """(a table of the rows, sorted hashes of their words)."""
    read, told, words = model_columns(run.config), [], set()
    for record in records:
        texts = [record.texts[c] for c in read if record.texts.get(c)]
        words.update(w for text in texts for w in plain_words(text))
        label = record.path[-1] if record.path else ""
        text = BETWEEN_COLUMNS.join(texts)[:LETTERS]
        told.append((record.row, record.id, label, text, content_key(record)))
    columns = [pa.array(column) for column in zip(*told, strict=True)]
    columns.append(pa.array(catalogue.groups[places].astype(np.int64)))
    return pa.table(columns, names=COLUMNS), np.sort(word_hashes(sorted(words)))
