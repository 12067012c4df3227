"""Parquet files as rows, a batch at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.data.quarantine import CatalogueError, refuse_repeated

_PARQUET_BATCH = 256


def _corrupt(path: Path, error: Exception) -> CatalogueError:
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CatalogueError(f"{path}: corrupt Parquet file ({detail}); export it again")


def parquet_schema(path: Path) -> pa.Schema:
    """The columns of a file and their types; CatalogueError where two have one name."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, error) from None
    refuse_repeated(path, schema.names)
    return schema


def parquet_names(path: Path) -> list[str]:
    """The columns of a file."""
    return parquet_schema(path).names


def parquet_batches(path: Path, columns) -> Iterator[pa.RecordBatch]:
    """Some columns of a file, a few rows at a time."""
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_PARQUET_BATCH, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, error) from None


def _parquet_values(path: Path, name: str, array: pa.Array) -> list:
    try:
        return array.to_pylist()
    except UnicodeDecodeError:  # Parquet does not check that its text is UTF-8
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        values = array.cast(pa.large_binary()).to_pylist()
        return [
            x if x is None else x.decode("utf-8", "surrogateescape") for x in values
        ]
    except (ValueError, OverflowError) as error:
        # a date or a duration that Python has no object for; Arrow has words
        try:
            return array.cast(pa.large_string()).to_pylist()
        except pa.ArrowException:
            raise CatalogueError(
                f"{path}: column {name!r} of type {array.type} has unreadable values"
                f" ({error}); save it as text"
            ) from None


def read_parquet(
    path: Path, columns, rows: int | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1-based row, values), a batch at a time; bad text has lone surrogates."""
    names = parquet_names(path)
    columns = names if columns is None else [name for name in names if name in columns]
    row = 0
    for batch in parquet_batches(path, columns):
        table = [
            _parquet_values(path, name, array)
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        ]
        for fields in zip(*table, strict=True):
            row += 1
            if rows and row > rows:
                return
            yield row, dict(zip(batch.schema.names, fields, strict=True))
