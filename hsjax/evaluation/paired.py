"""Metrics over runs, and their differences paired by product or by run."""

from collections.abc import Mapping, Sequence

import numpy as np

from hsjax.evaluation.intervals import MIN_RUNS, Interval, bootstrap, seed_interval
from hsjax.evaluation.metrics import digit_aliases, labelled, statistic
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.row_order import align
from hsjax.spelling import meant

Runs = Predictions | Sequence[Predictions]  # one run, or one per seed


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
    first, *others = map(labelled, runs)
    options = {"gallery_size": gallery_size, "train_counts": train_counts}
    aligned = (first, *(align(other, first) for other in others))
    values = [measured(run, names, **options) for run in aligned]
    return {name: seed_interval([v[name] for v in values]) for name in names}


def paired_over_seeds(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    names: Sequence[str],
    *,
    train_counts: Mapping[str, int] | None = None,
) -> dict[str, Interval]:
    """Each metric's mean difference of two answers of one run, {} below 3 runs.

    What the seed gave both cancels, so the 95 % t-interval is that of the differences.

    Args:
      a, b: run by run.
      train_counts: see `over_seeds`.
    """
    if len(a) < MIN_RUNS:
        return {}
    both = [
        [measured(run, names, train_counts=train_counts) for run in side]
        for side in (a, b)
    ]
    return {
        name: seed_interval([x[name] - y[name] for x, y in zip(*both, strict=True)])
        for name in names
    }


def measured(
    run: Predictions, names: Sequence[str], **options: object
) -> dict[str, float]:
    """The metrics of a run, from its predictions.

    Args:
      options: of `statistic`.

    Raises:
      KeyError: no such metric.
    """
    plain, found = _once(run, names, options)
    return {name: float(_of(found, key)[0]) for name, key in plain.items()}


def known_values(
    run: Predictions, names: Sequence[str], **options: object
) -> dict[str, float]:
    """Those of `measured` that can be computed from these predictions."""
    plain, found = _once(run, names, options)
    # embeddings are not kept in files, so that retrieval is there but undefined
    known = [n for n, k in plain.items() if k in found and np.isfinite(found[k]).all()]
    return {name: float(found[plain[name]][0]) for name in known}


def _once(
    run: Predictions, names: Sequence[str], options: Mapping
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """({name: how `statistic` has it}, its values on the labelled rows as they are)."""
    run = labelled(run)
    plain = _plain(names, run)
    measure = statistic(run, names=set(plain.values()), **options)
    return plain, measure(np.ones((len(run), 1)))


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
    plain = _plain(names, first)
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

    return bootstrap(difference, first.group, count=count, seed=seed, moved="")


def _runs(runs: Runs) -> list[Predictions]:
    return [runs] if isinstance(runs, Predictions) else list(runs)


def _of(found: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in found:
        told = f"not every run has the metric {name!r} in its answers."
        raise KeyError(told + meant(name, found))
    return found[name]


def _plain(names: Sequence[str], run: Predictions) -> dict[str, str]:
    """{name: how `statistic` has it}: `digits6/x` is `level3/x`."""
    aliases = digit_aliases(run.truth, run.separator)
    parts = ((name, *name.partition("/")) for name in names)
    return {name: aliases.get(x, x) + mark + tail for name, x, mark, tail in parts}
