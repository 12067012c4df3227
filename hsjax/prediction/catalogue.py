"""A catalogue gets its codes: in parts, once each, and only where they are new."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from hsjax.data.columns import missing_column
from hsjax.data.quarantine import CatalogueError, nothing_usable
from hsjax.data.sources import column_names
from hsjax.inference.predict import Run
from hsjax.prediction.answering import Answering
from hsjax.prediction.answering_run import answering_run
from hsjax.prediction.audit_record import keep_audit
from hsjax.prediction.blocks import Blocks
from hsjax.prediction.cascaded import Cascaded
from hsjax.prediction.known import Known
from hsjax.prediction.origins import origin_here, origins_of, tell_origin
from hsjax.prediction.output import assemble, check_output, quarantine_path
from hsjax.prediction.overview import seen_together
from hsjax.prediction.parts import Parts
from hsjax.prediction.question import Question, terms_of
from hsjax.prediction.source import Unchanged, check_apart, source_facts
from hsjax.progress import progress

log = logging.getLogger("hsjax")

FORMAT = 4
UNCALIBRATED = (
    "probabilities are as the model states them: python -m hsjax.calibrate --run={}"
    " makes them honest"
)
STATED = "probabilities are those that each stage of the cascade states"
ROWS = 1024  # of a part, at least; some are answered together, see `Answering`
T = TypeVar("T")


class Done(NamedTuple):
    """What came of it.

    Attributes:
      rows: of the output, 0 = others have still to answer theirs.
      answered, known: products that the model was asked for here, and was not.
      missing: parts that are not there yet; flaws: notes in the quarantine.
      seconds: from the first block to the last; 0 = nothing was left to do.
      loading: seconds before that, in which the model was loaded.
      note: a sentence on the answers; unanswered: one on products that have none.
      dropped: rows that could not be read.
    """

    rows: int
    answered: int
    known: int
    missing: int
    flaws: int
    seconds: float
    loading: float
    note: str = ""
    unanswered: str = ""
    dropped: int = 0

    def told(self, output: Path) -> str:
        """Sentences for the user."""
        said = "nothing had changed"
        if self.seconds:
            rate = self.answered / self.seconds
            said = f"{self.answered:,} answered now, {rate:,.0f} a second"
        if self.known:
            said += f"; {self.known:,} had an answer already"
        if self.missing:
            return (
                f"{said}; {self.missing:,} parts are left to other processes; the last"
                f" one writes {output}"
            )
        if self.flaws:
            said += f"; {self.flaws:,} flaws"
            if self.dropped:
                said += f" (rows dropped: {self.dropped:,})"
            said += f", see {quarantine_path(output)}"
        told = f"{output}: {self.rows:,} products; {said}"
        return "\n".join(filter(None, (told, self.unanswered, self.note)))


def predict_catalogue(
    workdir: Path | str | None,
    source: Path | str,
    output: Path | str,
    question: Question | None = None,
    *,
    image_root: Path | str = "",
    features: Mapping[str, Path | str] = MappingProxyType({}),
    calibration: Path | str = "",
    cost_matrix: Path | str = "",
    cascade: Path | str = "",
) -> Done:
    """Answers every product of a file, a block of rows at a time.

    OUTPUT.parts keeps what was answered. The same call goes on where it was cut off;
    when the file or a picture has changed, the model is asked only for products that
    are new or changed, for which 16 bytes of each known product are in memory. Several
    processes may share the parts; the last writes the output and its audit record.

    Args:
      workdir: of a trained run; source: a catalogue with its columns, a file or a
        prepared folder; labels are not needed.
      output: .parquet, .csv or .jsonl; see `answer_table` for its columns.
      question: None = the answers alone, by one process.
      image_root: folder of image paths, '' = the folder of the file.
      features: modality -> folder, of feature stores of the run that have moved.
      calibration: of `calibration_path`; cost_matrix: file of costs of mistakes.
      cascade: folder of a fitted cascade, which answers in place of a run.

    Raises:
      CatalogueError: an unreadable file, a missing column, no usable row, a file that
        changes meanwhile, an impossible output, a run without classes; see `terms_of`.
      WorkdirError: no workdir of a run.
    """
    source, output, q = Path(source), Path(output), question or Question()
    _check(source, output, q)
    files = {"calibration": calibration, "cost_matrix": cost_matrix}
    run, facts, loading = answering_run(workdir, features, files, cascade)
    unchanged, terms = Unchanged(source), terms_of(run, q)
    blocks, parts = _opened(run, facts, source, output, q, image_root)
    note = "" if run.calibration else UNCALIBRATED.format(workdir)
    if cascade:
        workdir, note = run.workdir, STATED
    told = _answered(run, q, terms, blocks, parts, unchanged)
    done = _finished(parts, source, output, loading=loading, note=note, **told)
    asked = {"question": q, "image_root": image_root, "features": features, **files}
    if not done.missing:
        asked |= {"cascade": cascade, "origins": origins_of(parts)}
        keep_audit(run, facts, (workdir, source, output), kept=done.known, **asked)
    return done


def _answered(run: Run | Cascaded, q, terms, blocks, parts: Parts, unchanged) -> dict:
    """Answers what is missing; what `Done` tells of it."""
    if parts.missing() == []:
        return {"answered": 0, "known": 0, "seconds": 0.0}
    start = time.perf_counter()
    origin = tell_origin(parts, origin_here(run))
    told = {"origin": origin, "source": str(blocks.data.path)}
    answering = Answering(run, q, terms, Known(parts.earlier()), **told)
    _answer_all(blocks, answering, parts)
    _end(parts, blocks, unchanged=unchanged())
    told = {"answered": answering.answered, "known": answering.known}
    return {**told, "seconds": time.perf_counter() - start}


def _opened(
    run: Run | Cascaded, facts: Mapping, source: Path, output: Path, q, image_root
):
    """(the blocks that this process answers, the parts that are there)."""
    batch, (own, of) = run.config.eval.batch_size, q.shard
    size = -(-ROWS // batch) * batch
    blocks = Blocks(
        run.config,
        source,
        size=size,
        wanted=lambda number: number % of == own and not parts.has(number),
        image_root=image_root,
        carried=q.columns,
    )
    parts = Parts(
        output.with_name(f"{output.name}.parts"),
        answering={"format": FORMAT, "run": facts, **q.facts()},
        reading={**source_facts(blocks.data), "rows_per_part": size},
    )
    return blocks, parts


def _check(source: Path, output: Path, q: Question) -> None:
    """Raises CatalogueError: what can be seen before anything is loaded."""
    check_output(output)
    if not source.exists():
        raise CatalogueError(f"--input={source}: there is no such file")
    check_apart(output, {"--input": source})
    if q.columns:
        names = column_names(source, wanted=q.columns)
        for flag in ("prefix", "current"):
            column = getattr(q, flag)
            if column and column not in names:
                raise missing_column(source, column, f"--{flag}", names)


def _end(parts: Parts, blocks: Blocks, *, unchanged: bool) -> None:
    """All rows were read; CatalogueError where they are of two states of the file."""
    if not unchanged:
        parts.forget()
        raise CatalogueError(
            f"{blocks.data.path} has changed while it was read; run the same command"
            " again"
        )
    parts.ended(blocks.count)


def _answer_all(blocks: Blocks, answering: Answering, parts: Parts) -> None:
    with progress(told="answering", unit="products") as bar:
        for block, answers in answering(_one_ahead(blocks)):
            parts.write(block.number, answers, block.notes)
            bar.update(len(answers))


def _finished(parts: Parts, source: Path, output: Path, **told) -> Done:
    """Writes the output, if all parts are there; earlier ones are then forgotten."""
    if missing := parts.missing():
        return Done(rows=0, missing=len(missing), flaws=0, **told)
    rows = parts.rows()
    if not rows:
        raise nothing_usable(source, [*parts.all_notes()])
    written = parts.written(output)
    if written is None:
        seen = seen_together(parts, source)
        written = assemble(parts, output, seen.repeats)
        written["unanswered"] = seen.unanswered
        parts.tell_written(output, written)
    parts.forget_others()
    own = {name: written[name] for name in ("flaws", "dropped", "unanswered")}
    return Done(rows=rows, missing=0, **own, **told)


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The next one is made while this one is used."""
    rest = iter(items)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, rest, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, rest, None)
            yield item
