"""Blocks of products get their answers: known ones at once, the others by the model."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hsjax.data.buckets import answered_lengths
from hsjax.data.content import content_key
from hsjax.data.record import Record
from hsjax.evaluation.predictions import Predictions
from hsjax.inference.predict import Run
from hsjax.prediction.answers import Beside, answer_table, renumbered
from hsjax.prediction.blocks import Block
from hsjax.prediction.cascaded import Cascaded
from hsjax.prediction.known import Known
from hsjax.prediction.origins import ORIGIN
from hsjax.prediction.prefixes import prefixes_of, strange_codes
from hsjax.prediction.question import Question, Terms, terms_of

HAS_CODE = "it has a code: the model was not asked"
TOGETHER = 16  # blocks that wait for a batch to be full, at most
FULL = 16  # batches of products that are sorted by length, as each length has a rest


class _Waiting(NamedTuple):
    """A block whose known answers are there, and the products that have none."""

    block: Block
    held: pa.Table | None
    asked: list[Record]
    contents: list[str]


class Answering:
    """`answering(blocks)`: each block with its table of answers, in order.

    A batch always has the run's own number of rows, so that few programs serve all and
    a product's answer does not hang on how many are asked for with it.

    Attributes:
      answered, known: products that the model was asked for, and was not.

    Args:
      origin: of what is answered now, for the column of that name; see `tell_origin`.
      source: file of the products, for notes on them.
    """

    def __init__(
        self,
        run: Run | Cascaded,
        question: Question,
        terms: Terms,
        known: Known,
        *,
        origin: str = "",
        source: str = "",
    ) -> None:
        self.run, self.question, self.terms = run, question, terms
        self._known, self._origin, self._source = known, origin, source
        self.answered = self.known = 0

    def __call__(self, blocks: Iterable[Block]) -> Iterator[tuple[Block, pa.Table]]:
        waiting: list[_Waiting] = []
        enough = self.run.config.eval.batch_size
        enough *= FULL if answered_lengths(self.run.spec) else 1
        for block in blocks:
            waiting.append(self._looked_up(block))
            asked = sum(len(one.asked) for one in waiting)
            if asked >= enough or len(waiting) == TOGETHER:
                yield from self._all_answered(waiting)
                waiting = []
        if waiting:
            yield from self._all_answered(waiting)

    def _looked_up(self, block: Block) -> _Waiting:
        records, held = block.records, None
        columns = self.question.columns
        contents = np.array([answer_key(x, columns) for x in records], object)
        found = np.zeros(len(records), bool)
        if len(self._known) and records:
            found, held = self._known.find(contents)
            held = held and renumbered(held, _where(records, found))
        self.known += int(found.sum())
        # pictures of those that are known already need not wait
        bare = block._replace(records=[], notes=[*block.notes, *self._notes(records)])
        return _Waiting(bare, held, _where(records, ~found), contents[~found].tolist())

    def _notes(self, records: Sequence[Record]) -> Iterator[tuple]:
        """On codes that products have and the tree has not, as in a `Quarantine`."""
        column, named = self.question.current, (self.run.tree, self.terms.own)
        for record, told in strange_codes(records, column, *named):
            reason = f"unknown current code: {told}"
            yield self._source, record.row, record.id, column, reason, "kept"

    def _all_answered(self, waiting: list[_Waiting]):
        records = [record for one in waiting for record in one.asked]
        contents = [content for one in waiting for content in one.contents]
        table, first = self.ask(records, contents), 0
        made = pa.array([self._origin] * len(table), pa.string())
        table = table.append_column(ORIGIN, made)
        for one in waiting:
            own = table.slice(first, len(one.asked))
            first += len(one.asked)
            tables = [own] if one.held is None else [one.held, own]
            yield one.block, pa.concat_tables(tables).sort_by("row").combine_chunks()

    def ask(self, records: Sequence[Record], contents: Sequence[str]) -> pa.Table:
        """What the model says of products; without any, the columns alone."""
        if not records:
            alone = nobody(self.run.columns)
            return self._asked([alone], [""]).slice(0, 0)
        table = self._asked(records, contents)
        self.answered += len(records) - table["reason"].to_pylist().count(HAS_CODE)
        return table

    def _asked(self, records: Sequence[Record], contents: Sequence[str]) -> pa.Table:
        q, terms, tree = self.question, self.terms, self.run.tree
        said = {c: [x.extra.get(c, "") for x in records] for c in q.columns}
        prefixes, reasons = prefixes_of(records, q.prefix, tree, terms.own)
        if q.policy == "fill_missing":
            pairs = zip(said[q.current], reasons, strict=True)
            reasons = [HAS_CODE if code else reason for code, reason in pairs]
        predictions = self._predicted(records, prefixes, reasons)
        if not q.embeddings:
            predictions = replace(predictions, embeddings={})
        beside = Beside(reasons, said.get(q.current), q.policy, terms.own)
        return answer_table(predictions, tree, contents, beside)

    def _predicted(
        self, records: Sequence[Record], prefixes, reasons: Sequence[str]
    ) -> Predictions:
        """The model is asked only where there is no reason not to be."""
        wanted = [i for i, reason in enumerate(reasons) if not reason]
        asked, terms = [records[i] for i in wanted], self.terms
        place = np.full(len(records), len(wanted))
        place[wanted] = np.arange(len(wanted))
        if len(wanted) < len(records):  # one row stands in for all the others
            asked.append(nobody(self.run.columns))
        if prefixes is not None:
            free = np.full((len(asked) - len(wanted), prefixes.shape[1]), -1, np.int32)
            prefixes = np.concatenate([prefixes[wanted], free])
        found = self.run.predict(
            asked,
            groups=np.arange(len(asked)),
            confidence=terms.confidence,
            prefixes=prefixes,
            set_least=terms.set_least,
            stakes=terms.stakes,
        ).select(place)
        names = np.array([record.id for record in records], object)
        return replace(found, row=np.array([x.row for x in records]), id=names)


def answers_of(
    run: Run | Cascaded, records: Sequence[Record], question: Question | None = None
) -> pa.Table:
    """The rows of `answer_table` of some products, as the output has them.

    Raises:
      CatalogueError: see `terms_of`.
    """
    q = question or Question()
    answering = Answering(run, q, terms_of(run, q), Known([]))
    return answering.ask(records, [answer_key(x, q.columns) for x in records])


def answer_key(record: Record, columns: Sequence[str]) -> str:
    """What decides an answer: the `content_key`, and what these columns say."""
    key = content_key(record)
    if not columns:
        return key
    said = [key, *(record.extra.get(column, "") for column in columns)]
    return hashlib.sha1(repr(said).encode()).hexdigest()


def nobody(columns: Iterable[str]) -> Record:
    """A product that says and shows nothing."""
    bare = dict.fromkeys(("id", "image_key", "group", "platform", "date", "split"), "")
    texts = dict.fromkeys(columns, "")
    return Record(
        row=0, texts=texts, image=None, path=(), complete=False, extra={}, **bare
    )


def _where(records: Sequence[Record], mask: np.ndarray) -> list[Record]:
    return [record for record, here in zip(records, mask, strict=True) if here]
