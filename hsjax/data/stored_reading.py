"""A prepared catalogue becomes records, with a few numbers a row in memory."""

import hashlib
import re
from array import array

import numpy as np
from jaxtyping import Integer, UInt64

from hsjax.data.content import content_key
from hsjax.data.prepared import open_prepared
from hsjax.data.record import Record
from hsjax.data.stored_records import LabelTable, StoredRecords, label_of
from hsjax.progress import progress

_RENAMED = re.compile(r"#\d+$")  # an id that may be one that `Repeats` gives
NO_LIMIT = 2**62


def short_hash(content) -> int:
    """64 bits of anything with a stable repr."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def stored_records(loader) -> StoredRecords:
    """What `load_records` reads of a file, of a prepared folder.

    Rows that may repeat another are found by hashes, sorted, and only these are looked
    at again: see `Repeats`.

    Args:
      loader: a `Loader` of the folder.
    """
    table, rows, label = LabelTable(), array("q"), array("i")
    ids, contents, keys = array("Q"), array("Q"), bytearray()
    suspects = set()
    for record in progress(loader.rows(), "catalogue"):
        if record is None:
            continue
        if _RENAMED.search(record.id):
            suspects.add(len(rows))
        rows.append(record.row)
        label.append(table.number(label_of(record)))
        ids.append(short_hash(record.id))
        contents.append(short_hash((*record.texts.values(), record.shown_key)))
        keys += content_key(record).encode()
    limit = loader.config.image.max_pixels
    records = StoredRecords(
        open_prepared(loader.config.path),
        loader.fields,
        rows=np.frombuffer(rows, np.int64).copy(),
        labels=table.labels,
        label=np.frombuffer(label, np.int32).copy(),
        names={},
        pictures=loader.looks["seen"],
        max_pixels=NO_LIMIT if loader.looks["stored"] else limit,
        keys=np.frombuffer(bytes(keys), "S40"),
    )
    again = _repeated(np.frombuffer(ids, np.uint64))
    again |= _repeated(np.frombuffer(contents, np.uint64))
    again[[*suspects]] = True
    return _judged(loader, records, np.flatnonzero(again))


def _repeated(hashes: UInt64[np.ndarray, "N"]) -> np.ndarray:
    """(N,) bool: is it there more than once?"""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    found = np.zeros(len(hashes), bool)
    found[order[1:]] |= same
    found[order[:-1]] |= same
    return found


def _judged(
    loader, records: StoredRecords, suspects: Integer[np.ndarray, "S"]
) -> StoredRecords:
    kept, names = np.ones(len(records), bool), {}
    suspected = zip(suspects.tolist(), records.take(suspects), strict=True)
    for place, record in suspected:
        judged: Record | None = loader.judged(record)
        if judged is None:
            kept[place] = False
        elif judged.id != record.id:
            names[record.row] = judged.id
    records.names = names
    return records if kept.all() else records.take(np.flatnonzero(kept))
