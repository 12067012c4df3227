"""Figures of a clustering by its counts alone, and what chance would make of them.

A table has a row for each class and a column for each cluster; figures of an empty one
are nan.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Integer
from scipy.optimize import linear_sum_assignment

DRAWS = 100  # random partitions that chance is the mean of
Counts = Integer[np.ndarray, "C K"]


def purity(table: Counts) -> float:
    """The share of rows whose class is the commonest of their cluster."""
    return float(table.max(axis=0).sum() / table.sum()) if table.size else np.nan


def majority_share(table: Counts) -> float:
    """The purity of one cluster."""
    return float(table.sum(axis=1).max() / table.sum()) if table.size else np.nan


def nmi(table: Counts) -> float:
    """2 I(class; cluster) / (H(class) + H(cluster)); 1 of one class in one cluster."""
    if not table.size:
        return np.nan
    joint = table / table.sum()
    sides = _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0))
    return 2 * (sides - _entropy(joint)) / sides if sides > 0 else 1.0


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def ari(table: Counts) -> float:
    """Pairs of rows that are together on both sides, above those of chance."""
    if not table.size:
        return np.nan
    both, classes, clusters, everything = (
        float((n * (n - 1.0)).sum()) / 2
        for n in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    chance, most = classes * clusters / max(everything, 1), (classes + clusters) / 2
    return (both - chance) / (most - chance) if most > chance else 1.0


def hungarian_accuracy(table: Counts) -> float:
    """The share of rows that are right if each cluster stands for one class alone."""
    return float(paired(table).sum() / table.sum()) if table.size else np.nan


def paired(table: Counts) -> Integer[np.ndarray, "C"]:
    """Rows of each class in the cluster that stands for it, in the best pairing."""
    right = np.zeros(len(table), np.int64)
    if table.size:
        row, column = linear_sum_assignment(table, maximize=True)
        right[row] = table[row, column]
    return right


FIGURES: Mapping[str, Callable[[np.ndarray], float]] = {
    "purity": purity,
    "nmi": nmi,
    "ari": ari,
    "hungarian_accuracy": hungarian_accuracy,
}


def by_chance(
    tables: Integer[np.ndarray, "P C K"], *, draws: int, seed: int
) -> dict[str, float]:
    """Means of `FIGURES` of random clusters that keep their sizes in every table."""
    if not tables.size:
        return dict.fromkeys(FIGURES, np.nan)
    rng = np.random.default_rng(seed)
    found = {name: [] for name in FIGURES}
    for _ in range(draws):
        drawn = sum(_redrawn(table, rng) for table in tables)
        for name, figure in FIGURES.items():
            found[name].append(figure(drawn))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _redrawn(table: Counts, rng: np.random.Generator) -> Counts:
    """Rows dealt to the clusters at random, with the sizes of both sides.

    `scipy.stats.random_table` gives negative counts for a single class or cluster.
    """
    left, drawn = table.sum(axis=1), np.zeros_like(table)
    for column, size in enumerate(table.sum(axis=0).tolist()):
        drawn[:, column] = rng.multivariate_hypergeometric(
            left, size, method="marginals"
        )
        left = left - drawn[:, column]
    return drawn
