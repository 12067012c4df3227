"""Mistakes in a catalogue: those that stop a run, and those kept as notes."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

QUARANTINE_COLUMNS = ("file", "row", "id", "column", "reason", "action")


class CatalogueError(ValueError):
    """A mistake in a catalogue or its description, told in words for the user."""


class Quarantine:
    """What was wrong with which row, and whether the row was dropped or kept.

    A reason is a short stable phrase, then ': ' and the detail.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, str, str, str, str]] = []

    def add(self, *, file, row, reason, action, id="", column="") -> None:
        if action not in ("dropped", "kept"):
            raise ValueError(f"action is dropped or kept, not {action!r}")
        self.rows.append((str(file), row, id, column, reason, action))

    def counts(self) -> dict[tuple[str, str], int]:
        """{(phrase, action): number of notes}, the most frequent first."""
        keys = ((reason.split(": ")[0], action) for *_, reason, action in self.rows)
        return dict(Counter(keys).most_common())

    def write(self, path) -> None:
        with Path(path).open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(QUARANTINE_COLUMNS)
            writer.writerows(sorted(self.rows, key=lambda note: note[:2]))


def refuse_repeated(path: Path, names: Sequence[str]) -> None:
    """CatalogueError where two columns have one name."""
    repeated = sorted(name for name, n in Counter(names).items() if n > 1 and name)
    if repeated:
        raise CatalogueError(
            f"{path}: column {repeated[0]!r} appears more than once; rename one of them"
        )
