"""Groups of rows that are one product, never divided by a split."""

import re
import unicodedata
from array import array
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hsjax.data.content import content_hashes, content_key
from hsjax.data.record import Record
from hsjax.data.stored_reading import short_hash
from hsjax.data.stored_records import StoredRecords

__all__ = ["content_hashes", "content_key", "group_facts", "group_keys", "sort_keys"]

LARGE = 10  # rows; real products are seldom listed more often


def group_keys(records: Sequence[Record]) -> np.ndarray:
    """Dense group numbers, (N,) int64.

    A group is one value of the group column. Rows without one are joined by equal
    normalised title (the first text column) or equal picture, closed transitively;
    rows that have neither by equal text, so that all with nothing are one group.
    Numbers follow the sorted group keys, so they depend on the set of products and not
    on the order of the rows.
    """
    rows, marks = array("q"), array("Q")  # of a mark its hash: few bytes a row
    for row, record in enumerate(records):
        for mark in _marks(record):
            rows.append(row)
            marks.append(short_hash(mark))
    groups = _joined(np.frombuffer(rows, np.int64), np.frombuffer(marks, np.uint64))
    keys = sort_keys(records, groups)
    order = sorted_places(keys)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.arange(len(keys))
    return numbers[groups]


def _marks(record: Record) -> list[tuple[str, str]]:
    """What another row may share with this one to belong to its group."""
    if record.group:
        return [("group", record.group)]
    title = _normalised(next(iter(record.texts.values()), ""))
    marks = [("title", title)] if title else []
    if record.shown_key:
        marks.append(("image", record.shown_key))
    return marks or [("text", _normalised(" ".join(record.texts.values())))]


def _normalised(title: str) -> str:
    """Case, accents' encoding, punctuation and spacing do not make another product."""
    title = unicodedata.normalize("NFKC", title).casefold()
    return re.sub(r"[\W_]+", " ", title).strip()


def _joined(rows: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """(N,) numbers from 0 of what hangs together by equal marks.

    Args:
      rows, marks: (M,) pairs; each row has at least one.
    """
    distinct, marked = np.unique(marks, return_inverse=True)
    count = int(rows.max(initial=-1)) + 1
    ends = (rows, marked + count)
    whole = (count + len(distinct),) * 2
    graph = coo_array((np.ones(len(rows), bool), ends), shape=whole)
    parts = connected_components(graph, directed=False)[1][:count]
    return np.unique(parts, return_inverse=True)[1]


def sort_keys(records: Sequence[Record], groups: np.ndarray) -> list[str] | np.ndarray:
    """Key of each group 0..G-1: its value of the group column or least content key.

    Those of a prepared catalogue as (G,) bytes, in the same order.
    """
    if isinstance(records, StoredRecords) and not records.fields.group:
        order = np.argsort(records.keys, kind="stable")
        _, first = np.unique(groups[order], return_index=True)
        return records.keys[order[first]]
    keys: dict[int, str] = {}
    for record, group in zip(records, groups.tolist(), strict=True):
        key = f"={record.group}" if record.group else content_key(record)
        keys[group] = min(key, keys.get(group, key))
    return [keys[group] for group in range(len(keys))]


def sorted_places(keys: list[str] | np.ndarray) -> list[int] | np.ndarray:
    """Where the first, the second, ... of the keys in their order is."""
    if isinstance(keys, np.ndarray):
        return np.argsort(keys, kind="stable")
    return sorted(range(len(keys)), key=keys.__getitem__)


def group_facts(groups: np.ndarray, parts: np.ndarray) -> dict[str, int | float]:
    """Counts that tell whether groups are products and whether the parts respect them.

    Equal titles of different products can chain a catalogue into one giant group; rows
    or official parts may divide groups.

    Args:
      groups: (N,) group of each row; parts: (N,) its part.
    """
    _, dense, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    numbers = np.unique(parts, return_inverse=True)[1]
    pairs = np.unique(np.stack([dense, numbers]), axis=1)
    share = 100 * (sizes[dense] > LARGE).mean()
    return {
        "groups": len(sizes),
        "rows of the largest group": int(sizes.max()),
        f"% of rows in groups of more than {LARGE}": round(float(share), 1),
        "groups in more than one part": int((np.bincount(pairs[0]) > 1).sum()),
    }
