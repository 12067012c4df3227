"""Scores a trained run on a file, or answers one that has no labels."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from hsjax.data.corrupt import corrupt_records, read_corruption
from hsjax.data.damaged_pictures import damage_look, damages_pictures, reading
from hsjax.data.groups import content_hashes, group_keys
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.data.quarantine import written_if_refused
from hsjax.data.records import CatalogueError, Quarantine, Record
from hsjax.data.sources import SYNTHETIC
from hsjax.data.splits import PARTS
from hsjax.data.totals import record_facts
from hsjax.evaluation.metrics import answered
from hsjax.evaluation.predictions import Predictions, write_predictions
from hsjax.inference.label_texts import check_zero_shot, zero_shot_results
from hsjax.inference.predict import Run, load_run, run_config
from hsjax.inference.products import read_another
from hsjax.reports import catalogue_entries, fitted_baseline, write_results
from hsjax.train.kept import read_train_counts, read_train_rows
from hsjax.train.workdir import WorkdirError, check_rows

log = logging.getLogger("hsjax")


def evaluate_run(
    workdir: Path,
    output: Path,
    *,
    source: str | None,
    part: str,
    corrupt: str,
    seed: int,
    confidence: float | None = None,
    zero_shot: str = "",
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> None:
    """Scores a run on another file, or on a part of its own catalogue.

    Of another file every row with a label counts, repeated rows, too; a file without
    labels is answered, and not scored. A part of its own has the run's own rows. A
    baseline has no `confidence`. `features`: modality -> folder of stores that moved.

    Raises:
      CatalogueError: the part or the damage is unknown, the file cannot be read, or a
        feature store is gone or is another; zero-shot is asked of unlabelled rows.
      WorkdirError: the run's own catalogue has changed since.
    """
    config = run_config(workdir, features)
    _check_asked(config, output, source, corrupt, confidence)
    catalogue, flaws = None, output / "quarantine.csv"
    seen = reading(config) if damages_pictures(corrupt) else config
    if source is None or config.task == "baseline":
        catalogue = own_catalogue(seen, workdir, flaws)
    run = _loaded(config, workdir, zero_shot, features)
    model = run or catalogue
    rows = _asked_rows(seen, model, catalogue, source, part, flaws, zero_shot, workdir)
    records, damage = _damaged(rows, corrupt, seed, config)
    predictions = _answers(run, config, catalogue, records, rows.groups, confidence)
    context = {
        "run": workdir.name + damage,
        "data": source or config.data.path,
        "part": "all rows" if source else part,
        "step": run.step if run else None,
        "corrupt": corrupt,
        "seed": seed,
        **catalogue_entries(rows.facts, rows.quarantine),
    }
    output.mkdir(parents=True, exist_ok=True)
    rows.quarantine.write(flaws)
    if rows.unlabelled:
        _write_unscored(output, predictions, rows.unlabelled, context)
    else:
        asked = {"run": run, "config": config, "zero_shot": zero_shot}
        _write_scored(workdir, output, predictions, model.tree, context, **asked)


def _write_scored(
    workdir: Path, output: Path, predictions, tree, context, *, run, config, zero_shot
) -> None:
    """The report, with `zero_shot` also of leaves by the text of their label."""
    known = {"tree": tree, "train_counts": read_train_counts(workdir)}
    if zero_shot:
        known["more"], told = zero_shot_results(run, predictions, kind=zero_shot)
        context["sections"]["Zero-shot"] = told
    write_results(output, predictions, config=config, context=context, **known)


def _check_asked(
    config, output: Path, source: str | None, corrupt: str, confidence: float | None
) -> None:
    """CatalogueError: a word of the command is wrong, which costs no time to see."""
    if (output / "config.json").exists():
        raise CatalogueError(f"{output} is a workdir of a run; take another --output")
    if source not in (None, SYNTHETIC) and not Path(source).exists():
        raise CatalogueError(f"--input={source}: no such file")
    if corrupt:
        read_corruption(corrupt)
    answers = config.task == "baseline" or config.objective.classification
    if confidence is not None and not answers:
        raise CatalogueError(
            "--confidence: the run was trained without classification, so no class has"
            " a probability"
        )


def _loaded(config, workdir: Path, zero_shot: str, features) -> Run | None:
    """The trained run, None of a baseline; can it be asked for `zero_shot`?"""
    baseline = config.task == "baseline"
    run = None if baseline else load_run(workdir, features=features)
    check_zero_shot(run, zero_shot)
    return run


def _answers(
    run: Run | None, config, catalogue, records, groups, confidence
) -> Predictions:
    """Of a trained run, or of a baseline where there is none."""
    if run is None:
        return fitted_baseline(config, catalogue)(records, groups)
    return run.predict(
        records, groups=groups, confidence=confidence, progress="products"
    )


def _damaged(rows: "_Rows", corrupt: str, seed: int, config):
    """The damaged records, and the damage in words, its strength written out."""
    if not corrupt:
        return rows.records, ""
    told = "+".join(map(str, read_corruption(corrupt)))
    damage = f", {told} (seed {seed})"
    log.info("damaged first%s", damage)
    look = damage_look(config) if damages_pictures(corrupt) else None
    options = {"seed": seed, "groups": rows.groups, "config_image": look}
    return corrupt_records(rows.records, corrupt, **options), damage


def _write_unscored(
    output: Path, predictions: Predictions, reason: str, context: Mapping
) -> None:
    """The answers, and a report that says why there are no figures."""
    if jax.process_index():
        return
    write_predictions(predictions, output / "predictions.parquet")
    # of a labelled file that was scored here before
    (output / "report.json").unlink(missing_ok=True)
    unknown = "no class, as none was trained, of"
    what = "the answers to" if answered(predictions) else unknown
    text = (
        f"# Report: {context['run']}\n\n{context['data']} has no labels ({reason}), so"
        f" nothing is scored. predictions.parquet has {what} its"
        f" {len(predictions):,} rows."
    )
    for title, body in context["sections"].items():
        text += f"\n\n## {title}\n\n{body}"
    (output / "report.md").write_text(text + "\n")
    print(f"{text}\nall files: {output}")


def own_catalogue(config, workdir: Path, flaws: Path) -> Catalogue:
    """The catalogue of a run, with its tokenizer: nothing is trained to score it.

    Raises:
      CatalogueError: it cannot be read.
      WorkdirError: it has changed since.
    """
    tokenizer = workdir / "tokenizer.json"
    source = workdir if tokenizer.exists() else None
    catalogue = read_catalogue(config, source_run=source, flaws=flaws)
    try:
        check_rows(workdir, catalogue.manifest)
    except WorkdirError:
        raise WorkdirError(
            f"{config.data.path} has changed since {workdir} was trained on it: rows of"
            " its training part could be scored; bring the old file back, or name"
            " another with --input"
        ) from None
    return catalogue


class _Rows(NamedTuple):
    """What is to be answered, and what is known of it; see `Products.unlabelled`."""

    records: Sequence[Record]
    groups: np.ndarray
    quarantine: Quarantine
    facts: Mapping[str, int | float]
    unlabelled: str = ""


def _asked_rows(
    config, model, catalogue, source, part, flaws, zero_shot, workdir
) -> _Rows:
    """Of the run's own catalogue, or of another file; zero-shot wants labels."""
    if source is None:
        return _own_rows(config, catalogue, part)
    rows = _other_rows(config, model, source, flaws, workdir)
    if zero_shot and rows.unlabelled:
        raise CatalogueError(
            f"--zero_shot scores rows by their label, and {source} has none"
            f" ({rows.unlabelled}): leave it out, or name a labelled file"
        )
    return rows


