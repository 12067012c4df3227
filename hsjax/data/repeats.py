"""Rows that repeat or contradict an earlier one, and ids that are given twice."""

import hashlib

_REPEATED = "repeated row: id, text, picture and label as in row "


def repeated_row(reason: str) -> int | None:
    """Which row the reason of a note says is repeated; None = another reason."""
    said, row = reason[: len(_REPEATED)], reason[len(_REPEATED) :]
    return int(row) if said == _REPEATED else None


def _hash(content: tuple) -> int:
    """128 bits."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


class Repeats:
    """What was met so far of one file."""

    def __init__(self) -> None:
        # by hashes, as a catalogue may not fit in memory
        self.first: dict[int, int] = {}  # of id and content -> row
        self.labels: dict[int, tuple] = {}  # of text and picture -> row, path
        self.ids: dict[str, int] = {}  # id -> number of rows that had it

    def repeated(self, record) -> str:
        """Which row this one repeats entirely, in words; '' = none."""
        content = (record.id, *record.texts.items(), record.shown_key, record.path)
        first = self.first.setdefault(_hash(content), record.row)
        if first == record.row:
            return ""
        return f"{_REPEATED}{first}"

    def contradicted(self, record) -> str:
        """Which row says otherwise of an equal product, in words; '' = none.

        A label that ends early does not contradict a longer one.
        """
        if not record.path or not (record.shown_key or any(record.texts.values())):
            return ""
        content = (*record.texts.values(), record.shown_key)
        row, path = self.labels.setdefault(_hash(content), (record.row, record.path))
        if all(a == b for a, b in zip(path, record.path, strict=False)):
            return ""
        return f"same text and picture, other label: row {row}"

    def unique(self, id: str) -> str:
        """The id, with `#2` and so on behind it where earlier rows had it."""
        name = id
        while name in self.ids:
            self.ids[id] += 1
            name = f"{id}#{self.ids[id]}"
        self.ids[name] = 1
        return name
