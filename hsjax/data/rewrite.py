"""A catalogue again as a Parquet file, with some columns changed and some added."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.data.columns import label_columns, wanted_columns
from hsjax.data.fields import as_text
from hsjax.data.parquet import parquet_batches, parquet_schema
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import column_names, read_rows

_ROWS = 256  # made at a time
_GROUP = 64 * 2**20  # bytes of a row group, which are held until it is written
Cells = Mapping[str, Any]


class Changes(NamedTuple):
    """What is to become of a catalogue's columns.

    Attributes:
      read: columns that `cells` looks at.
      changed: columns of text that it gives new cells.
      added: columns of text that the catalogue has not.
      cells: (1-based row, {column: value}) -> {column: text or None} of the columns
        that are changed or added.
    """

    read: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]
    cells: Callable[[int, Cells], Cells]


def rewrite_catalogue(config_data, path: Path, changes: Changes) -> None:
    """Writes the catalogue of `config.data` to a Parquet file: every row that is read.

    Of a Parquet file all other columns stay as they are, bytes of pictures included. Of
    CSV, TSV and JSONL every column becomes text, as a run would read it: numbers are
    written out, a struct of a picture is what it holds, and a label that is a list,
    which no run accepts, is none. At most a row group is in memory.

    Raises:
      CatalogueError: the file has a column that should be added, or is unreadable.
    """
    source = Path(config_data.path)
    names = all_columns(source)
    for name in changes.added:
        if name in names:
            raise CatalogueError(
                f"{source} has a column {name!r} already: name it in"
                " config.data.columns, or take it out of the file"
            )
    make = _parquet_tables if source.suffix == ".parquet" else _text_tables
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    tables = make(config_data, source, names, changes)
    try:
        _write(tables, part)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


def pictures_outside(config_data) -> bool:
    """May the catalogue name files of pictures, whose folder has to be found again?"""
    column, path = config_data.columns.image, Path(config_data.path)
    if not column or path.suffix != ".parquet":
        return bool(column)
    kind = parquet_schema(path).field(column).type
    return not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def all_columns(path: Path) -> list[str]:
    """The columns of a file; of JSONL those of any row."""
    if path.suffix != ".jsonl":
        return column_names(path)
    rows = read_rows(path, Quarantine())
    return list(dict.fromkeys(name for _, values in rows for name in values))


def _write(tables: Iterator[pa.Table], path: Path) -> None:
    """Row groups of about `_GROUP` bytes."""
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        held, size = [first], first.nbytes
        for table in tables:
            if size + table.nbytes > _GROUP:
                writer.write_table(pa.concat_tables(held))
                held, size = [], 0
            held.append(table)
            size += table.nbytes
        writer.write_table(pa.concat_tables(held))


def _parquet_tables(config_data, source: Path, _, changes) -> Iterator[pa.Table]:
    options = {"columns": changes.read, "rows": config_data.rows}
    rows = read_rows(source, Quarantine(), **options)
    for batch in parquet_batches(source, None):
        made = [changes.cells(*row) for row in islice(rows, batch.num_rows)]
        if not made:
            return
        table = pa.Table.from_batches([batch.slice(0, len(made))])
        for name in (*changes.changed, *changes.added):
            cells = [as_cell(row[name]) for row in made]
            table = _with_column(table, name, cells)
        yield table


def _with_column(table: pa.Table, name: str, cells: list[str | None]) -> pa.Table:
    place = table.schema.get_field_index(name)
    if place < 0:
        return table.append_column(name, pa.array(cells, pa.string()))
    field = table.schema.field(place)
    if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
        field = field.with_type(pa.string())  # numbers, lists, dictionaries
    return table.set_column(place, field, pa.array(cells, field.type))


def _text_tables(config_data, source: Path, names, changes) -> Iterator[pa.Table]:
    rows = read_rows(source, Quarantine(), rows=config_data.rows)
    schema = pa.schema([(name, pa.string()) for name in (*names, *changes.added)])
    while chunk := list(islice(rows, _ROWS)):
        made = [_plain(v, config_data) | changes.cells(row, v) for row, v in chunk]
        cells = {
            name: [as_cell(row.get(name)) for row in made] for name in schema.names
        }
        yield pa.table(cells, schema)


def _plain(values: Cells, config_data) -> dict[str, Any]:
    """A row of a JSONL file without lists and structs."""
    wanted, labels = wanted_columns(config_data), label_columns(config_data)
    plain = dict(values)
    for name, value in values.items():
        if not isinstance(value, list | dict):
            continue
        if name in labels:
            plain[name] = None
        elif name == config_data.columns.image and isinstance(value, dict):
            plain[name] = value.get("bytes") or value.get("path")
        elif name not in wanted:
            plain[name] = json.dumps(value, ensure_ascii=False)
    return plain


def as_cell(value: Any) -> str | None:
    """A value as text; what is text or absent stays as it is."""
    return value if value is None or isinstance(value, str) else as_text(value)
