"""A catalogue gets its codes: in parts, once each, and only where they are new."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from hsjax.data.columns import model_columns
from hsjax.data.content import content_key
from hsjax.data.prepared import described_source
from hsjax.data.quarantine import CatalogueError, nothing_usable
from hsjax.data.record import Record
from hsjax.inference.fingerprint import run_facts
from hsjax.inference.predict import Run, load_run
from hsjax.prediction.answers import answer_table, renumbered
from hsjax.prediction.blocks import Block, Blocks
from hsjax.prediction.known import Known
from hsjax.prediction.output import assemble, check_output, quarantine_path
from hsjax.prediction.parts import Parts
from hsjax.progress import progress

log = logging.getLogger("hsjax")

FORMAT = 1
ROWS = 2048  # of a part, at least: what a cut-off may cost, and what is in memory
FEWEST = 32  # rows of the smallest batch
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a catalogue.

    Attributes:
      confidence: also the deepest node of at least this probability; None = not asked.
      embeddings: also the unit vectors of text and picture.
      shard: (number, of how many): this process answers every `of`-th part.
    """

    confidence: float | None = None
    embeddings: bool = False
    shard: tuple[int, int] = (0, 1)


class Done(NamedTuple):
    """What came of it.

    Attributes:
      rows: of the output, 0 = others have still to answer theirs.
      answered, known: products that the model was asked for here, and was not.
      missing: parts that are not there yet; flaws: notes in the quarantine.
      seconds: from the first block to the last.
    """

    rows: int
    answered: int
    known: int
    missing: int
    flaws: int
    seconds: float

    def told(self, output: Path) -> str:
        """Sentences for the user."""
        rate = f", {self.answered / self.seconds:,.0f} a second" if self.seconds else ""
        said = f"{self.answered:,} products answered now{rate}"
        if self.known:
            said += f"; {self.known:,} had an answer already"
        if self.missing:
            return (
                f"{said}; {self.missing:,} parts are left to other processes; the last"
                f" one writes {output}"
            )
        if self.flaws:
            said += f"; {self.flaws:,} flaws, see {quarantine_path(output)}"
        return f"{output}: {self.rows:,} products; {said}"


def predict_catalogue(
    workdir: Path | str,
    source: Path | str,
    output: Path | str,
    question: Question | None = None,
    *,
    image_root: Path | str = "",
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> Done:
    """Answers every product of a file, in memory that does not grow with it.

    OUTPUT.parts keeps what was answered. The same call goes on where it was cut off;
    when the file has changed, the model is asked only for products that are new or
    changed; when nothing has, nothing is done. Several processes may share the parts,
    and the last of them writes the output.

    Args:
      workdir: of a trained run; source: a catalogue with its columns, a file or a
        prepared folder; labels are not needed.
      output: .parquet, .csv or .jsonl; see `answer_table` for its columns.
      question: None = the answers alone, by one process.
      image_root: folder of image paths, '' = the folder of the file.
      features: modality -> folder, of feature stores of the run that have moved.

    Raises:
      CatalogueError: an unreadable file, a missing column, no usable row, a run that
        knows no classes.
      WorkdirError: no workdir of a run.
    """
    source, output = Path(source), Path(output)
    check_output(output)
    if not source.exists():
        raise CatalogueError(f"--input={source}: there is no such file")
    run = load_run(workdir, features=features)
    if not run.config.objective.classification:
        raise CatalogueError(f"{workdir} has learnt no classes: train it with a head")
    work = _Work(run, source, output, question or Question(), image_root)
    if work.parts.missing() != []:
        work.answer_all()
    return work.finish()


class _Work:
    """A catalogue that is answered by one run, part by part."""

    def __init__(self, run: Run, source, output, question: Question, image_root):
        self.run, self.source, self.output = run, source, output
        self.question, self.image_root = question, image_root
        batch = run.config.eval.batch_size
        self.size = -(-ROWS // batch) * batch
        q = question
        self.parts = Parts(
            output.with_name(f"{output.name}.parts"),
            answering={
                "format": FORMAT,
                "model": run_facts(run),
                "confidence": q.confidence,
                "embeddings": q.embeddings,
            },
            reading={
                **described_source(source),
                "image_root": str(image_root),
                "rows": self.size,
            },
        )
        self.known = Known([])
        self.answered = self.taken_over = 0
        self.seconds = 0.0

    def wanted(self, number: int) -> bool:
        own, of = self.question.shard
        return number % of == own and not self.parts.has(number)

    def answer_all(self) -> None:
        """Every part of this process that is not there yet."""
        start, self.known = time.perf_counter(), Known(self.parts.earlier())
        if len(self.known):
            log.info("%d products have an answer already", len(self.known))
        blocks = Blocks(
            self.run.config,
            self.source,
            size=self.size,
            wanted=self.wanted,
            image_root=self.image_root,
        )
        bar = progress(told="answering", unit="products")
        with bar:
            for block in _one_ahead(blocks):
                self.parts.write(block.number, self.answers(block), block.notes)
                bar.update(len(block.records))
        self.parts.ended(blocks.count)
        self.seconds = time.perf_counter() - start

    def answers(self, block: Block) -> pa.Table:
        records = block.records
        contents = np.array([content_key(record) for record in records], object)
        found, tables = np.zeros(len(records), bool), []
        if len(self.known) and records:
            found, held = self.known.find(contents)
            if held is not None:
                tables.append(renumbered(held, _where(records, found)))
        asked = _where(records, ~found)
        if asked or not tables:
            tables.append(self.asked(asked, contents[~found].tolist()))
        self.answered += len(asked)
        self.taken_over += int(found.sum())
        return pa.concat_tables(tables).sort_by("row").combine_chunks()

    def asked(self, records: Sequence[Record], contents: Sequence[str]) -> pa.Table:
        """What the model says of products; without any, the columns alone."""
        if not records:
            return self.asked([nobody(model_columns(self.run.config))], [""]).slice(
                0, 0
            )
        q, batch = self.question, self.run.config.eval.batch_size
        predictions = self.run.predict(
            records,
            groups=np.arange(len(records)),
            confidence=q.confidence,
            batch_size=min(batch, max(FEWEST, 1 << (len(records) - 1).bit_length())),
        )
        if not q.embeddings:
            predictions = replace(predictions, embeddings={})
        return answer_table(predictions, self.run.tree, contents)

    def finish(self) -> Done:
        """The output, if all parts are there; earlier ones are then forgotten."""
        own = {"answered": self.answered, "known": self.taken_over}
        own["seconds"] = self.seconds
        count, missing = self.parts.count, self.parts.missing()
        if missing:
            return Done(rows=0, missing=len(missing), flaws=0, **own)
        notes = [note for number in range(count) for note in self.parts.notes(number)]
        rows = self.parts.rows(count)
        if not rows:
            raise nothing_usable(self.source, notes)
        if self.seconds or not self.output.is_file():
            assemble(self.parts, count, self.output, notes)
        self.parts.forget_others()
        return Done(rows=rows, missing=0, flaws=len(notes), **own)


def nobody(columns: Iterable[str]) -> Record:
    """A product that says and shows nothing."""
    bare = dict.fromkeys(("id", "image_key", "group", "platform", "date", "split"), "")
    texts = dict.fromkeys(columns, "")
    return Record(
        row=0, texts=texts, image=None, path=(), complete=False, extra={}, **bare
    )


def _where(records: Sequence[Record], mask: np.ndarray) -> list[Record]:
    return [record for record, here in zip(records, mask, strict=True) if here]


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The next one is made while this one is used."""
    rest = iter(items)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, rest, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, rest, None)
            yield item
