"""Records of a prepared catalogue, made anew whenever they are asked for.

What stays in memory is a few numbers a row: which row it is, which label it has and a
hash of what it says. Texts and pictures stay where they are.
"""

import threading
from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.data.fields import LONGEST_TEXT
from hsjax.data.prepared import AT_ONCE, Prepared, StoredPicture
from hsjax.data.record import Fields, Record, iso_date

Label = tuple[tuple[str, ...], bool, tuple[tuple[str, ...], ...]]  # path, complete, set
_LAST = threading.local()  # what this thread read last, for the streams of one batch


def label_of(record: Record) -> Label:
    return record.path, record.complete, record.admissible


class LabelTable:
    """Labels by number: a catalogue has many rows and few labels."""

    def __init__(self) -> None:
        self.labels: list[Hashable] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, label: Hashable) -> int:
        if label not in self._numbers:
            self._numbers[label] = len(self.labels)
            self.labels.append(label)
        return self._numbers[label]


class StoredRecords(Sequence[Record]):
    """Some rows of a prepared catalogue as records.

    Attributes:
      source: where the rows lie; fields: the columns that make a record.
      rows: (N,) numbers in the original file.
      labels: by number; label: (N,) the number of each row's.
      names: row -> id, where another row had it before.
      keys: (N,) the `content_key` of each, as 40 bytes.
      pictures: are they seen? max_pixels: larger ones are absent.
    """

    def __init__(
        self,
        source: Prepared,
        fields: Fields,
        *,
        rows: Integer[np.ndarray, "N"],
        labels: Sequence[Label],
        label: Integer[np.ndarray, "N"],
        names: Mapping[int, str],
        pictures: bool,
        max_pixels: int,
        keys: Shaped[np.ndarray, "N"],
    ) -> None:
        self.source, self.fields, self.rows = source, fields, rows
        self.labels, self.label, self.names = labels, label, names
        self.pictures, self.max_pixels, self.keys = pictures, max_pixels, keys

    def _with(self, **changes) -> "StoredRecords":
        known = {k: v for k, v in vars(self).items() if k not in ("source", "fields")}
        return StoredRecords(self.source, self.fields, **{**known, **changes})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.batch(np.arange(len(self))[[index]])[0]

    def __iter__(self) -> Iterator[Record]:
        for first in range(0, len(self), AT_ONCE):
            yield from self._made(slice(first, first + AT_ONCE))

    def take(self, index: Integer[np.ndarray, "B"]) -> "StoredRecords":
        """Those at these places, without reading them."""
        index = np.asarray(index)
        parts = {"rows": self.rows[index], "label": self.label[index]}
        return self._with(**parts, keys=self.keys[index])

    def batch(self, index: Integer[np.ndarray, "B"]) -> list[Record]:
        """Those at these places, read; the last batch of a thread is remembered."""
        asked = (id(self), np.asarray(index).tobytes())
        if getattr(_LAST, "asked", None) != asked:
            _LAST.asked, _LAST.of, _LAST.records = asked, self, self._made(index)
        return _LAST.records

    def relabelled(self, change: Callable[[Record], Record | None]) -> "StoredRecords":
        """All but those that `change` gives up, with the labels that it gives."""
        table, label, kept = LabelTable(), array("i"), []
        for place, record in enumerate(self):
            if (changed := change(record)) is not None:
                kept.append(place)
                label.append(table.number(label_of(changed)))
        left = self if len(kept) == len(self) else self.take(np.array(kept, np.int64))
        return left._with(labels=table.labels, label=np.array(label, np.int32))

    def _made(self, where) -> list[Record]:
        rows, label = self.rows[where], self.label[where].tolist()
        read = zip(self.source.read(rows), label, strict=True)
        return [self._record(*row, self.labels[number]) for row, number in read]

    def _record(self, row: int, values: Mapping, label: Label) -> Record:
        read = self.fields.read(row, values)
        read["id"] = self.names.get(row, read["id"])
        read["texts"] = {c: text[:LONGEST_TEXT] for c, text in read["texts"].items()}
        try:
            read["date"] = iso_date(read["date"])
        except ValueError:
            read["date"] = ""
        read |= self._picture(values.get(self.fields.image))
        read["path"], read["complete"], read["admissible"] = label
        return Record(**read)

    def _picture(self, picture) -> dict[str, StoredPicture | str | None]:
        if not isinstance(picture, StoredPicture):
            return {"image": None, "image_key": ""}
        if picture.flaw_at(self.max_pixels, seen=self.pictures):
            broken = picture.key_at(self.max_pixels)
            return {"image": None, "image_key": "", "broken_key": broken}
        return {"image": picture if self.pictures else None, "image_key": picture.key}


def selected(
    records: Sequence[Record], index: Integer[np.ndarray, "B"]
) -> Sequence[Record]:
    """The records at these places; those of a prepared catalogue are not read."""
    if isinstance(records, StoredRecords):
        return records.take(index)
    return [records[i] for i in np.asarray(index).tolist()]


def relabelled(
    records: Sequence[Record], change: Callable[[Record], Record | None]
) -> Sequence[Record]:
    """`change` of each record that touches its label alone, None = without it."""
    if isinstance(records, StoredRecords):
        return records.relabelled(change)
    return [x for x in map(change, records) if x is not None]


def with_ended(
    records: Sequence[Record], ends: Callable[[tuple[str, ...]], bool]
) -> Sequence[Record]:
    """Records of which those whose path `ends` says so are complete."""
    if isinstance(records, StoredRecords):
        table = [(path, done or ends(path), *x) for path, done, *x in records.labels]
        return records._with(labels=table)
    return [replace(r, complete=True) if ends(r.path) else r for r in records]


def labels_of(records: Sequence[Record]) -> Iterator[Label]:
    """Of each record, without reading more than that."""
    if isinstance(records, StoredRecords):
        return (records.labels[number] for number in records.label.tolist())
    return map(label_of, records)


def ends_of(records: Sequence[Record]) -> Integer[np.ndarray, "N"]:
    """Number of the last node of each label among the sorted ones, '' = no label."""
    table = LabelTable()
    ends = (path[-1] if path else "" for path, *_ in labels_of(records))
    codes = np.fromiter(map(table.number, ends), np.int64, count=len(records))
    order = sorted(range(len(table.labels)), key=table.labels.__getitem__)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks[codes]
