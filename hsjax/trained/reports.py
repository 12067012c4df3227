"""From predictions to the files that people look at, for runs and comparisons."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax

from hsjax.baselines.fitting import baseline_predictions, fit_baseline
from hsjax.baselines.text import TextBaseline
from hsjax.data.columns import model_columns
from hsjax.data.prepare import Catalogue
from hsjax.data.records import Quarantine, Record
from hsjax.data.sources import SYNTHETIC
from hsjax.data.stored_records import labels_of, selected
from hsjax.evaluation.markdown import table
from hsjax.evaluation.metrics import score
from hsjax.evaluation.plots import plot_confusion, plot_curves, plot_reliability
from hsjax.evaluation.predictions import Predictions, write_predictions
from hsjax.evaluation.tables import write_report
from hsjax.features.stored_vectors import StoredVectors
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import config_hash, gives_classes
from hsjax.train.environment import environment
from hsjax.train.watch import read_metrics

# metrics that say something of a model whose head is not trained
CLASSLESS = ("count/", "labels/", "retrieval/", "zero_shot/")


def write_results(
    directory: Path,
    predictions: Predictions,
    *,
    config,
    tree: Taxonomy,
    context: Mapping,
    train_counts: Mapping[str, int] | None = None,
    more: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """report.md, report.json, predictions.parquet and plots, by one process.

    Args:
      more: metrics beside those of `score`.
    """
    if jax.process_index():
        return
    directory.mkdir(parents=True, exist_ok=True)
    metrics = score(
        predictions,
        bootstrap=config.eval.bootstrap,
        gallery_size=config.eval.gallery_size,
        train_counts=train_counts,
    )
    metrics |= more
    classified = gives_classes(config)
    if not classified:  # the head is as it started
        metrics = {k: v for k, v in metrics.items() if k.startswith(CLASSLESS)}
    write_predictions(predictions, directory / "predictions.parquet")
    rows = read_metrics(directory / "metrics.jsonl")
    if any("val/loss" in row for row in rows):
        plot_curves(rows, directory / "curves.png", best_step=context.get("step"))
    if classified:
        plot_reliability(predictions, directory / "reliability.png")
        plot_confusion(predictions, directory / "confusion.png")
    context = {
        "classified": classified,
        "taxonomy": f"{tree.edition} {tree!r}".strip(),
        "config_hash": config_hash(config),
        "environment": environment(),
        "names": code_names(tree),
        **told_labels(config, context.get("data", "")),
        **context,
    }
    write_report(directory, predictions, metrics, context=context)
    print((directory / "report.md").read_text())
    print(f"all files: {directory}")


def told_labels(config, data: Path | str) -> dict[str, str]:
    """Where the labels of the scored rows are from, {} where nobody said.

    Those of another file may be better than the ones that a run has learnt from, and
    nothing is said of them.
    """
    source = " ".join(config.data.label_source.split())
    own = str(data) == str(config.data.path)
    return {"label_source" if own else "train_label_source": source} if source else {}


def code_names(tree: Taxonomy) -> dict[str, str]:
    """Code -> name, for reports; path codes speak for themselves."""
    if tree.separator:
        return {}
    levels = zip(tree.codes, tree.names, strict=True)
    pairs = (pair for codes, names in levels for pair in zip(codes, names, strict=True))
    return {str(code): str(name) for code, name in pairs}


def node_counts(records: Sequence[Record]) -> dict[str, int]:
    """Node code -> training rows whose label passes through it."""
    counts: dict[str, int] = {}
    for path, *_ in labels_of(records):
        for code in path:
            counts[code] = counts.get(code, 0) + 1
    return counts


def catalogue_context(config, catalogue: Catalogue) -> dict:
    """What the report says of the data."""
    context = {
        "data": config.data.path,
        "part": "+".join(config.eval.parts),
        "rare_leaves_cut": dict(catalogue.cut),
        "manifest": catalogue.manifest,
        **catalogue_entries(catalogue.facts(), catalogue.quarantine),
    }
    if config.data.path == SYNTHETIC:
        from hsjax.data.synthetic import bayes_accuracy

        bayes = bayes_accuracy(config.data)
        levels = list(next(iter(bayes.values())))
        rows = [[k, *(f"{100 * v[x]:.1f}" for x in levels)] for k, v in bayes.items()]
        context["bayes_accuracy"] = bayes
        title = "Bayes-optimal accuracy (exact, synthetic data)"
        context["sections"][title] = table(["what is seen", *levels], rows)
    return context


def catalogue_entries(facts: Mapping[str, int | float], quarantine: Quarantine) -> dict:
    """The entries of a report's context about the rows that were read."""
    counts = table(["", ""], [[name, value] for name, value in facts.items()])
    return {
        "quarantine": quarantine.counts(),
        "catalogue": facts,
        "sections": {"Catalogue": "\n\n".join([counts, *quarantine.warnings])},
    }


def fitted_baseline(config, catalogue: Catalogue) -> Callable[..., Predictions]:
    """A baseline fitted on the training part: `answer(records, groups, confidence)`.

    It takes seconds, so that no model is stored.
    """
    model = trained_baseline(config, catalogue)
    of = {"columns": model_columns(config), "tree": catalogue.tree}
    of["topk"] = config.eval.topk
    return lambda records, groups, confidence=None: baseline_predictions(
        model, records, groups=groups, confidence=confidence, **of
    )


def trained_baseline(config, catalogue: Catalogue, **changes) -> TextBaseline:
    """The baseline of a config, some keys changed, fitted on the training part.

    Raises:
      CatalogueError: there is nothing to learn from, or no store of `features`.
    """
    rows, options = catalogue.rows("train"), {**config.baseline, **changes}
    folder, limit = options.pop("features"), config.data.image.max_pixels
    return fit_baseline(
        selected(catalogue.records, rows),
        columns=model_columns(config),
        tree=catalogue.tree,
        groups=catalogue.groups[rows],
        seed=config.seed,
        vectors=StoredVectors(folder, max_pixels=limit) if folder else None,
        **options,
    )
