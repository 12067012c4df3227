"""Two stages as one pipeline (Paper B, section VI): fitted, measured, applied."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.baselines.fitting import presence
from hsjax.data.columns import model_columns
from hsjax.data.groups import content_hashes
from hsjax.data.records import CatalogueError
from hsjax.evaluation.cascade_curve import merged
from hsjax.evaluation.predictions import Predictions
from hsjax.features.live import Encoded
from hsjax.inference.cascade import Cascade, check_stages, write_cascade
from hsjax.inference.cascade_fit import Wish, check_truth, fit_cascade
from hsjax.inference.cascade_told import draw_cascade, told_cascade
from hsjax.train.kept import read_train_counts
from hsjax.trained.asked_rows import check_labelled, kept_back, own_rows
from hsjax.trained.cascade_cost import Stage, open_stages, stage_costs, summed
from hsjax.trained.ensemble import Member, check_members
from hsjax.trained.members import load_members
from hsjax.trained.reports import catalogue_entries, write_results
from hsjax.trained.scoring import write_unscored


def run_version(member: Member) -> str:
    """By which a run that is trained anew is known, wherever its stores lie now."""
    step = f"step {member.run.step}, " if member.run else ""
    kept = json.loads((member.workdir / "config.json").read_text())
    return f"{step}config {kept['hash'][:12]}"


def run_cascade(
    workdirs: Sequence[Path],
    output: Path,
    *,
    wish: Wish | None,
    known: Cascade | None = None,
    source: str | None = None,
    part: str = "test",
    fit_source: str | None = None,
    fit_part: str = "val",
    fit_rows: int = 0,
    costs: tuple[float, float] | None = None,
    features: Mapping[str, Path | str],
) -> None:
    """Fits a cascade, or takes a known one, and answers rows with it.

    Only rows that are sent on are given to the strong model, unless they are labelled:
    then it answers all, so that the curve can be drawn.

    Args:
      wish: None with `known`.
      source, part: rows to answer, as of `evaluate_run`; fit_source, fit_part: labelled
        rows to fit on; fit_rows: so many of `source` in their place, which are not
        answered.
      costs: of each stage in ms; None = measured.
      features: modality -> folder of stores that have moved; each run takes its own.

    Raises:
      CatalogueError, WorkdirError: whatever a user can mend, in words.
    """
    asked = {"corrupt": "", "by": "", "confidence": None, "zero_shot": ""}
    asked |= {"features": features, "output": output}
    check_stages(workdirs, features)
    members = load_members(workdirs, source=source, part=part, **asked)
    versions, notes = tuple(map(run_version, members)), []
    check_same(known, versions)
    asked |= {"source": fit_source, "part": fit_part, "prefix": "fit_"}
    if fit_rows:
        members, on = _kept_back(members, fit_rows, source)
        where = f"labelled rows of {source}"
    else:
        on = [] if known else _fit_rows(workdirs, members, asked)
        where = fit_source or f"{members[0].config.data.path}, part {fit_part}"
    stages = open_stages(members, Encoded())
    if known is None:
        parts = () if costs else tuple(stage_costs(stages, source))
        words = {"wish": wish, "costs": costs or summed(parts), "fitted": where}
        known = _fitted(stages, on, **words)._replace(versions=versions, parts=parts)
        notes = _fit_notes(members, on)
    answer_cascade(stages, known, output, source=source, part=part, notes=notes)


def _fitted(stages: Sequence[Stage], on: Sequence[Member], **words) -> Cascade:
    """Both stages answer the rows to fit on; see `fit_cascade`."""
    cheap, strong = (
        _answer(stage, m, np.arange(len(m.records)))
        for stage, m in zip(stages, on, strict=True)
    )
    runs = tuple(str(m.workdir.resolve()) for m in on)
    return fit_cascade(cheap, strong, runs=runs, **words)


def _kept_back(
    members: Sequence[Member], count: int, source: str
) -> tuple[list[Member], list[Member]]:
    """Members with the rows to answer, and with those to fit on: see `kept_back`."""
    check_labelled(members[0].rows, source, {"fit_rows": True})
    fit, left = kept_back(members[0].rows, count, source)
    parts = [[m.rows.select(x) for m in members] for x in (left, fit)]
    answered, on = (
        [m._replace(rows=x, records=x.records) for m, x in zip(members, p, strict=True)]
        for p in parts
    )
    return answered, on


def _fit_rows(
    workdirs: Sequence[Path], members: Sequence[Member], asked: Mapping
) -> list[Member]:
    """The same runs with labelled rows to fit on, as `load_members` is asked for them.

    Where the runs' own catalogues are read already, they are not read again.

    Raises:
      CatalogueError, WorkdirError: see `load_members`; there are no labels.
    """
    source, part = asked["source"], asked["part"]
    if source is not None or any(m.catalogue is None for m in members):
        found = load_members(workdirs, **asked)
    else:
        found = []
        for m in members:
            rows = own_rows(m.config, m.catalogue, part, "fit_part")
            found.append(m._replace(rows=rows, records=rows.records))
        check_members(found, "", "fit_")
    check_labelled(found[0].rows, source, {"fit_input": True})
    return found


def check_same(known: Cascade | None, versions: tuple[str, str]) -> None:
    """CatalogueError where a run of a known cascade is another now."""
    if known is not None and known.versions != versions:
        raise CatalogueError(
            f"--cascade: {' and '.join(known.runs)} are no longer the runs that it was"
            f" fitted with ({known.versions} then, {versions} now): fit it again"
        )


def _fit_notes(members: Sequence[Member], on: Sequence[Member]) -> list[str]:
    """What makes the fit say less than it seems to."""
    own = members[0].rows.quarantine.warnings
    notes = [x for m in on for x in m.rows.quarantine.warnings if x not in own]
    fitted, answered = (content_hashes(m[0].records) for m in (on, members))
    if both := int(np.isin(answered, fitted).sum()):
        notes.append(
            f"The threshold was fitted on {both:,} of the {len(answered):,} rows that"
            " are answered here: figures over them flatter it"
        )
    return list(dict.fromkeys(notes))


def _names(members: Sequence[Member]) -> list[str]:
    """Of the runs, as short as they can be told apart."""
    folders = [m.workdir.resolve() for m in members]
    row = [f"{x.parent.name}/{x.name}" for x in folders]  # of a sweep: row/seed
    tried = [x.name for x in folders], row, [str(x) for x in folders]
    return next((x for x in tried if x[0] != x[1]), tried[-1])


def _answer(stage: Stage, member: Member, rows: np.ndarray) -> Predictions:
    """Of a stage for some rows of its member, or of the same run for other rows."""
    records, groups = [member.records[i] for i in rows], member.rows.groups[rows]
    told = f"{len(rows):,} products, {member.workdir.name}"
    return stage.answer(records, groups, told)


def answer_cascade(
    stages: Sequence[Stage],
    cascade: Cascade,
    output: Path,
    *,
    source: str | None,
    part: str,
    notes: Sequence[str] = (),
) -> None:
    """Both stages over the rows of their members: report, predictions, curve.

    Raises:
      CatalogueError: a store lacks an item, and its encoder is gone.
    """
    members = [stage.member for stage in stages]
    first, second = members
    every = np.arange(len(first.records))
    cheap = _answer(stages[0], first, every)
    escalated, abstained = cascade.routed(cheap)
    scored = not first.rows.unlabelled
    rows = every if scored else escalated
    strong = _answer(stages[1], second, rows) if len(rows) else cheap.select(rows)
    if scored:
        check_truth(cheap, strong, cascade.runs)
    answered = merged(
        cheap,
        strong.select(escalated) if scored else strong,
        escalated=escalated,
        abstained=abstained,
        present=presence(second.records, model_columns(second.config)),
    )
    output.mkdir(parents=True, exist_ok=True)
    write_cascade(cascade, output)
    first.rows.write_flaws(output)
    told = told_cascade(_names(members), cascade, answered, strong if scored else None)
    told = "\n\n".join([told, *notes])
    if scored:
        told += "\n\n" + draw_cascade(cheap, strong, cascade, output)
    _write(members, answered, output, source, part, told)


def _write(
    members: Sequence[Member],
    answered: Predictions,
    output: Path,
    source: str | None,
    part: str,
    told: str,
) -> None:
    """The report of any run, with a section on the cascade."""
    first = members[0]
    entries = catalogue_entries(first.rows.facts, first.rows.quarantine)
    context = {
        "run": f"cascade of {', '.join(_names(members))}",
        "data": source or first.config.data.path,
        "part": "all rows" if source else part,
        "step": None,
        **entries,
        "sections": {"Cascade": told, **entries["sections"]},
    }
    if first.rows.unlabelled:
        for name in ("curve.csv", "curve.png"):  # of a labelled file before
            (output / name).unlink(missing_ok=True)
        write_unscored(output, answered, first.rows.unlabelled, context)
        return
    counts = read_train_counts(first.workdir)
    of = {"config": first.config, "tree": first.model.tree, "train_counts": counts}
    write_results(output, answered, context=context, **of)
