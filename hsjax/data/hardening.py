"""The words of a catalogue that give the leaf away, found and taken out of its rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.data.columns import model_columns
from hsjax.data.giveaway import GiveAway, Hiding, giveaway_words, without_words
from hsjax.data.prepare import make_tree, read_parts
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record
from hsjax.data.repeats import repeated_row
from hsjax.data.rewrite import Changes
from hsjax.data.sources import as_text, read_rows
from hsjax.data.text import stream_texts
from hsjax.data.tree_labels import fit_labels

# columns of the new file -> what they stand for in config.data.columns
ID, GROUP, SPLIT = "hard_id", "hard_group", "hard_split"
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
    tree, _ = make_tree(config, [records[i] for i in np.flatnonzero(parts == "train")])
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
    texts = stream_texts([split.records[i] for i in rows], columns)
    words = giveaway_words(texts, leaves, split.names, count=count)
    if not words:
        raise CatalogueError(
            f"no word of {', '.join(columns)} tells anything of the leaf of the"
            f" {len(rows):,} training rows: check columns.text"
        )
    return words


def needed_columns(config, split: Split) -> tuple[str, ...]:
    """What has to be added, so that a run divides the new file as it does the old one.

    Groups that come from equal titles, and a split of rows by their content, would be
    others; and so would ids, where they are row numbers of rows that are gone or are
    told apart only by their texts.
    """
    data, own = config.data, config.data.columns.id
    columns = {own, *data.columns.text}  # at least one, or there are no rows
    rows = read_rows(data.path, Quarantine(), columns=columns, rows=data.rows)
    ids = {
        row: as_text(values.get(own)) or str(place)
        for place, (row, values) in enumerate(rows, start=1)
    }
    renamed = any(ids[record.row] != record.id for record in split.records)
    computed = not all(record.group for record in split.records)
    # by date, which groups hang together is all that counts
    divided = data.split.by == "row" or (computed and data.split.by != "date")
    wanted = {ID: renamed, GROUP: computed, SPLIT: divided}
    return tuple(name for name, needed in wanted.items() if needed)


class Hardening:
    """Takes the words out of the rows of a catalogue, and counts what it did.

    Attributes:
      added: see `needed_columns`.
      tally: rows, those `changed`, `emptied` and `without` text; words, `gone` of them.
      emptied: (row, id) of rows that lost their last word.
    """

    def __init__(
        self, config, split: Split, hiding: Hiding, quarantine: Quarantine
    ) -> None:
        self.columns, self.hiding = model_columns(config), hiding
        self.id, self.added = config.data.columns.id, needed_columns(config, split)
        self.tally: Counter[str] = Counter()
        self.emptied: list[tuple[int, str]] = []
        rows = zip(split.records, split.groups, split.parts, strict=True)
        # numbers of one length are sorted as text as they are as numbers
        self.keys = {
            r.row: {ID: r.id, GROUP: f"{group:09d}", SPLIT: str(part)}
            for r, group, part in rows
        }
        # what repeats a row has to repeat it still, so that it is dropped again
        for _, row, *_, reason, action in quarantine.rows:
            if action == "dropped" and (first := repeated_row(reason)):
                self.keys[row] = self.keys[first]

    def changes(self) -> Changes:
        """For `rewrite_catalogue`."""
        read = (*self.columns, *filter(None, [self.id]))
        return Changes(read, self.columns, self.added, self.cells)

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
        known = self.keys.get(row, {})
        return cells | {name: known.get(name) for name in self.added}
