"""Parts become one file: Parquet, CSV or JSON lines, by its suffix."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished, remove_cut_off
from hsjax.data.cells import safe_cell, write_csv
from hsjax.data.quarantine import QUARANTINE_COLUMNS, CatalogueError
from hsjax.prediction.origins import ORIGIN
from hsjax.prediction.parts import Parts
from hsjax.progress import progress


def check_output(path: Path) -> None:
    """Raises CatalogueError: a suffix that is not known, or no folder to write to."""
    if path.suffix not in WRITERS:
        known = ", ".join(WRITERS)
        raise CatalogueError(f"--output={path}: its suffix has to be one of {known}")
    if path.is_dir():
        raise CatalogueError(f"--output={path} is a folder: name a file")
    if not path.parent.is_dir():
        raise CatalogueError(f"--output={path}: there is no folder {path.parent}")


def assemble(
    parts: Parts, output: Path, repeats: Sequence[tuple] = ()
) -> dict[str, int]:
    """All parts as one file, and the notes beside it; how many `flaws` these are.

    Rows that are in the notes alone are `dropped`.

    Args:
      repeats: notes on ids, in the order of their rows.

    A list is JSON in a CSV, which has no lists; what is not there is blank, and no text
    is a formula: see `safe_cell`.
    """
    remove_cut_off(output.parent, f"{output.name}.*")
    notes = merge(parts.all_notes(), repeats, key=lambda note: note[1])
    flaws = _notes(quarantine_path(output), notes)
    paths = map(parts.path, range(parts.count))
    tables = (pq.read_table(path).drop_columns(ORIGIN) for path in paths)
    bar = progress(tables, "writing", total=parts.count, unit="parts")
    with finished(output) as partial:
        WRITERS[output.suffix](partial, iter(bar))
    return flaws


def _notes(path: Path, notes: Iterator[tuple]) -> dict[str, int]:
    """As `Quarantine.write`, of notes that are in order and may be many."""
    found = {"flaws": 0, "dropped": 0}

    def counted() -> Iterator[tuple]:
        for note in notes:
            found["flaws"] += 1
            found["dropped"] += note[5] == "dropped"
            yield note

    write_csv(path, QUARANTINE_COLUMNS, counted())
    return found


def quarantine_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.quarantine.csv")


def _parquet(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _csv(path: Path, tables: Iterator[pa.Table]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for table in tables:
            if not file.tell():
                writer.writerow([safe_cell(name) for name in table.column_names])
            for row in _rows(table):
                writer.writerow([_cell(value) for value in row.values()])


def _jsonl(path: Path, tables: Iterator[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            lines = (json.dumps(row, ensure_ascii=False) for row in _rows(table))
            file.writelines(f"{line}\n" for line in lines)


def _rows(table: pa.Table) -> Iterator[dict]:
    """As Python has them; float32 with the digits that tell it."""
    for row in table.to_pylist():
        yield {name: _plain(value) for name, value in row.items()}


def _plain(value):
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_plain(x) for x in value] if isinstance(value, list) else value


def _cell(value):
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else safe_cell(value)


WRITERS: dict[str, Callable[[Path, Iterator[pa.Table]], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
