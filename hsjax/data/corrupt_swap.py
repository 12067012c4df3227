"""Another product's text or picture in the place of the own one: contradictory pairs.

What is swapped in counts as present, as nothing says that it is wrong; the label stays
that of the row.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsjax.data.groups import group_keys
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record


class Donors:
    """Records to take a text or a picture from, whatever their order.

    Args:
      groups: (N,) group of each record, computed where not given; a product never gets
        what is of its own group.

    Raises:
      CatalogueError: all records are of one group.
    """

    def __init__(
        self, records: Sequence[Record], groups: np.ndarray | None = None
    ) -> None:
        groups = group_keys(records) if groups is None else groups
        if len(np.unique(groups)) < 2:
            raise CatalogueError(
                "a text or picture of another product is asked for, but all rows are of"
                " one product group"
            )
        order = np.argsort([r.row for r in records], kind="stable")
        self.records = [records[i] for i in order]
        self.groups = groups[order]
        rows = [r.row for r in self.records]
        self.group_of = dict(zip(rows, self.groups.tolist(), strict=True))
        self.holders: dict[str, np.ndarray] = {}  # column, '' = picture -> who has it

    def text(self, record: Record, place: float) -> Record:
        """The record with each text that it has replaced by another product's.

        All come from the product at `place`, a number in 0..1, or, where that lacks
        one, from the next product that has it. A text that no other product has stays.
        """
        texts = dict(record.texts)
        for column, text in texts.items():
            if text and (donor := self._donor(record, column, place)):
                texts[column] = donor.texts[column]
        return replace(record, texts=texts)

    def image(self, record: Record, place: float) -> Record:
        """The record with another product's picture, if it has one itself."""
        donor = self._donor(record, "", place) if record.image_key else None
        if donor is None:
            return record
        # the key names the bytes, whoever shows them
        return replace(record, image=donor.image, image_key=donor.image_key)

    def _donor(self, record: Record, column: str, place: float) -> Record | None:
        """The first of another group from `place` on that has this column."""
        if column not in self.holders:
            has = [
                bool(r.texts.get(column) if column else r.image_key)
                for r in self.records
            ]
            self.holders[column] = np.flatnonzero(has)
        holders = self.holders[column]
        first = np.searchsorted(holders, place * len(self.records))
        own = self.group_of[record.row]
        for step in range(len(holders)):
            index = holders[(first + step) % len(holders)]
            if self.groups[index] != own:
                return self.records[index]
        return None
