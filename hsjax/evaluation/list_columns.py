"""Arrays of (N, K) whose rows end early, as list columns of a Parquet file and back."""

import numpy as np
import pyarrow as pa
from jaxtyping import Integer, Shaped


def plain_column(values: Shaped[np.ndarray, "N"] | pa.Array) -> pa.Array:
    """As Arrow has it; objects are strings."""
    if isinstance(values, pa.Array):
        return values
    text = values.dtype.kind in "UO"
    return pa.array(values.tolist(), pa.string()) if text else pa.array(values)


def filled(codes: Shaped[np.ndarray, "N K"]) -> Integer[np.ndarray, "N"]:
    """How many codes each row has before its '' padding."""
    return (codes != "").sum(axis=1)


def list_column(
    values: Shaped[np.ndarray, "N K"], counts: Integer[np.ndarray, "N"]
) -> pa.ListArray:
    """Rows cut to their counts."""
    kept = values[np.arange(values.shape[1]) < counts[:, None]]
    offsets = np.append(0, np.cumsum(counts)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, plain_column(kept))


def padded(column: pa.ChunkedArray, width: int, fill) -> Shaped[np.ndarray, "N K"]:
    """The inverse of `list_column`, filled up at the end."""
    lists = column.combine_chunks()
    counts = np.diff(lists.offsets.to_numpy())
    rows = np.full((len(lists), width), fill, object if fill == "" else np.float32)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    rows[np.arange(width) < counts[:, None]] = values
    return rows
