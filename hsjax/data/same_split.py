"""Columns by which a changed catalogue is divided as the old one was."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.data.fields import as_text
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import Record
from hsjax.data.repeats import repeated_row
from hsjax.data.sources import read_rows


class SameSplit:
    """What has to be added to a catalogue whose texts or labels change.

    Groups that come from equal titles, and a split of rows by their content or of
    groups by their labels, would be others; and so would ids, where they are row
    numbers of rows that are gone or are told apart only by their texts.

    Args:
      prefix: of the columns' names.
      relabelled: labels change, so that strata of the split do.

    Attributes:
      id, group, split: names of the columns.
      added: those that are needed.
    """

    def __init__(
        self,
        config,
        records: Sequence[Record],
        groups: Integer[np.ndarray, "N"],
        parts: Shaped[np.ndarray, "N"],
        quarantine: Quarantine,
        *,
        prefix: str,
        relabelled: bool = False,
    ):
        self.id, self.group = f"{prefix}_id", f"{prefix}_group"
        self.split, self.by = f"{prefix}_split", config.data.split.by
        self.added = self._needed(config, records, relabelled)
        # numbers of one length are sorted as text as they are as numbers
        self._cells = {
            r.row: {self.id: r.id, self.group: f"{group:09d}", self.split: str(part)}
            for r, group, part in zip(records, groups, parts, strict=True)
        }
        # what repeats a row has to repeat it still, so that it is dropped again
        for _, row, *_, reason, action in quarantine.rows:
            if action == "dropped" and (first := repeated_row(reason)):
                self._cells[row] = self._cells[first]

    def _needed(self, config, records, relabelled: bool) -> tuple[str, ...]:
        data, own = config.data, config.data.columns.id
        columns = {own, *data.columns.text}  # at least one, or there are no rows
        rows = read_rows(data.path, Quarantine(), columns=columns, rows=data.rows)
        ids = {
            row: as_text(values.get(own)) or str(place)
            for place, (row, values) in enumerate(rows, start=1)
        }
        renamed = any(ids[record.row] != record.id for record in records)
        computed = not all(record.group for record in records)
        # by date, which groups hang together is all that counts
        divided = self.by == "row" or (computed and self.by != "date")
        divided |= relabelled and self.by == "group"
        wanted = {self.id: renamed, self.group: computed, self.split: divided}
        return tuple(name for name, needed in wanted.items() if needed)

    def cells(self, row: int) -> dict[str, str | None]:
        """Of the columns that are added; None where the row is no record."""
        known = self._cells.get(row, {})
        return {name: known.get(name) for name in self.added}

    def reading_keys(self) -> dict[str, str]:
        """{key: value} of what a config has to say of the added columns."""
        keys = {}
        if self.id in self.added:
            keys["data.columns.id"] = self.id
        if self.group in self.added:
            keys["data.columns.group"] = self.group
        if self.split in self.added:
            keys |= {"data.columns.split": self.split, "data.split.by": "column"}
        return keys
