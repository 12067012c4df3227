"""Groups of rows that are one product, never divided by a split."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt64

from hsjax.data.records import Record

LARGE = 10  # rows; real products are seldom listed more often


def group_keys(records: Sequence[Record]) -> np.ndarray:
    """Dense group numbers, (N,) int64.

    A group is one value of the group column. Rows without one are joined by equal
    normalised title (the first text column) or equal picture, closed transitively;
    rows that have neither by equal text, so that all with nothing are one group.
    Numbers follow the sorted group keys, so they depend on the set of products and not
    on the order of the rows.
    """
    parents = list(range(len(records)))
    owners: dict[tuple[str, str], int] = {}
    for row, record in enumerate(records):
        for mark in _marks(record):
            _join(parents, row, owners.setdefault(mark, row))
    roots = np.array([_root(parents, row) for row in range(len(records))], np.int64)
    _, groups = np.unique(roots, return_inverse=True)
    keys = sort_keys(records, groups)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.arange(len(keys))
    return numbers[groups]


def _marks(record: Record) -> list[tuple[str, str]]:
    """What another row may share with this one to belong to its group."""
    if record.group:
        return [("group", record.group)]
    title = _normalised(next(iter(record.texts.values()), ""))
    marks = [("title", title)] if title else []
    if record.image_key:
        marks.append(("image", record.image_key))
    return marks or [("text", _normalised(" ".join(record.texts.values())))]


def _normalised(title: str) -> str:
    """Case, accents' encoding, punctuation and spacing do not make another product."""
    title = unicodedata.normalize("NFKC", title).casefold()
    return re.sub(r"[\W_]+", " ", title).strip()


def _root(parents: list[int], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


def _join(parents: list[int], a: int, b: int) -> None:
    a, b = _root(parents, a), _root(parents, b)
    parents[max(a, b)] = min(a, b)


def content_key(record: Record) -> str:
    """sha1 of texts and picture: the same for rows that cannot be told apart."""
    parts = (*sorted(record.texts.items()), record.image_key)
    return hashlib.sha1(repr(parts).encode()).hexdigest()


def content_hashes(records: Sequence[Record]) -> UInt64[np.ndarray, "N"]:
    """The first 8 bytes of each `content_key` as a number: small enough to be kept."""
    return np.array([int(content_key(r)[:16], 16) for r in records], np.uint64)


def sort_keys(records: Sequence[Record], groups: np.ndarray) -> list[str]:
    """Key of each group 0..G-1: its value of the group column or least content key."""
    keys: dict[int, str] = {}
    for record, group in zip(records, groups.tolist(), strict=True):
        key = f"={record.group}" if record.group else content_key(record)
        keys[group] = min(key, keys.get(group, key))
    return [keys[group] for group in range(len(keys))]


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
