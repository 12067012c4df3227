"""Scores a trained run on a file, or answers one that has no labels."""

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax

from hsjax.atomic import write_atomically
from hsjax.data.columns import carried
from hsjax.data.corrupt import corrupt_records, read_corruption
from hsjax.data.damaged_pictures import damage_look, damages_pictures
from hsjax.evaluation.metrics import answered
from hsjax.evaluation.parts import FILES, Parts, parts_by, write_parts
from hsjax.evaluation.predictions import Predictions, write_predictions
from hsjax.features.live import Encoded
from hsjax.inference.calibration import NONE
from hsjax.inference.label_texts import (
    label_vectors,
    zero_shot_results,
)
from hsjax.train.kept import read_train_counts
from hsjax.trained.asked_rows import (
    AskedRows,
    check_labelled,
)
from hsjax.trained.ensemble import (
    Member,
    ensemble_predictions,
    told_members,
)
from hsjax.trained.members import adapted_member, load_members
from hsjax.trained.reports import catalogue_entries, fitted_baseline, write_results

log = logging.getLogger("hsjax")


def evaluate_run(
    workdir: Path | Sequence[Path],
    output: Path,
    *,
    source: str | None,
    part: str,
    corrupt: str,
    seed: int,
    confidence: float | None = None,
    zero_shot: str = "",
    features: Mapping[str, Path | str] = MappingProxyType({}),
    by: str = "",
    adapt: str = "",
    cost_matrix: str = "",
    calibration: Path | str = NONE,
) -> None:
    """Scores a run, or several as one, on another file or a part of its own catalogue.

    Of another file every row is answered, repeated ones, too, and scored where it has a
    label. A part of its own has the run's own rows. `by`: column of the scored file,
    whose values each have a report of their own; `adapt`: first moved to these rows'
    statistics; `features`, `cost_matrix`, `calibration`: see `load_run`.

    Args:
      workdir: several are an ensemble, see `ensemble_predictions`.

    Raises:
      CatalogueError: a part, damage, column or cost is unknown, the file lacks labels
        that are needed, a store is another, or runs that cannot be asked together.
      WorkdirError: the run's own catalogue has changed since.
    """
    workdirs = [workdir] if isinstance(workdir, Path) else [*workdir]
    asked = {"source": source, "part": part, "corrupt": corrupt, "output": output}
    whole = {"confidence": confidence, "zero_shot": zero_shot, "features": features}
    files = {"cost_matrix": cost_matrix, "calibration": calibration}
    members = load_members(workdirs, by=by, **files, **whole, **asked)
    first, rows = members[0], members[0].rows
    check_labelled(rows, source, {"zero_shot": zero_shot, "by": by})
    parts = _parts(rows, by, output)
    encode = Encoded()  # what stores lack, once for both
    members, damage = _adapted(*_damaged(members, corrupt, seed), adapt, encode)
    predictions = _answers(members, confidence, encode)
    rows.write_flaws(output)
    context = _context(members, asked | {"seed": seed}, damage)
    if rows.unlabelled:
        return write_unscored(output, predictions, rows.unlabelled, context)
    labels = label_vectors(first.model, zero_shot) if zero_shot else None
    write = functools.partial(_write_scored, first, labels)
    told = write_parts(output, predictions, parts, context, write) if parts else {}
    write(output, predictions, context | told)


def _context(members: Sequence[Member], asked: Mapping, damage: str) -> dict:
    """What the report says of who answered, and of the rows."""
    first, source = members[0], asked["source"]
    context = {
        "run": first.workdir.name + damage,
        "data": source or first.config.data.path,
        "part": "all rows" if source else asked["part"],
        "step": first.run.step if first.run else None,
        "corrupt": asked["corrupt"],
        "seed": asked["seed"],
        **catalogue_entries(first.rows.facts, first.rows.quarantine),
    }
    several = len(members) > 1
    if first.run and first.run.calibration:
        known = first.run.calibration
        told = f"Calibrated ({known.kind}) on {known.rows:,} rows ({known.fitted})."
        context["sections"] = {**context["sections"], "Stated probabilities": told}
    return context | (told_members(members, context, damage) if several else {})


def _parts(rows: AskedRows, by: str, output: Path) -> Parts | None:
    """By what the rows have in a column before any damage, None = not asked."""
    values = [carried(record, by) for record in rows.records] if by else ()
    return parts_by(by, values, output) if by else None


def _write_scored(member: Member, labels, output: Path, predictions, context) -> None:
    """The report, with `labels` also of leaves by the text of their label."""
    model, counts = member.model, read_train_counts(member.workdir)
    known = {"tree": model.tree, "train_counts": counts}
    if labels:
        known["more"], told = zero_shot_results(model, predictions, labels)
        sections = {**context["sections"], "Zero-shot": told}
        context = {**context, "sections": sections}
    known |= {"config": member.config, "context": context}
    write_results(output, predictions, **known)


def _answers(
    members: Sequence[Member], confidence: float | None, encode: Encoded
) -> Predictions:
    """Of a trained run, of a baseline where there is none, or of several as one."""
    (first, *others), groups = members, members[0].rows.groups
    options = {"groups": groups, "confidence": confidence}
    if others:
        return ensemble_predictions(members, told="products", **options)
    if first.run is None:
        answer = fitted_baseline(first.config, first.catalogue)
        return answer(first.records, groups, confidence)
    options |= {"encode": encode, "progress": "products"}
    return first.run.predict(first.records, **options)


def _damaged(
    members: Sequence[Member], corrupt: str, seed: int
) -> tuple[Sequence[Member], str]:
    """All with damaged records, and the damage in words, its strength written out."""
    if not corrupt:
        return members, ""
    told = "+".join(map(str, read_corruption(corrupt)))
    damage, pictures = f", {told} (seed {seed})", damages_pictures(corrupt)
    log.info("damaged first%s", damage)
    options = {"seed": seed, "groups": members[0].rows.groups}
    found = []
    for member in members:
        look = damage_look(member.config) if pictures else None
        records = corrupt_records(
            member.rows.records, corrupt, config_image=look, **options
        )
        found.append(member._replace(records=records))
    return found, damage


def _adapted(members: Sequence[Member], told: str, kind: str, encode: Encoded):
    """All moved to the statistics of the rows, and what is told of it besides."""
    if not kind:
        return members, told
    told += f", adapted to these rows ({kind})"
    return [adapted_member(member, kind, encode) for member in members], told


def write_unscored(
    output: Path, predictions: Predictions, reason: str, context: Mapping
) -> None:
    """The answers, and a report that says why there are no figures."""
    if jax.process_index():
        return
    write_predictions(predictions, output / "predictions.parquet")
    for name in FILES:  # of a labelled file that was scored here before
        if name != "predictions.parquet":
            (output / name).unlink(missing_ok=True)
    unknown = "no class, as none was trained, of"
    what = "the answers to" if answered(predictions) else unknown
    text = (
        f"# Report: {context['run']}\n\n{context['data']} has no labels ({reason}), so"
        f" nothing is scored. predictions.parquet has {what} its"
        f" {len(predictions):,} rows."
    )
    for title, body in context["sections"].items():
        text += f"\n\n## {title}\n\n{body}"
    write_atomically(output / "report.md", text + "\n")
    print(f"{text}\nall files: {output}")
