"""A catalogue of any kind becomes a prepared folder; what was cut off goes on.

A shard is the rows of one run of row numbers, so what it holds depends on the source
alone, and which shards are there says what is still to be done.
"""

import json
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path

from hsjax.atomic import remove_cut_off, write_atomically
from hsjax.data.checked_pictures import checked_picture
from hsjax.data.columns import missing_column
from hsjax.data.pixels import ImageError
from hsjax.data.prepared import (
    FORMAT,
    MANIFEST,
    Prepared,
    described_source,
    is_prepared,
    open_prepared,
    read_shard,
)
from hsjax.data.quarantine import (
    NO_PICTURE,
    CatalogueError,
    Quarantine,
    nothing_usable,
)
from hsjax.data.shards import is_whole, may_be_mended, write_shard
from hsjax.data.sources import column_names, read_rows
from hsjax.progress import progress

log = logging.getLogger("hsjax")

BEGUN = "begun.json"  # what is prepared, so that nothing else goes on with it
_LISTED = ("first", "rows", "pictures", "missing", "passing", "bytes", "sha256")


def not_fetched(address: str) -> bytes:
    """Raises ImageError."""
    raise ImageError(f"image is a web address: {address[:80]}")


def prepare_catalogue(
    config, folder: Path, *, fetch: Callable[[str], bytes] = not_fetched
) -> Prepared:
    """Writes the catalogue of `config.data` as shards; goes on where it was cut off.

    Every row that can be read is there with all of its columns, and its picture, once
    it was decoded, lies beside it: no other file is needed. What cannot be read is in
    quarantine.csv, and each run on the folder notes it again. Pictures that a server
    did not give this time are asked for again by the next call. Labels are not judged,
    so that any run may read them its own way.

    Args:
      fetch: see `checked_picture`.

    Raises:
      CatalogueError: an unreadable file, a missing column, no usable row; the folder
        holds another catalogue.
    """
    data = config.data
    if is_prepared(data.path):
        raise CatalogueError(f"{data.path} is prepared already: name it in data.path")
    image = data.columns.image
    names = column_names(data.path, wanted=[image] if image else ())
    if image and image not in names:
        place = "config.data.columns.image"
        raise missing_column(data.path, image, place, names)
    writing = _Writing(config, Path(folder), fetch)
    writing.begin()
    if writing.is_finished():
        log.info("%s is prepared already", folder)
    else:
        (writing.folder / MANIFEST).unlink(missing_ok=True)
        writing.write_all()
        writing.finish()
    return open_prepared(folder)


class _Writing:
    """The shards of one folder, of which `done` are there."""

    def __init__(self, config, folder: Path, fetch: Callable[[str], bytes]) -> None:
        self.data, self.settings, self.folder = config.data, config.prepare, folder
        root = Path(self.data.image_root or Path(self.data.path).parent)
        options = {"root": root, "config_image": self.data.image, "fetch": fetch}
        self.look = partial(checked_picture, **options)
        self.notes, self.done, self.facts = Quarantine(), 0, {}

    def begin(self) -> None:
        """CatalogueError where the folder holds something else."""
        self.facts = {
            "format": FORMAT,
            "source": described_source(Path(self.data.path)),
            "rows_asked": self.data.rows,
            "rows_per_shard": self.settings.rows_per_shard,
            "picture_column": self.data.columns.image,
            "id_column": self.data.columns.id,
            "max_pixels": self.data.image.max_pixels,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_cut_off(self.folder)
        path = self.folder / BEGUN
        held = json.loads(path.read_text()) if path.exists() else self.facts
        told = [
            f"{key}: {held.get(key)} -> {value}"
            for key, value in self.facts.items()
            if held.get(key) != value
        ]
        if told:
            raise CatalogueError(
                f"{self.folder} holds another catalogue ({'; '.join(told)}); take a new"
                " --workdir, or set that back"
            )
        write_atomically(path, json.dumps(self.facts, indent=1) + "\n")

    def is_finished(self) -> bool:
        path = self.folder / MANIFEST
        if not path.exists():
            return False
        shards = range(len(json.loads(path.read_text())["shards"]))
        return all(map(self.is_done, shards))

    def is_done(self, number: int) -> bool:
        """Is there nothing to be made, nor to be tried again?"""
        whole = is_whole(self.folder, number)
        return whole and not may_be_mended(self.folder, number)

    def write_all(self) -> None:
        """Every shard that is not there yet."""
        columns, size = self.data.columns, self.settings.rows_per_shard
        asked = {"rows": self.data.rows, "id_column": columns.id}
        rows = progress(read_rows(self.data.path, self.notes, **asked), "preparing")
        with ThreadPoolExecutor(self.settings.connections) as pool:
            for number, own in groupby(rows, lambda row: (row[0] - 1) // size):
                self.fill(number, pool)
                self.write(number, own, pool)
            last = max((note[1] for note in self.notes.rows), default=0)
            self.fill(-(-last // size), pool)

    def fill(self, number: int, pool: Executor) -> None:
        """Shards before this one, of which no row could be read."""
        for empty in range(self.done, number):
            self.write(empty, iter(()), pool)

    def write(self, number: int, rows, pool: Executor) -> None:
        self.done = number + 1
        if self.is_done(number):
            deque(rows, maxlen=0)  # read past
            self.taken(number)
            return
        write_shard(
            self.folder,
            number,
            rows,
            picture_column=self.data.columns.image,
            id_column=self.data.columns.id,
            look=self.look,
            pool=pool,
            notes=partial(self.taken, number),
        )

    def taken(self, number: int) -> list[tuple]:
        """The notes on a shard's rows, complete once these are read; no longer kept."""
        last = (number + 1) * self.settings.rows_per_shard
        own = [note for note in self.notes.rows if note[1] <= last]
        self.notes.rows = [note for note in self.notes.rows if note[1] > last]
        return own

    def finish(self) -> None:
        """Writes the quarantine, then the manifest, without which nothing is there."""
        path, size = self.data.path, self.settings.rows_per_shard
        quarantine, shards, columns = Quarantine(), [], {}
        for number in range(self.done):
            shard = read_shard(self.folder, number)
            columns |= dict.fromkeys(shard["columns"])
            shards.append({"first": number * size + 1, **shard})
            quarantine.rows += [(str(path), *note) for note in shard["notes"]]
            for row, id, flaw in shard["flaws"]:
                place = (str(path), row, id, self.data.columns.image)
                quarantine.rows.append((*place, flaw, NO_PICTURE))
        if not any(shard["rows"] for shard in shards):
            raise nothing_usable(path, quarantine.rows)
        quarantine.write(self.folder / "quarantine.csv")
        listed = [{key: shard[key] for key in _LISTED} for shard in shards]
        facts = {**self.facts, "columns": [*columns], "shards": listed}
        write_atomically(self.folder / MANIFEST, json.dumps(facts, indent=1) + "\n")
