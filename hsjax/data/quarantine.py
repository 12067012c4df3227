"""Mistakes in a catalogue: those that stop a run, and those kept as notes."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hsjax.data.cells import write_csv

log = logging.getLogger("hsjax")

QUARANTINE_COLUMNS = ("file", "row", "id", "column", "reason", "action")
NO_PICTURE, REPAIRED = "kept without picture", "kept with repaired text"
RENAMED = "kept with another id"
ACTIONS = ("dropped", "kept", NO_PICTURE, REPAIRED, RENAMED, "ignored")


class CatalogueError(ValueError):
    """A mistake in a catalogue or its description, told in words for the user."""


class Quarantine:
    """What was wrong with which row, and what became of the row.

    A reason is a short stable phrase, then ': ' and the detail. A product is `dropped`
    or `kept`, the latter with a word on what was changed; a row of another file, such
    as a label map, may be `ignored`.

    Attributes:
      rows: the notes, in the order of `QUARANTINE_COLUMNS`.
      tally: what is worth a number and no note for each row.
      warnings: sentences about the whole file, which the log has, too.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, str, str, str, str]] = []
        self.tally: Counter[str] = Counter()
        self.warnings: list[str] = []

    def add(self, *, file, row, reason, action, id="", column="") -> None:
        if action not in ACTIONS:
            raise ValueError(f"action is one of {', '.join(ACTIONS)}, not {action!r}")
        self.rows.append((str(file), row, id, column, reason, action))

    def warn(self, sentence: str) -> None:
        log.warning("%s", sentence)
        self.warnings.append(sentence)

    def dropped(self) -> int:
        """Rows of the catalogue that are not used."""
        return sum(note[5] == "dropped" for note in self.rows)

    def counts(self) -> dict[tuple[str, str], int]:
        """{(phrase, action): number of notes}, the most frequent first."""
        keys = ((reason.split(": ")[0], action) for *_, reason, action in self.rows)
        return dict(Counter(keys).most_common())

    def write(self, path) -> None:
        notes = sorted(self.rows, key=lambda note: note[:2])
        write_csv(path, QUARANTINE_COLUMNS, notes)


@contextlib.contextmanager
def written_if_refused(quarantine: Quarantine, path: Path | None) -> Iterator[None]:
    """Where a catalogue is refused, its flaws are what the user needs: they say why.

    Args:
      path: of the file to write; None = the refusal alone is told.
    """
    try:
        yield
    except CatalogueError as error:
        if path is None or not quarantine.rows:
            raise
        path.parent.mkdir(parents=True, exist_ok=True)
        quarantine.write(path)
        told = f"{error}. What was wrong in rows so far is in {path}"
        raise CatalogueError(told) from None


def nothing_usable(path, notes: Sequence[tuple]) -> CatalogueError:
    """The error of a file of which no row is left: frequent reasons, and the first."""
    gone = [note for note in notes if note[5] == "dropped"]
    if not gone:
        return CatalogueError(
            f"{path}: no usable row. The file has a header but no rows"
        )
    return CatalogueError(f"{path}: no usable row. {_reasons(gone)}")


def most_dropped(notes: Sequence[tuple], kept: int) -> str:
    """The sentence where more rows are dropped than stay, '' otherwise."""
    gone = [note for note in notes if note[5] == "dropped"]
    if len(gone) <= kept:
        return ""
    every = f"{len(gone):,} of {len(gone) + kept:,}"
    return f"MOST ROWS ARE DROPPED, {every}: {_reasons(gone)}"


def _reasons(gone: Sequence[tuple]) -> str:
    """Frequent ones, and the first of a row."""
    phrases = Counter(note[4].split(": ")[0] for note in gone)
    told = "; ".join(f"{x} ({n} rows)" for x, n in phrases.most_common(3))
    _, row, _, _, reason, _ = min(gone, key=lambda note: note[1])
    return f"{told}. Row {row}: {reason}"


def refuse_repeated(path: Path, names: Sequence[str]) -> None:
    """CatalogueError where two columns have one name."""
    repeated = sorted(name for name, n in Counter(names).items() if n > 1 and name)
    if repeated:
        raise CatalogueError(
            f"{path}: column {repeated[0]!r} appears more than once; rename one of them"
        )