def _own_rows(config, catalogue: Catalogue, part: str) -> _Rows:
    """A part of the run's own catalogue."""
    if part not in PARTS:
        raise CatalogueError(f"--part={part}: known are {', '.join(PARTS)}")
    rows = catalogue.rows(part)
    if not len(rows):
        raise CatalogueError(f"--part={part}: {config.data.path} has no such rows")
    records = [catalogue.records[i] for i in rows]
    return _Rows(
        records, catalogue.groups[rows], catalogue.quarantine, catalogue.facts()
    )


def _other_rows(config, model: Run | Catalogue, source, flaws, workdir) -> _Rows:
    """Another file; its flaws go to `flaws` where it is refused."""
    quarantine = Quarantine()
    with written_if_refused(quarantine, flaws):
        found = read_another(config, source, tree=model.tree, quarantine=quarantine)
    facts = record_facts(
        found.records,
        found.labels,
        found.outside,
        tree=model.tree,
        streams=config.data.text.streams.to_dict(),
        spec=model.spec,
        tokenizer=model.tokenizer,
        quarantine=quarantine,
    )
    seen = int(np.isin(content_hashes(found.records), read_train_rows(workdir)).sum())
    if seen:
        facts |= {"rows of the run's training part": seen}
        quarantine.warn(
            f"{seen:,} of {len(found.records):,} rows were in the training part of"
            f" {workdir}: figures over them flatter it"
        )
    groups = group_keys(found.records)
    return _Rows(found.records, groups, quarantine, facts, found.unlabelled)
