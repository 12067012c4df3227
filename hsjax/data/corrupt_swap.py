"""Another product's text or picture in the place of the own one: contradictory pairs.

What is swapped in counts as present, as nothing says that it is wrong; the label stays
that of the row.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

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
        # column, '' = picture -> who has it
        self.holders: dict[str, _Holders] = {}

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
            self.holders[column] = _Holders.of(np.flatnonzero(has), self.groups)
        holders = self.holders[column]
        index = holders.after(place * len(self.records), self.group_of[record.row])
        return None if index is None else self.records[index]


class _Holders(NamedTuple):
    """Records that have something, in order, and where a next one is another group's.

    Attributes:
      index, group: (H,) numbers of the records, and of their groups.
      ends: places before another group's, in a circle.
    """

    index: np.ndarray
    group: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, index: np.ndarray, groups: np.ndarray) -> "_Holders":
        group = groups[index]
        return cls(index, group, np.flatnonzero(group != np.roll(group, -1)))

    def after(self, place: float, own) -> int | None:
        """The first of another group from `place` on; None = there is none.

        A group may hold nearly all records, so that a step at a time would take long.
        """
        if not len(self.index):
            return None
        first = int(np.searchsorted(self.index, place)) % len(self.index)
        if self.group[first] != own:
            return int(self.index[first])
        if not len(self.ends):
            return None
        end = self.ends[np.searchsorted(self.ends, first) % len(self.ends)]
        return int(self.index[(end + 1) % len(self.index)])
