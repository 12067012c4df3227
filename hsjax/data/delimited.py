"""Rows of a file of separated values, where a stray quote costs one row only."""

import csv
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from hsjax.data.fields import BAD_CHARACTERS
from hsjax.data.quarantine import CatalogueError, Quarantine, refuse_repeated


def csv_names(path: Path) -> list[str]:
    """The columns; CatalogueError where the first line names none."""
    with _open(path) as handle:
        return [x for x in _header(path, _reader(path, handle, handle)) if x]


class _Lines:
    """Lines that can be handed back, so that a stray quote costs one row only."""

    def __init__(self, handle) -> None:
        self.handle, self.taken, self.returned = handle, [], deque()
        self.first = 0  # line number where the current record starts

    def __iter__(self):
        return self

    def __next__(self) -> str:
        self.taken.append(
            self.returned.popleft() if self.returned else next(self.handle)
        )
        return self.taken[-1]

    def start_record(self) -> None:
        self.first += len(self.taken)
        self.taken.clear()

    def give_back(self) -> None:
        self.returned.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def _open(path: Path):
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _reader(path: Path, handle, lines):
    """A strict csv reader: a quote never closed, or closed too early, is an error."""
    csv.field_size_limit(2**31 - 1)  # a picture in base64 is longer than csv's 131,072
    first = handle.readline()
    handle.seek(0)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    if delimiter == "," and "," not in first and ";" in first:
        delimiter = ";"
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _header(path: Path, reader) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise CatalogueError(f"{path}: unreadable header line: {error}") from None
    if not any(header):
        raise CatalogueError(f"{path}: missing header; line 1 must name the columns")
    if any(BAD_CHARACTERS.search(name) for name in header):
        raise CatalogueError(
            f"{path}: the header is not UTF-8 text; save the file as UTF-8"
        )
    refuse_repeated(path, header)
    return header


def read_csv(
    path: Path, quarantine: Quarantine, rows: int | None
) -> Iterator[tuple[int, dict[str, str]]]:
    """(1-based row, values); rows that cannot be read go to `quarantine`."""
    with _open(path) as handle:
        lines = _Lines(handle)
        reader = _reader(path, handle, lines)
        header = _header(path, reader)
        for row in range(1, rows + 1) if rows else count(1):
            lines.start_record()
            try:
                fields = next(reader, None)
            except csv.Error as error:
                lines.give_back()
                reason = f"broken quotes: line {lines.first + 1}: {error}"
                quarantine.add(file=path, row=row, reason=reason, action="dropped")
                continue
            if fields is None:
                return
            if len(fields) == len(header):
                named = {
                    name: x for name, x in zip(header, fields, strict=True) if name
                }
                yield row, named
                continue
            reason = f"{len(fields)} instead of {len(header)}, line {lines.first + 1}"
            reason = f"wrong number of columns: {reason}" if fields else "blank line"
            quarantine.add(file=path, row=row, reason=reason, action="dropped")
