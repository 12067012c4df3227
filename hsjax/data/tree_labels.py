"""Labels of records in a tree: their ids, where they end, and which leave it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from hsjax.data.columns import label_columns, label_kind
from hsjax.data.records import Quarantine, Record
from hsjax.data.stored_records import LabelTable, labels_of, with_ended
from hsjax.taxonomy import Taxonomy


def encode_labels(
    records: Sequence[Record], tree: Taxonomy
) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) int32 labels, and (N,) bool: does the label leave the tree?"""
    table = LabelTable()  # rows are many, labels are few
    known = (table.number((path, complete)) for path, complete, _ in labels_of(records))
    numbers = np.fromiter(known, np.int64, count=len(records))
    pairs = [tree.encode(*label) for label in table.labels]
    labels = np.array([p[0] for p in pairs], np.int32).reshape(-1, tree.num_levels)
    return labels[numbers], np.array([p[1] for p in pairs], bool)[numbers]


def encode_sets(records: Sequence[Record], tree: Taxonomy) -> Int[np.ndarray, "N S"]:
    """Numbers of the nodes of which one is right, -1 = none: see `hsjax.batch`.

    S is the size of the largest set of a record, 0 where none has one.
    """
    first = np.cumsum([0, *tree.sizes])  # number of a level's node 0
    sets = []
    for _, _, admissible in labels_of(records):
        ends = [(len(p) - 1, tree.encode(p, complete=False)[0]) for p in admissible]
        sets.append([first[level] + labels[level] for level, labels in ends])
    found = np.full((len(sets), max(map(len, sets), default=0)), -1, np.int32)
    for row, numbers in enumerate(sets):
        found[row, : len(numbers)] = numbers
    return found


def fit_labels(
    records: Sequence[Record], tree: Taxonomy, *, config, quarantine: Quarantine, file
) -> tuple[Sequence[Record], np.ndarray, np.ndarray]:
    """What only the tree can say of labels.

    A path, or a node of a tree, that ends at a leaf is complete. A label outside the
    tree is noted, with the node that it is cut to.

    Args:
      file: where the records are from, for the notes.

    Returns:
      The records, and what `encode_labels` makes of them.
    """
    if label_kind(config.data) in ("path", "node"):
        records = with_ended(records, lambda path: _at_leaf(tree, _end(tree, path)))
    labels, outside = encode_labels(records, tree)
    column = ",".join(label_columns(config.data))
    for i in np.flatnonzero(outside):
        record, kept = records[i], tree.decode(labels[i])
        cut = f"cut to {kept[-1]!r}" if kept else "nor is its coarsest part"
        reason = f"unknown code: {record.path[-1]!r} is not in the tree, {cut}"
        place = {"file": file, "row": record.row, "id": record.id, "column": column}
        quarantine.add(**place, reason=reason, action="kept")
    return records, labels, outside


def with_ends(tree: Taxonomy, records: Sequence[Record]) -> Taxonomy:
    """The tree with a STOP child at each inner node where a complete label ends."""
    known = dict.fromkeys(path for path, complete, _ in labels_of(records) if complete)
    ends = [_end(tree, path) for path in known]
    return tree.with_stops(x for x in ends if x and not _at_leaf(tree, x))


def _end(tree: Taxonomy, path: tuple[str, ...]) -> tuple[int, int] | None:
    """(level, id) of the last node of a label; None without one or outside the tree."""
    labels, outside = tree.encode(path, complete=False)
    last = len(path) - 1
    return None if outside or last < 0 else (last, int(labels[last]))


def _at_leaf(tree: Taxonomy, node: tuple[int, int] | None) -> bool:
    return node is not None and bool(tree.leaf[node[0]][node[1]])
