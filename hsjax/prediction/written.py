"""Rows of a file of answers, whatever its kind."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.data.cells import plain_cell
from hsjax.data.quarantine import CatalogueError

NEEDED = ("row", "id", "pred")


def answer_rows(path: Path) -> Iterator[dict]:
    """What predict wrote, row by row; of a CSV every value is a text.

    Raises:
      CatalogueError: there is no such file, or it is no file of answers.
    """
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise CatalogueError(f"{path}: answers are in a file of {known}")
    if not path.is_file():
        raise CatalogueError(f"{path}: there is no such file of answers")
    try:
        for row in READERS[path.suffix](path):
            _check(path, row)
            yield {**row, "row": int(row["row"])}
    except (pa.ArrowInvalid, csv.Error, ValueError) as error:
        if isinstance(error, CatalogueError):
            raise
        raise CatalogueError(f"{path} cannot be read as answers: {error}") from None


def _check(path: Path, row: dict) -> None:
    for name in NEEDED:
        if row.get(name) is None:
            raise CatalogueError(
                f"{path}: no column {name!r}: it is no file that predict wrote"
            )


def _parquet(path: Path) -> Iterator[dict]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def _csv(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        names = [plain_cell(name) for name in next(lines, [])]
        for line in lines:
            if len(line) != len(names):
                raise ValueError(f"line {lines.line_num} has {len(line)} fields")
            yield dict(zip(names, map(plain_cell, line), strict=True))


def _jsonl(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"a line is no object: {line[:40]}")
            yield row


READERS: dict[str, Callable[[Path], Iterator[dict]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
