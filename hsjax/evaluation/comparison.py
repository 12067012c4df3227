"""Is one model better than another on the same rows? Paired bootstrap over groups.

Each side may be several runs that differ in their seed: means are compared, and the
spread over the seeds stands beside as an interval of its own.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.evaluation.common_levels import on_common_levels
from hsjax.evaluation.compared_sides import read_sides
from hsjax.evaluation.comparison_tables import (
    comparison_table,
    footnote,
    seeds_table,
    told_twins,
)
from hsjax.evaluation.intervals import Interval, bootstrap, seed_interval
from hsjax.evaluation.metrics import digit_aliases, labelled, statistic
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.rarity import common_counts
from hsjax.evaluation.row_order import align
from hsjax.spelling import meant

Runs = Predictions | Sequence[Predictions]  # one run, or one per seed

MAIN_METRICS = ("accuracy", "macro_f1", "macro_f1_min5", "weighted_f1")


def compare_runs(
    compared: Sequence[str],
    against: Sequence[str],
    output: Path,
    metrics: Sequence[str] = (),
    *,
    tree: Path | None = None,
) -> None:
    """Writes `comparison.md` and `.json`: each side over its seeds, and the difference.

    Args:
      compared: folders with predictions, one per seed.
      against: folders of the reference; none = only the means over the seeds.
      metrics: names as in report.json; none = those of the deepest level and hF1.
      tree: a taxonomy.json; both sides are compared in it, see `in_tree`.

    Raises:
      CatalogueError: the runs cover other rows, a metric is unknown, or a run has
        no answers.
    """
    sides, cut = on_common_levels(read_sides(compared, against, tree), metrics)
    runs = [run for side in sides.values() for run in side]
    names = list(metrics) or _main_metrics(runs[0])
    try:
        counts = common_counts([Path(x) for x in (*compared, *against)])
        seeds = {
            side: over_seeds(of, names, train_counts=counts)
            for side, of in sides.items()
        }
        text = seeds_table(seeds, {side: len(of) for side, of in sides.items()})
        document = {"compared": list(compared), "against": list(against)}
        document["seeds"] = {
            side: {name: interval._asdict() for name, interval in found.items()}
            for side, found in seeds.items()
        }
        if against:
            differences = paired_difference(*sides.values(), names, train_counts=counts)
            a, b = sides
            text += "\n\n" + comparison_table(differences, a=a, b=b)
            document |= {name: i._asdict() for name, i in differences.items()}
    except KeyError as error:
        raise CatalogueError(f"--metrics: {error.args[0]}") from None
    text += f"\n\n{cut}" * bool(cut) + told_twins(sides)
    sizes = _sizes(runs)
    text += "\n\n" + footnote(names, **sizes)
    document |= sizes
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "comparison.md", text + "\n")
    write_atomically(output / "comparison.json", json.dumps(document, indent=1) + "\n")
    print(text)


def _main_metrics(run: Predictions) -> list[str]:
    """Of the deepest level that has a row, which a tree's last ones may lack."""
    scored = (labelled(run).truth != "").any(axis=0)
    deepest = 1 + int(np.flatnonzero(scored).max())
    return [*(f"level{deepest}/{name}" for name in MAIN_METRICS), "hierarchical/f1"]


def _sizes(runs: Sequence[Predictions]) -> dict[str, list[int]]:
    """Labelled rows and their groups, of each run."""
    kept = [labelled(run) for run in runs]
    groups = [len(np.unique(run.group)) for run in kept]
    return {"rows": [len(run) for run in kept], "groups": groups}


def over_seeds(
    runs: Sequence[Predictions],
    names: Sequence[str],
    *,
    gallery_size: int = 1000,
    train_counts: Mapping[str, int] | None = None,
) -> Mapping[str, Interval]:
    """Each metric's mean over runs that differ in their seed: see `seed_interval`.

    Args:
      train_counts: node code -> training rows, the same in all runs.

    Raises:
      CatalogueError: the runs do not cover the same rows with the same labels.
      KeyError: no such metric.
    """
    values = []
    first, *others = map(labelled, runs)
    for run in (first, *(align(other, first) for other in others)):
        plain = {
            name: _unalias(name, digit_aliases(run.truth, run.separator))
            for name in names
        }
        options = {"gallery_size": gallery_size, "train_counts": train_counts}
        measure = statistic(run, names=set(plain.values()), **options)
        found = measure(np.ones((len(run.group), 1)))
        values.append({name: _of(found, key)[0] for name, key in plain.items()})
    return {name: seed_interval([v[name] for v in values]) for name in names}


def paired_difference(
    a: Runs,
    b: Runs,
    names: Sequence[str],
    *,
    count: int = 1000,
    gallery_size: int = 1000,
    seed: int = 0,
    train_counts: Mapping[str, int] | None = None,
) -> dict[str, Interval]:
    """Mean over the runs of `a` minus mean over those of `b`, with 95 % intervals.

    All runs are put into the row order of the first and see the same resamples of its
    groups, so what the rows have in common cancels. The interval speaks of the rows,
    not of the seeds: for those see `over_seeds`.

    Args:
      names: of metrics, as `score` gives them.
      train_counts: node code -> training rows, the same in all runs.

    Raises:
      CatalogueError: the runs do not cover the same rows with the same labels.
      KeyError: no such metric.
    """
    first, *others = [*_runs(a), *_runs(b)]
    split = len(_runs(a))
    first = labelled(first)
    runs = [first, *(align(labelled(run), first) for run in others)]
    aliases = digit_aliases(first.truth, first.separator)
    plain = {name: _unalias(name, aliases) for name in names}
    options = {"gallery_size": gallery_size, "seed": seed}
    options["train_counts"] = train_counts
    measures = [statistic(run, names=set(plain.values()), **options) for run in runs]

    def difference(weights):
        values = [measure(weights) for measure in measures]
        table = {n: [_of(found, key) for found in values] for n, key in plain.items()}
        return {
            name: np.mean(rows[:split], axis=0) - np.mean(rows[split:], axis=0)
            for name, rows in table.items()
        }

    return bootstrap(difference, first.group, count=count, seed=seed)


def measurable(
    run: Predictions,
    names: Sequence[str],
    *,
    train_counts: Mapping[str, int] | None = None,
) -> list[str]:
    """Those of the metrics that can be computed from these predictions."""
    run = labelled(run)
    aliases = digit_aliases(run.truth, run.separator)
    plain = {name: _unalias(name, aliases) for name in names}
    measure = statistic(run, names=set(plain.values()), train_counts=train_counts)
    found = measure(np.ones((len(run), 1)))
    # embeddings are not kept in files, so that retrieval is there but undefined
    return [n for n, k in plain.items() if k in found and np.isfinite(found[k]).all()]


def _runs(runs: Runs) -> list[Predictions]:
    return [runs] if isinstance(runs, Predictions) else list(runs)


def _of(found: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in found:
        told = f"not every run has the metric {name!r} in its answers."
        raise KeyError(told + meant(name, found))
    return found[name]


def _unalias(name: str, aliases: dict[str, str]) -> str:
    head, _, tail = name.partition("/")
    return f"{aliases.get(head, head)}/{tail}" if tail else name
