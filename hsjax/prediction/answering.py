"""Blocks of products get their answers: known ones at once, the others by the model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hsjax.data.columns import model_columns
from hsjax.data.content import content_key
from hsjax.data.record import Record
from hsjax.inference.predict import Run
from hsjax.prediction.answers import answer_table, renumbered
from hsjax.prediction.blocks import Block
from hsjax.prediction.known import Known

TOGETHER = 16  # blocks that wait for a batch to be full, at most


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


class _Waiting(NamedTuple):
    """A block whose known answers are there, and the products that have none."""

    block: Block
    held: pa.Table | None
    asked: list[Record]
    contents: list[str]


class Answering:
    """`answering(blocks)`: each block with its table of answers, in order.

    A batch always has the run's own number of rows, so that one program serves all and
    a product's answer does not hang on how many are asked for with it.

    Attributes:
      answered, known: products that the model was asked for, and was not.
    """

    def __init__(self, run: Run, question: Question, known: Known) -> None:
        self.run, self.question, self._known = run, question, known
        self.answered = self.known = 0

    def __call__(self, blocks: Iterable[Block]) -> Iterator[tuple[Block, pa.Table]]:
        waiting: list[_Waiting] = []
        batch = self.run.config.eval.batch_size
        for block in blocks:
            waiting.append(self._looked_up(block))
            asked = sum(len(one.asked) for one in waiting)
            if asked >= batch or len(waiting) == TOGETHER:
                yield from self._all_answered(waiting)
                waiting = []
        if waiting:
            yield from self._all_answered(waiting)

    def _looked_up(self, block: Block) -> _Waiting:
        records, held = block.records, None
        contents = np.array([content_key(record) for record in records], object)
        found = np.zeros(len(records), bool)
        if len(self._known) and records:
            found, held = self._known.find(contents)
            held = held and renumbered(held, _where(records, found))
        self.known += int(found.sum())
        # pictures of those that are known already need not wait
        bare = block._replace(records=[])
        return _Waiting(bare, held, _where(records, ~found), contents[~found].tolist())

    def _all_answered(self, waiting: list[_Waiting]):
        records = [record for one in waiting for record in one.asked]
        contents = [content for one in waiting for content in one.contents]
        table, first = self.ask(records, contents), 0
        self.answered += len(records)
        for one in waiting:
            own = table.slice(first, len(one.asked))
            first += len(one.asked)
            tables = [own] if one.held is None else [one.held, own]
            yield one.block, pa.concat_tables(tables).sort_by("row").combine_chunks()

    def ask(self, records: Sequence[Record], contents: Sequence[str]) -> pa.Table:
        """What the model says of products; without any, the columns alone."""
        if not records:
            alone = nobody(model_columns(self.run.config))
            return self.ask([alone], [""]).slice(0, 0)
        q = self.question
        predictions = self.run.predict(
            records, groups=np.arange(len(records)), confidence=q.confidence
        )
        if not q.embeddings:
            predictions = replace(predictions, embeddings={})
        return answer_table(predictions, self.run.tree, contents)


def nobody(columns: Iterable[str]) -> Record:
    """A product that says and shows nothing."""
    bare = dict.fromkeys(("id", "image_key", "group", "platform", "date", "split"), "")
    texts = dict.fromkeys(columns, "")
    return Record(
        row=0, texts=texts, image=None, path=(), complete=False, extra={}, **bare
    )


def _where(records: Sequence[Record], mask: np.ndarray) -> list[Record]:
    return [record for record, here in zip(records, mask, strict=True) if here]
