"""Arrays of strings and padded rows as Arrow columns, and back."""

import numpy as np
import pyarrow as pa


def as_column(values) -> pa.Array:
    """A column of strings, numbers or booleans; what is one already stays so."""
    if isinstance(values, pa.Array):
        return values
    text = values.dtype.kind in "UO"
    return pa.array(values.tolist(), pa.string()) if text else pa.array(values)


def counts_of(codes: np.ndarray) -> np.ndarray:
    """How many codes each row has before its '' padding."""
    return (codes != "").sum(axis=1)


def as_lists(values: np.ndarray, counts: np.ndarray) -> pa.ListArray:
    """Rows of (N, K) cut to their counts, as a list column."""
    kept = values[np.arange(values.shape[1]) < counts[:, None]]
    offsets = np.append(0, np.cumsum(counts)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, as_column(kept))


def padded_lists(column: pa.ChunkedArray, width: int, fill) -> np.ndarray:
    """The inverse of `as_lists`: (N, K), filled up at the end."""
    lists = column.combine_chunks()
    counts = np.diff(lists.offsets.to_numpy())
    rows = np.full((len(lists), width), fill, object if fill == "" else np.float32)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    rows[np.arange(width) < counts[:, None]] = values
    return rows
