"""From predictions to the files that people look at, for runs and comparisons."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from hsjax.baselines import svm_predictions
from hsjax.data.columns import columns_for
from hsjax.data.corrupt import corrupt_records
from hsjax.data.groups import group_keys
from hsjax.data.prepare import Catalogue, label_nodes, read_catalogue
from hsjax.data.records import CatalogueError, Quarantine, Record, load_records
from hsjax.data.splits import PARTS
from hsjax.data.tree_labels import fit_labels
from hsjax.evaluation.markdown import table
from hsjax.evaluation.metrics import score
from hsjax.evaluation.plots import plot_confusion, plot_curves, plot_reliability
from hsjax.evaluation.predictions import Predictions, write_predictions
from hsjax.evaluation.tables import write_report
from hsjax.inference.predict import load_run
from hsjax.taxonomy import Taxonomy
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import config_hash, environment, read_config


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
    facts = catalogue.facts()
    context = {
        "data": config.data.path,
        "part": "+".join(config.eval.parts),
        "quarantine": catalogue.quarantine.counts(),
        "rare_leaves_cut": dict(catalogue.cut),
        "manifest": catalogue.manifest,
        "catalogue": facts,
        "sections": {"Catalogue": table(["", ""], [[k, facts[k]] for k in facts])},
    }
    if config.data.path == "synthetic":
        from hsjax.data.synthetic import bayes_accuracy

        bayes = bayes_accuracy(config.data)
        levels = list(next(iter(bayes.values())))
        rows = [[k, *(f"{100 * v[x]:.1f}" for x in levels)] for k, v in bayes.items()]
        context["bayes_accuracy"] = bayes
        title = "Bayes-optimal accuracy (exact, synthetic data)"
        context["sections"][title] = table(["what is seen", *levels], rows)
    return context


def evaluate_run(
    workdir: Path,
    output: Path,
    *,
    source: str | None,
    part: str,
    corrupt: str,
    seed: int,
    confidence: float | None = None,
) -> None:
    """Scores a run on another file, or on a part of its own catalogue.

    Of another file every row with a label counts, repeated rows, too. A part of its own
    has the rows that the run itself was scored on, so that both can be compared.
    `confidence`: see `Run.predict`; a baseline has none.

    Raises:
      CatalogueError: the part or the damage is unknown, or the file cannot be read.
    """
    config = read_config(workdir)
    if (output / "config.json").exists():
        raise CatalogueError(f"{output} is a workdir of a run; take another --output")
    catalogue = None
    if source is None or config.task == "baseline":
        catalogue = read_catalogue(config, source_run=_tokenizer_run(workdir))
    run = None if config.task == "baseline" else load_run(workdir)
    tree = run.tree if run else catalogue.tree
    records, groups, quarantine = _to_be_scored(config, catalogue, tree, source, part)
    if corrupt:
        records = corrupt_records(records, corrupt, seed=seed)
    if run:
        predictions = run.predict(
            records, groups=groups, confidence=confidence, progress="products"
        )
    else:
        predictions = baseline_predictions(config, catalogue, records, groups)
    output.mkdir(parents=True, exist_ok=True)
    quarantine.write(output / "quarantine.csv")
    context = {
        "run": f"{workdir.name}" + (f", {corrupt} (seed {seed})" if corrupt else ""),
        "data": source or config.data.path,
        "part": "all rows" if source else part,
        "step": run.step if run else None,
        "quarantine": quarantine.counts(),
        "corrupt": corrupt,
        "seed": seed,
    }
    write_results(output, predictions, config=config, tree=tree, context=context)


def _to_be_scored(
    config,
    catalogue: Catalogue | None,
    tree: Taxonomy,
    source: str | None,
    part: str,
) -> tuple[Sequence[Record], np.ndarray, Quarantine]:
    """(records, groups, quarantine) of another file, or of a part of the run's own."""
    if source is not None:
        quarantine = Quarantine()
        records = read_labelled(config, source, tree=tree, quarantine=quarantine)
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


def read_labelled(
    config, source: str, *, tree: Taxonomy, quarantine: Quarantine
) -> list[Record]:
    """Every labelled row of another file with the columns of a run.

    Repeated rows stay. Columns of ids, pictures, groups and splits may be missing.

    Raises:
      CatalogueError: an unreadable file, a missing column, no row with a label.
    """
    records = load_records(
        columns_for(config.data, source, quarantine),
        quarantine=quarantine,
        digits=tuple(config.taxonomy.digits),
        nodes=label_nodes(config),
    )
    fitted, _, _ = fit_labels(
        records, tree, config=config, quarantine=quarantine, file=source
    )
    return fitted


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
