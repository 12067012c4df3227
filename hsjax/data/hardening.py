"""The words of a catalogue that give the leaf away, found and taken out of its rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.data.columns import model_columns
from hsjax.data.fields import as_text
from hsjax.data.giveaway import GiveAway, Hiding, giveaway_words, without_words
from hsjax.data.prepare import make_tree, read_parts
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record
from hsjax.data.rewrite import Changes
from hsjax.data.same_split import SameSplit
from hsjax.data.stored_records import selected
from hsjax.data.text import stream_texts
from hsjax.data.tree_labels import fit_labels

PREFIX = "hard"  # of the columns that are added
_SOUND = (32, 32)  # pictures are decoded to know which are sound, at whatever size


class Split(NamedTuple):
    """The rows that a run on a config has, and what it does with them.

    Attributes:
      records: without pictures.
      leaves: number of the leaf of the tree, -1 = the label ends before one.
      names: codes of these numbers.
    """

    records: Sequence[Record]
    groups: Integer[np.ndarray, "N"]
    parts: Shaped[np.ndarray, "N"]
    leaves: Integer[np.ndarray, "N"]
    names: Sequence[str]


def read_split(config, quarantine: Quarantine) -> Split:
    """Rows, parts and leaves, by the very functions that training reads them with.

    Raises:
      CatalogueError: whatever a user can mend, in words.
    """
    config = config.copy_and_resolve_references().unlock()
    config.data.image.cache, config.data.image.resize = False, _SOUND
    records, groups, parts = read_parts(config, quarantine)
    records = [replace(record, image=None) for record in records]
    tree, _ = make_tree(config, selected(records, np.flatnonzero(parts == "train")))
    records, labels, _ = fit_labels(
        records, tree, config=config, quarantine=quarantine, file=config.data.path
    )
    level = (labels >= 0).sum(axis=1) - 1
    first = np.cumsum([0, *tree.sizes])  # number of a level's node 0
    number = first[level] + labels[np.arange(len(labels)), level]
    ends = (level >= 0) & np.concatenate(tree.leaf)[number]
    names = np.concatenate(tree.codes).tolist()
    return Split(records, groups, parts, np.where(ends, number, -1), names)


def find_words(split: Split, columns: Sequence[str], *, count: int) -> list[GiveAway]:
    """The most telling words of the training rows, whose leaf is known.

    Raises:
      CatalogueError: no word tells anything.
    """
    rows = np.flatnonzero((split.parts == "train") & (split.leaves >= 0))
    leaves = split.leaves[rows]
    if len(np.unique(leaves)) < 2:
        raise CatalogueError(
            f"{len(rows):,} training rows have a leaf, and not two different ones: no"
            " word can tell them apart"
        )
    texts = stream_texts(selected(split.records, rows), columns)
    words = giveaway_words(texts, leaves, split.names, count=count)
    if not words:
        raise CatalogueError(
            f"no word of {', '.join(columns)} tells anything of the leaf of the"
            f" {len(rows):,} training rows: check columns.text"
        )
    return words


class Hardening:
    """Takes the words out of the rows of a catalogue, and counts what it did.

    Attributes:
      same: columns that are added, so that rows are divided as before.
      tally: rows, those `changed`, `emptied` and `without` text; words, `gone` of them.
      emptied: (row, id) of rows that lost their last word.
    """

    def __init__(
        self, config, split: Split, hiding: Hiding, quarantine: Quarantine
    ) -> None:
        self.columns, self.hiding = model_columns(config), hiding
        self.id, places = config.data.columns.id, split[:3]
        self.same = SameSplit(config, *places, quarantine, prefix=PREFIX)
        self.tally: Counter[str] = Counter()
        self.emptied: list[tuple[int, str]] = []

    def changes(self) -> Changes:
        """For `rewrite_catalogue`."""
        read = (*self.columns, *filter(None, [self.id]))
        return Changes(read, self.columns, self.same.added, self.cells)

    def cells(self, row: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """New cells of a row; those that lose nothing stay as they are."""
        id = as_text(values.get(self.id)) or str(row)
        cells = {column: values.get(column) for column in self.columns}
        gone, before = 0, any(map(as_text, cells.values()))
        for column, cell in cells.items():
            text = as_text(cell)
            stripped = without_words(text, lambda word: self.hiding.hides(id, word))
            gone += stripped.gone
            self.tally["words"] += stripped.words
            cells[column] = stripped.text if stripped.gone else cell
        after = any(map(as_text, cells.values()))
        self.tally.update(rows=1, gone=gone, changed=bool(gone), without=not after)
        if before and not after:
            self.emptied.append((row, id))
        return cells | self.same.cells(row)
