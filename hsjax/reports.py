"""From predictions to the files that people look at, for runs and comparisons."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from hsjax.baselines import svm_predictions
from hsjax.data.corrupt import corrupt_records
from hsjax.data.prepare import Catalogue, label_nodes, read_catalogue
from hsjax.data.records import CatalogueError, Quarantine, Record, load_records
from hsjax.data.sources import column_names
from hsjax.data.splits import PARTS, group_keys
from hsjax.evaluation.comparison import paired_difference
from hsjax.evaluation.markdown import table
from hsjax.evaluation.metrics import score
from hsjax.evaluation.plots import plot_confusion, plot_curves, plot_reliability
from hsjax.evaluation.predictions import (
    Predictions,
    read_predictions,
    write_predictions,
)
from hsjax.evaluation.tables import comparison_table, write_report
from hsjax.inference.predict import load_run
from hsjax.taxonomy import Taxonomy
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import config_hash, environment, read_config

MAIN_METRICS = ("accuracy", "macro_f1", "macro_f1_min5", "weighted_f1")


def write_results(
    directory: Path,
    predictions: Predictions,
    *,
    config,
    tree: Taxonomy,
    context: Mapping,
    train_counts: Mapping[str, int] | None = None,
) -> None:
    """report.md, report.json, predictions.parquet and plots, by one process."""
    if jax.process_index():
        return
    directory.mkdir(parents=True, exist_ok=True)
    metrics = score(
        predictions,
        bootstrap=config.eval.bootstrap,
        gallery_size=config.eval.gallery_size,
        train_counts=train_counts,
    )
    write_predictions(predictions, directory / "predictions.parquet")
    rows = read_metrics(directory / "metrics.jsonl")
    if any("val/loss" in row for row in rows):
        plot_curves(rows, directory / "curves.png", best_step=context.get("step"))
    plot_reliability(predictions, directory / "reliability.png")
    plot_confusion(predictions, directory / "confusion.png")
    context = {
        "taxonomy": f"{tree.edition} {tree!r}".strip(),
        "config_hash": config_hash(config),
        "environment": environment(),
        "names": code_names(tree),
        **context,
    }
    write_report(directory, predictions, metrics, context=context)
    print((directory / "report.md").read_text())
    print(f"all files: {directory}")


def code_names(tree: Taxonomy) -> dict[str, str]:
    """Code -> name, for reports; path codes speak for themselves."""
    if tree.separator:
        return {}
    levels = zip(tree.codes, tree.names, strict=True)
    pairs = (pair for codes, names in levels for pair in zip(codes, names, strict=True))
    return {str(code): str(name) for code, name in pairs}


def leaf_counts(records: Sequence[Record]) -> dict[str, int]:
    """Node code -> training rows whose label passes through it."""
    counts: dict[str, int] = {}
    for record in records:
        for code in record.path:
            counts[code] = counts.get(code, 0) + 1
    return counts


def catalogue_context(config, catalogue: Catalogue) -> dict:
    """What the report says of the data."""
    context = {
        "data": config.data.path,
        "part": "+".join(config.eval.parts),
        "quarantine": catalogue.quarantine.counts(),
        "rare_leaves_cut": dict(catalogue.cut),
        "manifest": catalogue.manifest,
    }
    if config.data.path == "synthetic":
        from hsjax.data.synthetic import bayes_accuracy

        bayes = bayes_accuracy(config.data)
        levels = list(next(iter(bayes.values())))
        rows = [[k, *(f"{100 * v[x]:.1f}" for x in levels)] for k, v in bayes.items()]
        context["bayes_accuracy"] = bayes
        context["sections"] = {
            "Bayes-optimal accuracy (exact, synthetic data)": table(
                ["what is seen", *levels], rows
            )
        }
    return context


def evaluate_run(
    workdir: Path,
    output: Path,
    *,
    source: str | None,
    part: str,
    corrupt: str,
    seed: int,
) -> None:
    """Scores a run on another file, or on a part of its own catalogue.

    Raises:
      CatalogueError: the part or the damage is unknown, or the file cannot be read.
    """
    config = read_config(workdir)
    if (output / "config.json").exists():
        raise CatalogueError(f"{output} is a workdir of a run; take another --output")
    catalogue = None
    if source is None or config.task == "baseline":
        catalogue = read_catalogue(config, source_run=_tokenizer_run(workdir))
    records, groups, quarantine = _to_be_scored(config, catalogue, source, part)
    if corrupt:
        records = corrupt_records(records, corrupt, seed=seed)
    if config.task == "baseline":
        predictions = baseline_predictions(config, catalogue, records, groups)
        tree, step = catalogue.tree, None
    else:
        run = load_run(workdir)
        predictions = run.predict(records, groups=groups, progress="products")
        tree, step = run.tree, run.step
    output.mkdir(parents=True, exist_ok=True)
    quarantine.write(output / "quarantine.csv")
    context = {
        "run": f"{workdir.name}" + (f", {corrupt} (seed {seed})" if corrupt else ""),
        "data": source or config.data.path,
        "part": "all rows" if source else part,
        "step": step,
        "quarantine": quarantine.counts(),
        "corrupt": corrupt,
        "seed": seed,
    }
    write_results(output, predictions, config=config, tree=tree, context=context)


def _to_be_scored(config, catalogue: Catalogue | None, source: str | None, part: str):
    """(records, groups, quarantine) of another file, or of a part of the run's own."""
    if source is not None:
        quarantine = Quarantine()
        records = read_labelled(config, source, quarantine)
        return records, group_keys(records), quarantine
    if part not in PARTS:
        raise CatalogueError(f"--part={part}: known are {', '.join(PARTS)}")
    rows = catalogue.rows(part)
    if not len(rows):
        raise CatalogueError(f"--part={part}: {config.data.path} has no such rows")
    records = [catalogue.records[i] for i in rows]
    return records, catalogue.groups[rows], catalogue.quarantine


