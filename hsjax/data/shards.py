"""One shard of a prepared catalogue: some rows, their pictures, and facts on both."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hsjax.atomic import file_hash, finished, write_atomically
from hsjax.data.array_records import RecordWriter
from hsjax.data.checked_pictures import CheckedPicture
from hsjax.data.fields import as_text
from hsjax.data.prepared import check_sizes, read_shard, shard_path
from hsjax.data.quarantine import CatalogueError
from hsjax.data.sources import Row

_KINDS = {"rows": True, "pictures": False}  # of files: are their records packed?
_AHEAD = 32  # rows whose pictures are looked at before the row that is written
Look = Callable[[Any], CheckedPicture | None]


def write_shard(
    folder: Path,
    number: int,
    rows: Iterable[Row],
    *,
    picture_column: str,
    id_column: str,
    look: Look,
    pool: Executor,
    notes: Callable[[], Sequence[tuple]],
) -> None:
    """The files of a shard, and last its facts, without which it is not there.

    Args:
      look: at the field of a picture; `pool`: where it is done.
      notes: what was wrong with the shard's own rows, asked for once all are read.
    """
    flaws: list[list] = []
    passing = 0
    places: dict[str, int] = {}  # a picture that two rows have is there once
    columns: dict[str, None] = {}
    with ExitStack() as stack:
        files = {}
        for kind, packed in _KINDS.items():
            path = shard_path(folder, number, kind)
            writer = RecordWriter(stack.enter_context(finished(path)), packed=packed)
            files[kind] = stack.enter_context(writer)
        for row, values, picture in _looked_at(rows, picture_column, look, pool):
            columns |= dict.fromkeys(values)
            values.pop(picture_column, None)
            if picture is not None and picture.flaw:
                flaws.append([row, as_text(values.get(id_column)), picture.flaw])
                passing += picture.passing
            kept = _kept(picture, places, files["pictures"])
            files["rows"].write(_encoded([row, values, kept]))
    found = [list(note[1:]) for note in notes()]
    facts = {
        **{kind: file.count for kind, file in files.items()},
        **_measured([(kind, shard_path(folder, number, kind)) for kind in _KINDS]),
        "missing": [note[0] for note in found if note[-1] == "dropped"],
        "columns": [*columns],
        "notes": found,
        "flaws": flaws,
        "passing": passing,
    }
    write_atomically(shard_path(folder, number, "json"), json.dumps(facts))


def is_whole(folder: Path, number: int) -> bool:
    """Is the shard there, and are its files as they were written?"""
    if not shard_path(folder, number, "json").is_file():
        return False
    try:
        check_sizes(folder, number, read_shard(folder, number))
    except CatalogueError:
        return False
    return True


def may_be_mended(folder: Path, number: int) -> bool:
    """Has a whole shard flaws that may be gone, as a server that did not answer?"""
    return bool(read_shard(folder, number).get("passing"))


def _looked_at(
    rows: Iterable[Row], column: str, look: Look, pool: Executor
) -> Iterator[tuple[int, dict, CheckedPicture | None]]:
    """Rows with their pictures, in order."""
    waiting: deque = deque()
    for row, values in rows:
        waiting.append((row, values, pool.submit(look, values.get(column))))
        if len(waiting) > _AHEAD:
            row, values, future = waiting.popleft()
            yield row, values, future.result()
    for row, values, future in waiting:
        yield row, values, future.result()


def _kept(
    picture: CheckedPicture | None, places: dict[str, int], file: RecordWriter
) -> list | str | None:
    """What a row says of its picture: see `StoredPicture`."""
    if picture is None or not picture.key:
        return picture and picture.flaw
    number = -1
    if not picture.flaw:
        if picture.key not in places:
            places[picture.key] = file.write(picture.data)
        number = places[picture.key]
    return [number, picture.key, *picture.size, picture.flaw]


def _encoded(row: list) -> bytes:
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=as_text)
    return text.encode()


def _measured(files: Iterable[tuple[str, Path]]) -> dict:
    sizes, hashes = {}, {}
    for kind, path in files:
        sizes[kind] = path.stat().st_size
        hashes[kind] = file_hash(path)
    return {"bytes": sizes, "sha256": hashes}
