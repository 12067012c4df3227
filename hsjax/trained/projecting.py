"""A run's answers to a catalogue, told and scored in another edition."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from hsjax.baselines.fitting import answer_table, path_predictions
from hsjax.data.correlation_tables import read_correlation
from hsjax.data.prepare import label_nodes
from hsjax.data.quarantine import CatalogueError
from hsjax.evaluation.markdown import table
from hsjax.features.live import Encoded
from hsjax.hierarchy import leaf_paths
from hsjax.inference.predict import Run, load_run
from hsjax.inference.projection import Projection
from hsjax.progress import progress
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import gives_classes
from hsjax.trained.asked_rows import FLAWS, other_rows
from hsjax.trained.experts import LOG_PROBS, trained_expert
from hsjax.trained.reports import catalogue_entries, write_results
from hsjax.trained.scoring import write_unscored

ABOUT = (
    "Answered by a run of another edition: the probability of each of its leaves is"
    " shared among what the code corresponds to."
)


def project_run(
    workdir: Path,
    output: Path,
    *,
    source: str,
    taxonomy: Path,
    correlation: Sequence[str],
    label: Sequence[str] = (),
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> None:
    """Answers every row of a file in another edition, and scores those with a label.

    A label without an edition of its own is of the edition that is answered; one of
    another edition is scored as far as the tables say what it became.

    Args:
      source: catalogue file; taxonomy: of the other edition; label: columns that hold
        labels of the edition that is answered, () = the run's; features: see
        `load_run`.

    Raises:
      CatalogueError, TaxonomyError: tables that do not lead from the run's tree to the
        other, or a file that cannot be read.
      WorkdirError: no workdir of a run.
    """
    if (output / "config.json").exists():
        raise CatalogueError(f"{output} is a workdir of a run; take another --output")
    run, target = load_run(workdir, features=features), Taxonomy.load(taxonomy)
    if not gives_classes(run.config):
        raise CatalogueError(f"{workdir} was trained without classification")
    config = _reading(run.config, correlation, label)
    nodes = label_nodes(config, target)
    options = {"nodes": nodes, "partial": () if config.taxonomy.path else (run.tree,)}
    tables = read_correlation(correlation, [run.tree, target], **options)
    projection = Projection(tables, run.tree, target)
    places = {"flaws": output / FLAWS, "workdir": workdir}
    rows = other_rows(config, run._replace(tree=target), source, **places)
    rows.write_flaws(output)
    predictions = projected(run, rows.records, projection, groups=rows.groups)
    context = {
        "run": f"{workdir.name}, in another edition",
        "data": source,
        "part": "all rows",
        "step": run.step,
        **catalogue_entries(rows.facts, rows.quarantine),
    }
    context["sections"] |= {"Editions": _told(projection, tables)}
    if rows.unlabelled:
        return write_unscored(output, predictions, rows.unlabelled, context)
    write_results(output, predictions, config=config, tree=target, context=context)


def _reading(config, correlation: Sequence[str], label: Sequence[str]):
    """The run's config, by which the rows are read."""
    config = config.copy_and_resolve_references().unlock()
    config.taxonomy.correlation = tuple(correlation)
    if label:
        config.data.columns.label, config.data.label_map = tuple(label), ""
        config.data.columns.edition = ""  # that of the run's own labels
    return config.lock()


def projected(run: Run, records: Sequence, projection: Projection, *, groups):
    """`Predictions` in the projection's target; one batch of leaves at a time."""
    target, present = projection.target, []

    def moved() -> Iterator[Float[np.ndarray, "_ D"]]:
        batches = trained_expert(run, records, groups=groups, encode=Encoded())
        with progress(None, "products", total=len(records), unit="products") as bar:
            for batch in batches:
                probs = np.exp(batch.pop(LOG_PROBS))
                probs /= probs.sum(axis=1, keepdims=True)  # as float32 had it
                present.append(batch)
                # a leaf that nothing leads to has no chance, and needs a logarithm
                tiny = np.finfo(np.float64).tiny
                yield np.log(np.maximum(projection.project(probs), tiny))
                bar.update(len(probs))

    settings = {"depth": target.num_levels, "topk": run.config.eval.topk}
    leaves = [target.decode(ids) for ids in leaf_paths(target)]
    answers = answer_table(leaves, moved(), decode="path", **settings)
    here = {k: np.concatenate([x[k] for x in present]) for k in present[0]}
    return path_predictions(records, target, answers, groups=groups, present=here)


def _told(projection: Projection, tables) -> str:
    source, target = projection.source, projection.target
    named = tables.named(of=source.edition, into=target.edition)
    among = np.diff(projection.matrix.indptr)
    rows = [
        ["of", f"{source.edition} {source!r}"],
        ["into", f"{target.edition} {target!r}"],
        ["codes that the tables name", len(named)],
        ["leaves that were divided", int((among > 1).sum())],
        ["sources", "; ".join(tables.sources)],
    ]
    return f"{ABOUT}\n\n{table(['', ''], rows)}"
