"""What is seen only when all answers are there: what has none, and ids that repeat."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from hsjax.prediction.parts import Parts

COLUMNS = ["row", "id", "pred", "reason"]
SHOWN = 3  # kinds of reasons


class Overview(NamedTuple):
    """Of all answers together.

    Attributes:
      unanswered: sentence on products without an answer, '' = there are none.
      repeats: notes of the rows whose id an earlier one has: who joins by ids would
        take one answer for another.
    """

    unanswered: str
    repeats: list[tuple]


def seen_together(parts: Parts, source: Path) -> Overview:
    """Of parts that are all there; 16 bytes a product are in memory."""
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    hashes, rows = [], []
    for number in range(parts.count):
        part = pq.read_table(parts.path(number), columns=COLUMNS)
        pairs = zip(part["pred"].to_pylist(), part["reason"].to_pylist(), strict=True)
        for reason in (reason for pred, reason in pairs if not pred):
            phrase = reason.split(": ")[0]
            counts[phrase] += 1
            example.setdefault(phrase, reason)
        hashes.append(np.fromiter(map(hash, part["id"].to_pylist()), np.int64))
        rows.append(part["row"].to_numpy().astype(np.int64))
    most = counts.most_common(SHOWN)
    kinds = [f"{example[phrase]} ({n:,} of this kind)" for phrase, n in most]
    told = f"{counts.total():,} without an answer: {', '.join(kinds)}" if kinds else ""
    first = _first_rows(np.concatenate(hashes), np.concatenate(rows))
    return Overview(told, [*_repeat_notes(parts, source, first)])


def _first_rows(hashes: np.ndarray, rows: np.ndarray) -> dict[int, int]:
    """Row -> the first one of the same id, of rows that are not the first."""
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(np.diff(hashes[order]) == 0) + 1
    first: dict[int, int] = {}
    for place in same.tolist():  # in order: the one before is known
        row, before = int(rows[order[place]]), int(rows[order[place - 1]])
        first[row] = first.get(before, before)
    return first


def _repeat_notes(parts: Parts, source: Path, first: dict) -> Iterator[tuple]:
    for number in range(parts.count if first else 0):
        part = pq.read_table(parts.path(number), columns=["row", "id"])
        for row, id in zip(*(part[c].to_pylist() for c in ("row", "id")), strict=True):
            if row in first:
                reason = f"repeated id: row {first[row]} has it, too"
                yield str(source), row, id, "", reason, "kept"
