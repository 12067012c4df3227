"""Answers that are there already, by what a product says and shows."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Shaped

from hsjax.data.content import short_keys

CONTENT = "content"
OPEN = 4  # parts in memory: products mostly stand where they stood


class Known:
    """Answers in earlier parts of the same model: 16 bytes of memory a product.

    Args:
      folders: of parts; see `Parts.earlier`.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = [path for x in folders for path in sorted(x.glob("part-*.parquet"))]
        self._paths = paths
        self._read = functools.lru_cache(OPEN)(pq.read_table)
        hashes = [short_keys(_contents(path)) for path in paths]
        counts = [len(of) for of in hashes]
        every = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
        order = np.argsort(every, kind="stable")
        self._hashes = every[order]
        self._part = np.repeat(np.arange(len(paths), dtype=np.int32), counts)[order]
        rows = [np.arange(count, dtype=np.int32) for count in counts]
        self._row = (np.concatenate(rows) if rows else np.zeros(0, np.int32))[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def find(
        self, contents: Shaped[np.ndarray, "N"]
    ) -> tuple[Bool[np.ndarray, "N"], pa.Table | None]:
        """Which products have an answer, and theirs, in order; None = none has.

        Args:
          contents: the `content_key` of each.
        """
        asked = short_keys(contents.tolist())
        place = np.searchsorted(self._hashes, asked)
        found = place < len(self)
        found[found] = self._hashes[place[found]] == asked[found]
        parts, rows = self._part[place[found]], self._row[place[found]]
        here, tables = np.flatnonzero(found), []
        for part in np.unique(parts):
            own = parts == part
            table = self._read(self._paths[part]).take(rows[own])
            tables.append(table.append_column("at", pa.array(here[own])))
        if not tables:
            return found, None
        answers = pa.concat_tables(tables).sort_by("at")
        same = pc.equal(answers[CONTENT], pa.array(contents[found].tolist()))
        same = same.to_numpy()  # 8 bytes of a hash may be another product's
        found[here[~same]] = False
        return found, answers.drop_columns("at").filter(pa.array(same))


def _contents(path: Path) -> list[str]:
    return pq.read_table(path, columns=[CONTENT])[CONTENT].to_pylist()