def _tokenizer_run(workdir: Path) -> Path | None:
    """The run's own tokenizer, so that nothing is trained to score it."""
    return workdir if (workdir / "tokenizer.json").exists() else None


def read_labelled(config, source: str, quarantine: Quarantine) -> list[Record]:
    """Every labelled row of another file with the columns of a run.

    Columns that only matter for splits may be missing.
    """
    data = config.data.copy_and_resolve_references().unlock()
    data.path, data.rows, data.required = source, None, ()
    if source != "synthetic":
        present = column_names(source)
        for key in ("group", "platform", "date", "split"):
            if data.columns[key] not in present:
                data.columns[key] = ""
        data.columns.metadata = tuple(c for c in data.columns.metadata if c in present)
    data.split.by = "group"
    return load_records(
        data,
        quarantine=quarantine,
        digits=tuple(config.taxonomy.digits),
        nodes=label_nodes(config),
    )


def baseline_predictions(config, catalogue: Catalogue, records, groups) -> Predictions:
    """B1 fitted on the training part; it takes seconds, so that no model is stored."""
    streams = [s for s in config.model.modalities if s in config.data.text.streams]
    columns = [c for s in streams for c in config.data.text.streams[s]]
    rows = catalogue.rows("train")
    return svm_predictions(
        [catalogue.records[i] for i in rows],
        records,
        columns=tuple(dict.fromkeys(columns)),
        tree=catalogue.tree,
        groups=groups,
        train_groups=catalogue.groups[rows],
        topk=config.eval.topk,
        seed=config.seed,
    )


def compare_runs(
    compared: Sequence[str],
    against: Sequence[str],
    output: Path,
    metrics: Sequence[str],
) -> None:
    """Mean over some runs minus mean over others, on the same rows, with intervals.

    Raises:
      CatalogueError: nothing to compare with, or other rows.
    """
    if not against:
        raise CatalogueError("--compare needs --against: the folders of the reference")
    runs, references = (
        [read_predictions(Path(d) / "predictions.parquet") for d in dirs]
        for dirs in (compared, against)
    )
    deepest = f"level{runs[0].num_levels}"
    names = list(metrics) or [
        *(f"{deepest}/{name}" for name in MAIN_METRICS),
        "hierarchical/f1",
    ]
    try:
        differences = paired_difference(runs, references, names)
    except KeyError as error:
        raise CatalogueError(f"--metrics: {error.args[0]}") from None
    a, b = (" + ".join(Path(d).name for d in dirs) for dirs in (compared, against))
    text = comparison_table(differences, a=a, b=b)
    output.mkdir(parents=True, exist_ok=True)
    (output / "comparison.md").write_text(text + "\n")
    document = {name: interval._asdict() for name, interval in differences.items()}
    document = {"compared": list(compared), "against": list(against), **document}
    (output / "comparison.json").write_text(json.dumps(document, indent=1) + "\n")
    print(text)
