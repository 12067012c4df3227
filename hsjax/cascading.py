"""Two stages as one pipeline (Paper B, section VI): fitted, measured, applied."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.asked_rows import check_labelled, own_rows
from hsjax.baselines import presence
from hsjax.cascade_cost import stage_costs
from hsjax.data.columns import model_columns
from hsjax.data.groups import content_hashes
from hsjax.data.records import CatalogueError
from hsjax.ensemble import Member, check_members
from hsjax.evaluation.cascade_curve import cascade_curve, merged
from hsjax.evaluation.cascade_report import (
    cascade_table,
    plot_cascade,
    told_thresholds,
    write_curve,
)
from hsjax.evaluation.comparison import paired_difference
from hsjax.evaluation.markdown import signed, table
from hsjax.evaluation.predictions import Predictions
from hsjax.inference.cascade import (
    Cascade,
    Wish,
    check_stages,
    fit_cascade,
    write_cascade,
)
from hsjax.members import load_members
from hsjax.reports import catalogue_entries, fitted_baseline, write_results
from hsjax.scoring import write_unscored
from hsjax.train.config import config_hash
from hsjax.train.kept import read_train_counts


def _version(member: Member) -> str:
    step = f"step {member.run.step}, " if member.run else ""
    return f"{step}config {config_hash(member.config)[:12]}"


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
    costs: tuple[float, float] | None = None,
    features: Mapping[str, Path | str],
) -> None:
    """Fits a cascade, or takes a known one, and answers rows with it.

    Only rows that are sent on are given to the strong model, unless they are labelled:
    then it answers all, so that the curve can be drawn.

    Args:
      wish: None with `known`.
      source, part: rows to answer, as of `evaluate_run`; fit_source, fit_part: labelled
        rows to fit on.
      costs: of each stage in ms; None = measured.

    Raises:
      CatalogueError, WorkdirError: whatever a user can mend, in words.
    """
    asked = {"corrupt": "", "by": "", "confidence": None, "zero_shot": ""}
    asked |= {"features": features, "output": output}
    check_stages(workdirs, features)
    members = load_members(workdirs, source=source, part=part, **asked)
    versions, notes = tuple(map(_version, members)), []
    _check_same(known, versions)
    if known is None:
        on = _other_part(members, fit_part) if fit_source is None else None
        on = on or load_members(workdirs, source=fit_source, part=fit_part, **asked)
        check_labelled(on[0].rows, fit_source, {"fit_input": True})
        check_members(on, "")
        notes = _fit_notes(members, on)
        costs = costs or stage_costs(members)
        cheap, strong = (_answer(m, np.arange(len(m.records))) for m in on)
        told = fit_source or f"{on[0].config.data.path}, part {fit_part}"
        folders = tuple(str(folder.resolve()) for folder in workdirs)
        known = fit_cascade(
            cheap, strong, runs=folders, wish=wish, costs=costs, fitted=told
        )._replace(versions=versions)
    answer_cascade(members, known, output, source=source, part=part, notes=notes)


def _check_same(known: Cascade | None, versions) -> None:
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


def _other_part(members: Sequence[Member], part: str) -> list[Member] | None:
    """The same members with another part of their catalogues, where these are read."""
    if any(m.catalogue is None for m in members):
        return None
    found = []
    for m in members:
        rows = own_rows(m.config, m.catalogue, part)
        found.append(m._replace(rows=rows, records=rows.records))
    return found


def _names(members: Sequence[Member]) -> list[str]:
    """Of the runs, as short as they can be told apart."""
    names = [m.workdir.name for m in members]
    return names if names[0] != names[1] else [str(m.workdir) for m in members]


def _answer(member: Member, rows: np.ndarray) -> Predictions:
    """Of a member for some of its rows."""
    records, groups = [member.records[i] for i in rows], member.rows.groups[rows]
    if member.run is None:
        return fitted_baseline(member.config, member.catalogue)(records, groups)
    told = f"{len(rows):,} products, {member.workdir.name}"
    return member.run.predict(records, groups=groups, progress=told)


def answer_cascade(
    members: Sequence[Member],
    cascade: Cascade,
    output: Path,
    *,
    source: str | None,
    part: str,
    notes: Sequence[str] = (),
) -> None:
    """Both stages over the rows of the members: report, predictions, curve."""
    first, second = members
    every = np.arange(len(first.records))
    cheap = _answer(first, every)
    sure = cascade.confidence(cheap)
    unsure = sure < cascade.threshold
    abstained = unsure & (sure < cascade.floor)
    escalated = np.flatnonzero(unsure & ~abstained)
    scored = not first.rows.unlabelled
    rows = every if scored else escalated
    strong = _answer(second, rows) if len(rows) else cheap.select(rows)
    sent = strong.select(escalated) if scored else strong
    answered = merged(
        cheap,
        sent,
        escalated=escalated,
        abstained=abstained,
        present=presence(second.records, model_columns(second.config)),
    )
    output.mkdir(parents=True, exist_ok=True)
    write_cascade(cascade, output)
    first.rows.write_flaws(output)
    facts = _facts(members, cascade, len(escalated), int(abstained.sum()))
    facts |= _against(answered, strong) if scored else {}
    rows = [[name, value] for name, value in facts.items()]
    told = "\n\n".join([table(["", ""], rows), *notes])
    if scored:
        told += "\n\n" + _drawn(cheap, strong, sure, cascade, output)
    _write(members, answered, output, source, part, told)


def _facts(
    members: Sequence[Member], cascade: Cascade, sent: int, left: int
) -> dict[str, str]:
    """What was asked, and how many products went where."""
    total = len(members[0].records)
    share = lambda count: f"{count:,} of {total:,} ({100 * count / total:.1f} %)"  # noqa: E731
    return {
        "cheap, strong": ", ".join(_names(members)),
        "fitted on": cascade.fitted,
        "sent on below a confidence of": told_thresholds([cascade.threshold])[0],
        "ms a product in each stage": ", ".join(f"{x:.2f}" for x in cascade.costs),
        "answered by the cheap model": share(total - sent - left),
        "sent on": share(sent),
        "left to people": share(left),
    }


def _against(answered: Predictions, strong: Predictions) -> dict[str, str]:
    """How much the cascade differs from the strong model on every row."""
    name = "hierarchical/f1"
    gap = paired_difference(answered, strong, [name])[name]
    value, low, high = (signed(100 * x) for x in gap)
    return {"hF1, cascade − strong": f"{value} [{low}, {high}]"}


def _drawn(
    cheap: Predictions,
    strong: Predictions,
    sure: np.ndarray,
    cascade: Cascade,
    output: Path,
) -> str:
    """Files of the curve on rows that both have answered, and its table."""
    kept = np.flatnonzero((cheap.truth != "").any(axis=1))
    curve = cascade_curve(cheap.select(kept), strong.select(kept), sure[kept])
    chosen = int(np.searchsorted(curve.threshold, cascade.threshold))
    chosen = min(chosen, len(curve.threshold) - 1)
    write_curve(curve, cascade.costs, output / "curve.csv")
    plot_cascade(curve, chosen, cascade.costs, output / "curve.png")
    return cascade_table(curve, chosen, cascade.costs, fitted=cascade.threshold)


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
