"""Files of records that are read at any place (ArrayRecord)."""

import functools
import threading
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import (
    ArrayRecordReader,
    ArrayRecordWriter,
)
from jaxtyping import Integer

from hsjax.data.quarantine import CatalogueError

OPEN = 128  # files that stay open; a process may have few
_READING = "readahead_buffer_size:0,max_parallelism:1"  # no threads of its own
_PACKED = "group_size:16,max_parallelism:1"  # of small records: compressed together
_PLAIN = "group_size:1,max_parallelism:1,uncompressed"  # of what is compressed, as JPEG


class RecordWriter:
    """Writes a file; the same records give the same bytes.

    Args:
      packed: compressed, 16 together, as small texts want it.
    """

    def __init__(self, path: Path, *, packed: bool) -> None:
        self._writer = ArrayRecordWriter(str(path), _PACKED if packed else _PLAIN)
        self.count = 0

    def write(self, record: bytes) -> int:
        """Returns the number of the record in the file."""
        self._writer.write(record)
        self.count += 1
        return self.count - 1

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *error) -> None:
        self._writer.close()


class RecordFiles:
    """Some files as one sequence of records; each process opens them when it reads.

    Attributes:
      paths: of the files; counts: records of each.
    """

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]) -> None:
        self.paths, self.counts = tuple(paths), tuple(counts)
        self.ends = np.array([0, *accumulate(self.counts)], np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, numbers: Integer[np.ndarray, "B"]) -> list[bytes]:
        """The records at these places, in this order.

        Raises:
          CatalogueError: a file is gone or torn.
        """
        found: list[bytes] = [b""] * len(numbers)
        place = np.searchsorted(self.ends, numbers, side="right") - 1
        for file in np.unique(place).tolist():
            here = np.flatnonzero(place == file)
            inside = (numbers[here] - self.ends[file]).tolist()
            records = read_file(self.paths[file], self.counts[file], inside)
            for i, record in zip(here.tolist(), records, strict=True):
                found[i] = record
        return found


def read_file(path: Path, count: int, numbers: Sequence[int]) -> list[bytes]:
    """The records at these places of one file of `count` records.

    Raises:
      CatalogueError: the file is gone or torn.
    """
    reader, lock = _opened(path, count)
    try:
        with lock:
            return reader.read(list(numbers))
    except Exception as error:  # whatever the library raises of a torn file
        raise _torn(path, error) from None


@functools.lru_cache(OPEN)
def _opened(path: Path, count: int):
    if not path.is_file():
        raise _torn(path, "it is gone")
    try:
        reader = ArrayRecordReader(str(path), _READING)
        held = reader.num_records()
    except Exception as error:
        raise _torn(path, error) from None
    if held != count:
        raise _torn(path, f"it holds {held:,} of {count:,} records")
    return reader, threading.Lock()


def _torn(path: Path, error) -> CatalogueError:
    return CatalogueError(
        f"{path} is torn ({error}); run --config.task=prepare with the same --workdir"
        " again, which makes this shard anew"
    )
