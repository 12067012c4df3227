"""What has been answered, as parts: each is there as a whole, once, or not at all.

OUTPUT.parts/IDENTITY/ is one state of the catalogue, answered by one model:

    asked.json          who answers, what is asked and of which file
    part-00000.parquet  the answers to one block of rows
    part-00000.json     what was wrong with them, written before the answers
    end.json            how many parts there are, once the catalogue was read to its end

IDENTITY is a hash of asked.json, so parts of another file, model or question never mix.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished, write_atomically

ASKED, END = "asked.json", "end.json"


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
        for cut_off in self.folder.glob("*.partial"):
            if not _is_being_written(cut_off):
                cut_off.unlink(missing_ok=True)
        write_atomically(self.folder / ASKED, json.dumps(facts, indent=1) + "\n")

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"

    def has(self, number: int) -> bool:
        return self.path(number).is_file()

    def write(self, number: int, answers: pa.Table, notes: Sequence[tuple]) -> None:
        """Notes first: a part that is there has both."""
        told = json.dumps([list(note) for note in notes], ensure_ascii=False)
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

    def rows(self, count: int) -> int:
        """Of the first `count` parts together."""
        paths = map(self.path, range(count))
        return sum(pq.read_metadata(path).num_rows for path in paths)

    def earlier(self) -> list[Path]:
        """Folders of other states of the catalogue that the same model was asked."""
        found = self.home.glob(f"{self.answering}-*")
        return sorted(folder for folder in found if folder != self.folder)

    def forget_others(self) -> None:
        """Only the parts of this state stay; what they took over is in them."""
        for folder in self.home.iterdir():
            if folder != self.folder and (folder / ASKED).is_file():
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()


def _is_being_written(path: Path) -> bool:
    """May another process be at it? One that was killed touched it a while ago."""
    try:
        return time.time() - path.stat().st_mtime < 60
    except FileNotFoundError:
        return True
