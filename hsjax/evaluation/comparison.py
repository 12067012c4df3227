"""Is one model better than another on the same rows? Paired bootstrap over groups."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.intervals import Interval, bootstrap
from hsjax.evaluation.metrics import digit_aliases, labelled, statistic
from hsjax.evaluation.predictions import Predictions

Runs = Predictions | Sequence[Predictions]  # one run, or one per seed


def paired_difference(
    a: Runs,
    b: Runs,
    names: Sequence[str],
    *,
    by: str = "row",
    count: int = 1000,
    gallery_size: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Mean over the runs of `a` minus mean over those of `b`, with 95 % intervals.

    All runs are put into the row order of the first and see the same resamples of its
    groups, so what the rows have in common cancels. The interval speaks of the rows,
    not of the seeds: for those see `seed_interval`.

    Args:
      names: of metrics, as `score` gives them.
      by: column that joins the rows: `row` or `id`.

    Raises:
      CatalogueError: the runs do not cover the same rows with the same labels.
      KeyError: no such metric.
    """
    first, *others = [*_runs(a), *_runs(b)]
    split = len(_runs(a))
    first = labelled(first)
    runs = [first, *(align(labelled(run), first, by=by) for run in others)]
    aliases = digit_aliases(first)
    plain = {name: _unalias(name, aliases) for name in names}
    options = {"gallery_size": gallery_size, "seed": seed}
    measures = [statistic(run, names=set(plain.values()), **options) for run in runs]

    def difference(weights):
        values = [measure(weights) for measure in measures]
        for name in plain.values():
            if any(name not in found for found in values):
                raise KeyError(f"not every run has the metric {name!r}")
        table = {name: [found[key] for found in values] for name, key in plain.items()}
        return {
            name: np.mean(rows[:split], axis=0) - np.mean(rows[split:], axis=0)
            for name, rows in table.items()
        }

    return bootstrap(difference, first.group, count=count, seed=seed)


def align(run: Predictions, reference: Predictions, *, by: str = "row") -> Predictions:
    """`run` in the row order of `reference`, with its groups.

    Raises:
      CatalogueError: other rows, or other labels on the same rows.
    """
    wanted, given = getattr(reference, by).tolist(), getattr(run, by).tolist()
    where = {key: index for index, key in enumerate(given)}
    if len(where) < len(given):
        raise CatalogueError(
            f"the same {by} occurs twice in one run: join by another column"
        )
    missing, extra = set(wanted) - where.keys(), where.keys() - set(wanted)
    if missing or extra:
        example = min(missing or extra)
        raise CatalogueError(
            f"the runs cover different rows: {len(missing)} are only in the first,"
            f" {len(extra)} only in the other (for example {by} {example});"
            " score both on the same file and part"
        )
    aligned = run.select(np.array([where[key] for key in wanted], np.int64))
    same_shape = aligned.truth.shape == reference.truth.shape
    differ = same_shape and (aligned.truth != reference.truth).any(axis=1)
    if not same_shape or differ.any():
        example = (
            f" (first at {by} {wanted[int(np.argmax(differ))]})" if same_shape else ""
        )
        raise CatalogueError(
            f"the runs have different labels on the same rows{example}"
        )
    return replace(aligned, group=reference.group)


def _runs(runs: Runs) -> list[Predictions]:
    return [runs] if isinstance(runs, Predictions) else list(runs)


def _unalias(name: str, aliases: dict[str, str]) -> str:
    head, _, tail = name.partition("/")
    return f"{aliases.get(head, head)}/{tail}"
