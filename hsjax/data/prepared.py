"""A prepared catalogue: a folder of shards, whose rows are read when they are needed.

Each shard holds the rows of one run of row numbers of the original file, and is there
as a whole or not at all:

    shard-00000.rows.array_record      a row as JSON: its number, fields, picture's key
    shard-00000.pictures.array_record  encoded pictures, each once
    shard-00000.json                   counts, sizes, rows it lacks and why

`manifest.json` is written last: the source, its columns and the list of shards. Rows
are kept as the file has them, so what a label means is up to each run's config, as with
any other file. Only what no run could read is not there, and noted.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from hsjax.atomic import file_hash
from hsjax.data.array_records import RecordFiles, read_file
from hsjax.data.quarantine import CatalogueError, Quarantine

FORMAT = 1
MANIFEST = "manifest.json"
AT_ONCE = 2048  # rows that are read together
Row = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture of a prepared catalogue, read when it is needed.

    Attributes:
      shard, number: where it lies in `folder`; key: sha1 of its bytes, '' = they could
        not be read; size: (width, height); flaw: why it cannot be used and is not
        there, '' = it was decoded and is sound.
    """

    folder: str
    shard: int = -1
    number: int = -1
    key: str = ""
    size: tuple[int, int] = (0, 0)
    flaw: str = ""

    def read_bytes(self) -> bytes:
        return open_prepared(self.folder).picture(self.shard, self.number)

    def flaw_at(self, limit: int, *, seen: bool) -> str:
        """Why a run cannot use it, '' = nothing.

        Args:
          limit: pixels of the largest picture that is read.
          seen: False = the run only hashes it: broken behind its header will do.
        """
        width, height = self.size
        if width * height > limit:
            return f"image too large: {width} x {height} pixels"
        return self.flaw if seen or not self.key else ""

    def key_at(self, limit: int) -> str:
        """Its hash, '' where its header cannot be read or says that it is too large."""
        width, height = self.size
        return self.key if width * height <= limit else ""

    def __str__(self) -> str:
        return f"{self.folder}, picture {self.key}"


class Prepared:
    """A folder that `task=prepare` has finished.

    A copy in another process reads the same files; no row travels.

    Attributes:
      facts: what the manifest says; columns: of the source.

    Raises:
      CatalogueError: no manifest, or a shard that is gone or torn.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.facts = _manifest(self.folder)
        self.columns: list[str] = self.facts["columns"]
        self.picture_column: str = self.facts["picture_column"]
        shards = self.facts["shards"]
        for number, shard in enumerate(shards):
            check_sizes(self.folder, number, shard)
        paths = [shard_path(self.folder, i, "rows") for i in range(len(shards))]
        self.files = RecordFiles(paths, [shard["rows"] for shard in shards])
        missing = [row for shard in shards for row in shard["missing"]]
        self._missing = np.array(missing, np.int64)

    def __reduce__(self):
        return open_prepared, (self.folder,)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: Integer[np.ndarray, "B"]) -> list[Row]:
        """Rows by their numbers in the original file, each of which is there."""
        places = rows - 1 - np.searchsorted(self._missing, rows)
        found = self.files.read(places)
        shards = np.searchsorted(self.files.ends, places, side="right") - 1
        return [self._row(*x) for x in zip(found, shards.tolist(), strict=True)]

    def scan(self, quarantine: Quarantine, *, file, rows: int | None) -> Iterator[Row]:
        """Every row in order; what was wrong with the source's goes to `quarantine`.

        Args:
          file: by which name the notes call it.
          rows: the last row number that counts, None = all.
        """
        for number, shard in enumerate(self.facts["shards"]):
            if rows and shard["first"] > rows:
                return
            for row, *rest in read_shard(self.folder, number)["notes"]:
                if not rows or row <= rows:
                    note = dict(zip(_NOTE, rest, strict=True))
                    quarantine.add(file=file, row=row, **note)
            path, count = self.files.paths[number], shard["rows"]
            for first in range(0, count, AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, count))
                for record in read_file(path, count, numbers):
                    row, values = self._row(record, number)
                    if rows and row > rows:
                        return
                    yield row, values

    def picture(self, shard: int, number: int) -> bytes:
        """The encoded bytes of one picture."""
        path = shard_path(self.folder, shard, "pictures")
        (data,) = read_file(path, self.facts["shards"][shard]["pictures"], [number])
        return data

    def _row(self, record: bytes, shard: int) -> Row:
        row, values, picture = json.loads(record)
        folder = str(self.folder)
        if isinstance(picture, str):
            values[self.picture_column] = StoredPicture(folder, flaw=picture)
        elif picture:
            number, key, width, height, flaw = picture
            place = (folder, shard, number, key, (width, height), flaw)
            values[self.picture_column] = StoredPicture(*place)
        return row, values


_NOTE = ("id", "column", "reason", "action")


def is_prepared(path: Path | str) -> bool:
    """Is this the folder of a prepared catalogue, finished or not?"""
    folder = Path(path)
    return any((folder / name).is_file() for name in (MANIFEST, "shard-00000.json"))


def open_prepared(path: Path | str) -> Prepared:
    """A folder, from memory where its manifest has not changed since it was opened.

    Raises:
      CatalogueError: see `Prepared`.
    """
    manifest = Path(path) / MANIFEST
    stamp = manifest.stat().st_mtime_ns if manifest.is_file() else 0
    return _opened(str(path), stamp)


@functools.lru_cache(4)
def _opened(folder: str, stamp: int) -> Prepared:
    return Prepared(folder)


def described_source(path: Path) -> dict:
    """What tells one source from another: a file's content, or those of a folder."""
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    digest, size = hashlib.sha256(), 0
    for file in files:
        digest.update(bytes.fromhex(file_hash(file)))
        size += file.stat().st_size
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}


def shard_path(folder: Path, number: int, kind: str) -> Path:
    """Of a shard's rows or pictures, or of its facts (kind = json)."""
    suffix = kind if kind == "json" else f"{kind}.array_record"
    return Path(folder) / f"shard-{number:05d}.{suffix}"


def read_shard(folder: Path, number: int) -> dict:
    """The facts of a shard.

    Raises:
      CatalogueError: they are torn.
    """
    path = shard_path(folder, number, "json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} is torn ({error}); {_AGAIN}") from None


def check_sizes(folder: Path, number: int, shard: dict) -> None:
    """Raises CatalogueError where a file of a shard is gone or has another size."""
    for kind, size in shard["bytes"].items():
        path = shard_path(folder, number, kind)
        held = path.stat().st_size if path.is_file() else None
        if held != size:
            told = "is gone" if held is None else f"has {held:,} of {size:,} bytes"
            raise CatalogueError(f"{path} {told}; {_AGAIN}")


_AGAIN = "run --config.task=prepare again with the same --workdir: it is made anew"


def _manifest(folder: Path) -> dict:
    path = folder / MANIFEST
    if not path.is_file():
        raise CatalogueError(
            f"{folder} is not prepared to its end (no {MANIFEST}); run the same"
            " --config.task=prepare again, which goes on"
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CatalogueError(f"{path} is torn ({error}); {_AGAIN}") from None
    if facts.get("format") != FORMAT:
        raise CatalogueError(f"{path}: format {facts.get('format')!r}, not {FORMAT}")
    return facts
