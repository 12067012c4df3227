"""What tells one product from another: a hash of all that it says and shows."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt64

from hsjax.data.record import Record
from hsjax.data.stored_records import StoredRecords


def content_key(record: Record) -> str:
    """sha1 of texts and picture: the same for rows that cannot be told apart."""
    parts = (*sorted(record.texts.items()), record.shown_key)
    return hashlib.sha1(repr(parts).encode()).hexdigest()


def content_keys_of(records: Sequence[Record]) -> list[str] | np.ndarray:
    """The `content_key` of each; (N,) bytes of those of a prepared catalogue."""
    if isinstance(records, StoredRecords):
        return records.keys
    return [content_key(record) for record in records]


def content_hashes(records: Sequence[Record]) -> UInt64[np.ndarray, "N"]:
    """The `short_keys` of records: small enough to be kept."""
    return short_keys(content_keys_of(records))


def short_keys(keys: Sequence[str] | np.ndarray) -> UInt64[np.ndarray, "N"]:
    """The first 8 bytes of each `content_key` as a number."""
    numbers = (int(key[:16], 16) for key in keys)
    return np.fromiter(numbers, np.uint64, count=len(keys))
