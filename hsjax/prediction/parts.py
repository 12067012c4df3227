"""What has been answered, as parts: each is there as a whole, once, or not at all.

OUTPUT.parts/IDENTITY/ is one state of the catalogue, answered by one model:

    asked.json          who answers, what is asked and of which file
    part-00000.parquet  the answers to one block of rows
    part-00000.json     what was wrong with them, written before the answers
    origin-....json     where answers were made, by the name that rows have of it
    end.json            how many parts there are, once the catalogue was read to its end
    written.json        which output was made of them, size and time

IDENTITY is a hash of asked.json, so parts of another file, model or question never mix.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished, remove_cut_off, write_atomically

ASKED, END, WRITTEN = "asked.json", "end.json", "written.json"
MAGIC = b"PAR1"  # that a whole Parquet file ends with


def identity(facts: Mapping) -> str:
    """16 hexadecimal digits of a hash of JSON."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Parts:
    """The parts of one state of a catalogue, some of which may be there.

    Args:
      home: OUTPUT.parts.
      answering: what decides an answer beside the product: model, tree, question.
      reading: what decides which products there are: the file and how it is cut.
    """

    def __init__(self, home: Path, *, answering: Mapping, reading: Mapping) -> None:
        self.home, self.answering = home, identity(answering)
        facts = {"answering": answering, "reading": reading}
        self.folder = home / f"{self.answering}-{identity(reading)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_cut_off(self.folder)
        write_atomically(self.folder / ASKED, json.dumps(facts, indent=1) + "\n")

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"

    def has(self, number: int) -> bool:
        """Is it there as a whole? A machine that lost power may leave a torn one."""
        try:
            with self.path(number).open("rb") as file:
                file.seek(-len(MAGIC), 2)
                return file.read() == MAGIC
        except OSError:
            return False

    def write(self, number: int, answers: pa.Table, notes: Sequence[tuple]) -> None:
        """Notes first, in the order of rows: a part that is there has both."""
        ordered = sorted(notes, key=lambda note: note[1])
        told = json.dumps([list(note) for note in ordered], ensure_ascii=False)
        write_atomically(self.path(number).with_suffix(".json"), told + "\n")
        with finished(self.path(number)) as partial:
            pq.write_table(answers, partial, compression="zstd")

    def notes(self, number: int) -> list[tuple]:
        text = self.path(number).with_suffix(".json").read_text(encoding="utf-8")
        return [tuple(note) for note in json.loads(text)]

    def ended(self, count: int) -> None:
        """The catalogue was read to its end, and has so many blocks."""
        write_atomically(self.folder / END, json.dumps({"parts": count}) + "\n")

    @property
    def count(self) -> int | None:
        """Of all parts; None = nobody has read to the end yet."""
        path = self.folder / END
        return json.loads(path.read_text())["parts"] if path.is_file() else None

    def missing(self) -> list[int] | None:
        """Numbers of the parts that are not there; None = it is not known."""
        count = self.count
        if count is None:
            return None
        return [number for number in range(count) if not self.has(number)]

    def all_notes(self) -> Iterator[tuple]:
        """Of every part, in order."""
        return itertools.chain.from_iterable(map(self.notes, range(self.count)))

    def rows(self) -> int:
        """Of all parts together."""
        paths = map(self.path, range(self.count))
        return sum(pq.read_metadata(path).num_rows for path in paths)

    def tell_written(self, output: Path, facts: Mapping) -> None:
        """The output is made; `facts` are to be known of it later."""
        told = {"output": _state(output), **facts}
        write_atomically(self.folder / WRITTEN, json.dumps(told) + "\n")

    def written(self, output: Path) -> dict | None:
        """The facts of `tell_written`; None = the output is not what was made then."""
        path = self.folder / WRITTEN
        if not path.is_file() or not output.is_file():
            return None
        told = json.loads(path.read_text())
        return told if told["output"] == _state(output) else None

    def earlier(self) -> list[Path]:
        """Folders of other states of the catalogue that the same model was asked."""
        found = self.home.glob(f"{self.answering}-*")
        return sorted(folder for folder in found if folder != self.folder)

    def forget(self) -> None:
        """These parts are of nothing that can be named."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget_others(self) -> None:
        """Only the parts of this state stay; what they took over is in them."""
        for folder in self.home.iterdir():
            if folder != self.folder and (folder / ASKED).is_file():
                shutil.rmtree(folder, ignore_errors=True)  # another may do the same


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
