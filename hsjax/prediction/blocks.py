"""A catalogue in blocks of rows, of which some are in memory, not the catalogue."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from hsjax.data.columns import sees_pictures
from hsjax.data.features import stored_pictures
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Loader, Record
from hsjax.inference.products import mapped_columns

NO_LABELS = {"digits": (), "nodes": {}}


class Block(NamedTuple):
    """The products of one run of row numbers.

    Attributes:
      number: counts from 0.
      records: none where no row could be read.
      notes: what was wrong with its rows, as in a `Quarantine`.
    """

    number: int
    records: list[Record]
    notes: list[tuple]


class Blocks:
    """The wanted blocks of a catalogue, in order; rows of others are read past.

    Which rows a block has depends on their numbers in the file alone. Repeated rows and
    ids stay as they are: every row is to be answered.

    Args:
      config: of a run, whose columns are read, those of labels and groups excepted.
      size: row numbers of a block.
      wanted: is the block of this number to be read?
      image_root: folder of image paths, '' = the folder of the file.
      carried: further columns, for `Record.extra`.

    Attributes:
      data: the data group as the file is read by; see `mapped_columns`.
      count: of all blocks, known at the end; None before.

    Raises:
      CatalogueError: an unreadable file, a missing column, no folder of that name.
    """

    def __init__(
        self,
        config,
        source: Path,
        *,
        size: int,
        wanted: Callable[[int], bool],
        image_root: Path | str = "",
        carried: Sequence[str] = (),
    ) -> None:
        if image_root and not Path(image_root).is_dir():
            raise CatalogueError(f"--image_root={image_root}: there is no such folder")
        self.notes, self.size, self.wanted = Quarantine(), size, wanted
        self.last, self.count = 0, None
        self._looked_up = -1, False  # the last block that was asked about
        data, _ = mapped_columns(config, source, self.notes, labelled=False)
        data.columns.update(label=(), group="")
        more = dict.fromkeys((*data.columns.metadata, *carried))
        data.columns.metadata = tuple(more)
        data.label_map, data.image_root = "", str(image_root)
        pictures, stored = sees_pictures(config), stored_pictures(config)
        data.image.cache = stored is None  # those of a block are decoded once
        self.data = data
        self.loader = Loader(
            data,
            self.notes,
            labels=NO_LABELS,
            looks={"seen": pictures, "stored": stored or ()},
            labelled=False,
            drop_repeats=False,
        )

    def __iter__(self) -> Iterator[Block]:
        done = 0
        rows = self.loader.rows(self._in_wanted)
        for number, records in groupby(rows, lambda x: self._block(x.row)):
            found = [*records]
            yield from self._without_rows(done, number)
            yield Block(number, found, self._taken(number))
            done = number + 1
        last = max([self.last, *(note[1] for note in self.notes.rows)])
        self.count = self._block(last) + 1 if last else 0
        yield from self._without_rows(done, self.count)
        if told := self.loader.lost.told():
            self.notes.warn(told)

    def _block(self, row: int) -> int:
        """Notes on the file as a whole, row 0, are with those of the first block."""
        return (max(row, 1) - 1) // self.size

    def _in_wanted(self, row: int) -> bool:
        self.last, number = row, self._block(row)
        if number != self._looked_up[0]:  # which opens a file: not for every row
            self._looked_up = number, self.wanted(number)
        return self._looked_up[1]

    def _without_rows(self, first: int, end: int) -> Iterator[Block]:
        wanted = filter(self.wanted, range(first, end))
        return (Block(number, [], self._taken(number)) for number in wanted)

    def _taken(self, number: int) -> list[tuple]:
        """The notes on a block's rows; they and earlier ones are no longer kept."""
        rows = self.notes.rows
        self.notes.rows = [note for note in rows if self._block(note[1]) > number]
        return [note for note in rows if self._block(note[1]) == number]
