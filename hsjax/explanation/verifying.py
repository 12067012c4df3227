"""Can the answers of an audit record be had again, bit for bit?"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hsjax.data.quarantine import CatalogueError
from hsjax.explanation.chosen import chosen_rows, read_chosen
from hsjax.inference.predict import Run
from hsjax.prediction.answering import answers_of
from hsjax.prediction.audit_record import PLACES, audit_record, read_audit
from hsjax.prediction.cascaded import Cascaded
from hsjax.prediction.catalogue import answering_run
from hsjax.prediction.origins import holds, numbers_told
from hsjax.prediction.output import WRITERS
from hsjax.prediction.question import Question
from hsjax.prediction.written import answer_rows

AGAIN = 100  # rows, where none are named
SHOWN = 5  # rows that are named of those that differ
PARTS = ("model", "taxonomy", "input", "output")
ORIGIN = ("batch", "environment")


class Verified(NamedTuple):
    """What came of asking again.

    Attributes:
      rows: how many were answered again; others: the numbers of those that are not as
        they were.
      gap: the largest difference of a number of theirs; inf where a code or a text is
        another.
      changed: what is otherwise than it was, by its name: (then, now).
      exact: does the output have every bit? A CSV has 6 digits of a number.
      elsewhere: row numbers that were made in another batch or environment than this
        one, of a record with several; asked about or not.
    """

    rows: int
    others: tuple[int, ...]
    gap: float
    changed: Mapping[str, tuple[str, str]]
    exact: bool
    elsewhere: tuple[str, ...] = ()

    @property
    def equal(self) -> int:
        """How many rows are as they were."""
        return self.rows - len(self.others)

    @property
    def same(self) -> bool:
        return not (self.others or self.changed)

    def told(self) -> str:
        """Sentences for the user."""
        lines = [
            f"{name} is another: {then} -> {now}"
            for name, (then, now) in self.changed.items()
        ]
        if self.elsewhere:
            rows = "; ".join(map(numbers_told, self.elsewhere))
            lines.append(
                f"rows {rows} were made elsewhere: see `origins` of the record"
            )
        how = "bit for bit" if self.exact else "in all digits that the output has"
        lines.append(f"{self.equal:,} of {self.rows:,} answers are the same, {how}")
        if self.others:
            most = f"a number differs by {self.gap:.2g} at most"
            most = "a code or a text is another" if math.isinf(self.gap) else most
            shown = ", ".join(map(str, self.others[:SHOWN]))
            more = " and others" if len(self.others) > SHOWN else ""
            lines[-1] += f"; {most}, in row {shown}{more}"
        return "\n".join(lines)


def verify(
    path: Path,
    *,
    rows: Sequence[int] = (),
    ids: Sequence[str] = (),
    first: int = 0,
    workdir: Path | str | None = None,
    source: Path | str | None = None,
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> Verified:
    """Answers rows of an audit record again, and compares them with its output.

    Args:
      path: of the record, beside its output.
      rows, ids, first: which of its rows; none named = the first 100 of the catalogue.
      workdir, source, features: where they lie now, None and {} = where they lay.

    Raises:
      CatalogueError: no such record, its output or catalogue is gone, it has no such
        rows.
      WorkdirError: no workdir of a run.
    """
    record = read_audit(path)
    asked, output = record["asked"], _output(path, record)
    workdir = Path(workdir or record["model"]["workdir"])
    source = Path(source or record["input"]["path"])
    files = {name: asked.get(name, "") for name in ("calibration", "cost_matrix")}
    stores = features or asked.get("features") or {}
    run, facts = answering_run(workdir, stores, files, asked.get("cascade") or "")
    first = first if rows or ids or first else AGAIN
    chosen = chosen_rows(run.config, source, rows=rows, ids=ids, first=first)
    before = _before(output, {*chosen})
    now = _again(run, source, asked, before, output.suffix)
    pairs = {row: (before[row], now[row]) for row in before}
    # nan is like nan
    others = tuple(row for row, (a, b) in pairs.items() if repr(a) != repr(b))
    today = audit_record(run, facts, (workdir, source, output))
    return Verified(
        rows=len(pairs),
        others=others,
        gap=max(_gap(*pair) for pair in pairs.values()),
        changed=changed(record, today, rows=[*pairs]),
        exact=output.suffix == ".parquet",
        elsewhere=_elsewhere(record, today),
    )


def changed(
    before: Mapping, now: Mapping, *, rows: Sequence[int]
) -> dict[str, tuple[str, str]]:
    """What differs between two records of the same answers, by its name.

    Args:
      now: a record of one origin; rows: that were answered again: where the others
        were made does not count.
    """
    if "origins" not in before:
        return _differing(before, now, PARTS + ORIGIN)
    found = _differing(before, now, PARTS)
    for origin in before["origins"]:
        if holds(origin["numbers"], rows):
            which = f" of rows {numbers_told(origin['numbers'])}"
            other = _differing(origin, now, ORIGIN)
            found |= {f"{name}{which}": pair for name, pair in other.items()}
    return found


def _elsewhere(before: Mapping, now: Mapping) -> tuple[str, ...]:
    origins = before.get("origins", ())
    return tuple(x["numbers"] for x in origins if _differing(x, now, ORIGIN))


def _differing(before: Mapping, now: Mapping, parts: Sequence[str]) -> dict:
    return {
        f"{part} {name}": (str(then)[:60], str(now[part].get(name))[:60])
        for part in parts
        for name, then in before[part].items()
        if name not in PLACES and then != now[part].get(name)
    }


def _output(path: Path, record: Mapping) -> Path:
    """The output beside its record, or where it lay then."""
    then = Path(record["output"]["path"])
    found = path.parent / then.name
    return found if found.is_file() else then


def _before(output: Path, rows: set[int]) -> dict[int, dict]:
    found = {x["row"]: x for x in answer_rows(output) if x["row"] in rows}
    if not found:
        raise CatalogueError(f"{output} has none of the rows that are asked for")
    return found


def _again(
    run: Run | Cascaded, source: Path, asked: Mapping, rows, suffix: str
) -> dict[int, dict]:
    """The answers of rows, written and read as those of the output were."""
    told = {k: v for k, v in asked.get("question", {}).items() if k != "shard"}
    question = Question(**told)
    how = {"image_root": asked.get("image_root", ""), "carried": question.columns}
    records = read_chosen(run.config, source, [*rows], **how)
    table = answers_of(run, records, question)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"again{suffix}"
        WRITERS[suffix](path, iter([table]))
        return {x["row"]: x for x in answer_rows(path)}


def _gap(before: Mapping, now: Mapping) -> float:
    """The largest difference of a number; inf where a text differs."""
    return max(
        (_between(value, now.get(name)) for name, value in before.items()), default=0.0
    )


def _between(a, b) -> float:
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max(map(_between, a, b), default=0.0)
    if repr(a) == repr(b):
        return 0.0
    try:
        return abs(float(a) - float(b))
    except (TypeError, ValueError):
        return math.inf
