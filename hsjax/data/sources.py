"""Rows of a catalogue, a file or a prepared folder; none is lost in silence."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from hsjax.data.delimited import csv_names, read_csv
from hsjax.data.fields import BAD_CHARACTERS, UNREADABLE, as_text
from hsjax.data.parquet import parquet_names, read_parquet
from hsjax.data.prepared import is_prepared, open_prepared
from hsjax.data.quarantine import REPAIRED, CatalogueError, Quarantine
from hsjax.data.tfds_rows import is_tfds, read_tfds, tfds_names

SYNTHETIC = "synthetic"  # data.path of the built-in catalogue, which is no file
Row = tuple[int, dict[str, Any]]


def read_rows(
    path,
    quarantine: Quarantine,
    *,
    columns: Collection[str] | None = None,
    rows: int | None = None,
    id_column: str = "",
) -> Iterator[Row]:
    """Iterates over (1-based data row, {column: value}); bad rows go to `quarantine`.

    Bytes that are not UTF-8 and NULs become U+FFFD and the row is kept: text survives
    it, while `records` refuses a label with U+FFFD. A row with too few or too many
    fields, with broken quotes, that is blank, or that is no JSON object is dropped. A
    row is a record: a quoted line break does not start another. A .csv without commas
    in its header is read with semicolons. `columns` limits what is read of a Parquet
    file, `rows` the rows; notes on a row's fields have its id where there is one.

    Raises CatalogueError: a file that is missing, empty, corrupt or of another kind, a
    header that is missing or names a column twice.
    """
    if is_prepared(path):  # cleaned when it was prepared
        return open_prepared(path).scan(quarantine, file=path, rows=rows)
    if not is_tfds(path):
        path = _checked(path)
    if is_tfds(path):
        raw = read_tfds(path, rows)
    elif path.suffix == ".parquet":
        raw = read_parquet(path, columns, rows)
    else:
        read = _read_jsonl if path.suffix == ".jsonl" else read_csv
        raw = read(path, quarantine, rows)
    place = {"path": path, "id_column": id_column, "quarantine": quarantine}
    return ((row, _cleaned(values, row=row, **place)) for row, values in raw)


def column_names(path, *, wanted: Collection[str] = ()) -> list[str]:
    """The columns of a file; a JSONL file is read until all of `wanted` were seen."""
    if is_prepared(path):
        return list(open_prepared(path).columns)
    if is_tfds(path):
        return tfds_names(path)
    path = _checked(path)
    if path.suffix == ".parquet":
        return parquet_names(path)
    if path.suffix != ".jsonl":
        return csv_names(path)
    seen: dict[str, None] = {}
    for _, values in read_rows(path, Quarantine()):
        seen |= dict.fromkeys(values)
        if all(name in seen for name in wanted):
            break
    return list(seen)


def _checked(path) -> Path:
    path = Path(path)
    if not path.exists():
        raise CatalogueError(f"{path}: no such file; correct config.data.path")
    if not path.is_file():
        raise CatalogueError(
            f"{path} is not a file, nor a folder of --config.task=prepare or of TFDS;"
            " name the catalogue file itself"
        )
    if path.suffix not in (".parquet", ".csv", ".tsv", ".jsonl"):
        raise CatalogueError(
            f"{path}: unknown kind of file {path.suffix!r}; save the catalogue as"
            " .parquet, .csv, .tsv or .jsonl"
        )
    with path.open("rb") as handle:
        start = handle.read(4)
    if start in (b"", b"\xef\xbb\xbf"):
        raise CatalogueError(f"{path} is empty; export the catalogue again")
    if path.suffix != ".parquet" and start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CatalogueError(f"{path} is UTF-16 text; save it as UTF-8")
    return path


def _cleaned(values: dict, *, path, row: int, id_column: str, quarantine) -> dict:
    """Replaces NULs and undecodable bytes by U+FFFD, naming the row and the column."""
    cleaned, found = {}, []
    for name, value in values.items():
        flaws: list[str] = []
        name = _readable(name, flaws)
        cleaned[name] = _readable(value, flaws)
        found += [(name, flaw) for flaw in flaws[:1]]
    for name, flaw in found:  # now that the id is known, too
        place = {"file": path, "row": row, "id": as_text(cleaned.get(id_column))}
        reason = f"{flaw}, replaced by {UNREADABLE}"
        quarantine.add(**place, column=name, reason=reason, action=REPAIRED)
    return cleaned


def _readable(value: Any, flaws: list[str]) -> Any:
    if isinstance(value, list):
        return [_readable(item, flaws) for item in value]
    if isinstance(value, dict):
        return {_readable(k, flaws): _readable(x, flaws) for k, x in value.items()}
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    if bad := BAD_CHARACTERS.search(value):
        place = f"at character {bad.start() + 1}"
        mend = "; save the file as UTF-8"
        nul = bad.group() == "\0"
        flaws.append(f"NUL byte: {place}" if nul else f"not UTF-8: {place}{mend}")
    return BAD_CHARACTERS.sub(UNREADABLE, value)


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is named twice")
    return fields


def _read_jsonl(path: Path, quarantine: Quarantine, rows: int | None) -> Iterator[Row]:
    with path.open("rb") as handle:
        for row, line in enumerate(handle, start=1):
            if rows and row > rows:
                return
            text = line.decode("utf-8", "surrogateescape").strip(" \t\r\n\ufeff")
            reason, values = "" if text else "blank line", None
            try:
                if text:
                    values = json.loads(text, object_pairs_hook=_unique_fields)
            except (ValueError, RecursionError) as error:
                reason = f"invalid JSON: {error}"
            if isinstance(values, dict):
                yield row, values
                continue
            reason = reason or f"not a JSON object: {text[:40]}"
            quarantine.add(file=path, row=row, reason=reason, action="dropped")
