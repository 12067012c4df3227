"""Rows against their reference rows under each damage: over products and over seeds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hsjax.evaluation.intervals import (
    MIN_RUNS,
    Interval,
    Statistic,
    bootstrap,
    seed_interval,
    verdict,
)
from hsjax.evaluation.measures import share
from hsjax.evaluation.robust_cells import Cell, Facts

Key = tuple[str, str, str]  # row, condition, metric


class Difference(NamedTuple):
    """A row minus its reference row, over the seeds that both have.

    Attributes:
      pairs: how many these are.
      seeds: with Student's t over the pairs, so that what a seed does to both sides
        cancels; see `seed_interval` for fewer than 3.
      products: with the 95 % interval over resampled groups of products; None where the
        metric is no share of the rows.
    """

    pairs: int
    seeds: Interval
    products: Interval | None

    @property
    def verdict(self) -> str:
        """See `intervals.verdict`."""
        judged = self.seeds if self.pairs >= MIN_RUNS else None
        return verdict(self.products, judged)


def differences(
    cells: Sequence[Cell], facts: Facts, *, count: int = 1000
) -> dict[Key, Difference]:
    """Of every row with a reference, condition and metric.

    Args:
      count: resamples of groups of products.
    """
    of: dict[str, dict[str, dict[int, Cell]]] = {}  # condition -> row -> seed -> cell
    for cell in cells:
        of.setdefault(cell.condition, {}).setdefault(cell.row, {})[cell.seed] = cell
    found: dict[Key, Difference] = {}
    for condition, rows in of.items():
        pairs = {}
        for row, reference in facts.references.items():
            if row != reference and row in rows and reference in rows:
                both = [seed for seed in rows[row] if seed in rows[reference]]
                pairs[row] = [(rows[row][s], rows[reference][s]) for s in both]
        over_products = _over_products(pairs, facts, count)
        for row, sides in pairs.items():
            for metric in sides[0][0].metrics if sides else ():
                values = [a.metrics[metric] - b.metrics[metric] for a, b in sides]
                found[row, condition, metric] = Difference(
                    len(sides), seed_interval(values), over_products.get((row, metric))
                )
    return found


def _over_products(
    pairs: Mapping[str, Sequence[tuple[Cell, Cell]]], facts: Facts, count: int
) -> dict[tuple[str, str], Interval]:
    """(row, metric) -> its difference; rows of the same products share resamples."""
    found = {}
    rows = [row for row, sides in pairs.items() if sides and row in facts.groups]
    for asked in dict.fromkeys(facts.asked[row] for row in rows):
        alike = [row for row in rows if facts.asked[row] == asked]
        keys = [(row, metric) for row in alike for metric in pairs[row][0][0].counts]
        statistic = _statistic(pairs, keys)
        intervals = bootstrap(statistic, facts.groups[alike[0]], count=count, moved="")
        found |= dict(zip(keys, intervals.values(), strict=True))
    return found


def _statistic(
    pairs: Mapping[str, Sequence[tuple[Cell, Cell]]], keys: Sequence[tuple[str, str]]
) -> Statistic:
    """Of each key the mean over the pairs of one side minus the other."""
    counts = {}  # (pairs, 2 sides, 2, N)
    for row, metric in keys:
        sides = [[cell.counts[metric] for cell in cells] for cells in pairs[row]]
        counts[f"{row} {metric}"] = np.array(sides, np.float64)

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        for name, x in counts.items():
            shares = share(x[:, :, 0] @ weights, x[:, :, 1] @ weights)
            found[name] = (shares[:, 0] - shares[:, 1]).mean(axis=0)
        return found

    return measure
