"""What a clustering is worth against true classes, and what chance would be worth.

Purity rises with the number of clusters by itself, and a class that holds most rows
gives it away: it never stands alone here. Labels are codes or ids, '' or -1 where the
class is unknown: such rows are not scored. Clusters are ids, -1 (`LEFT_OUT`) of a row
that is in none: scores are those of the clustered rows, and `coverage` says how many
of the rows with a class these are. Whether it would come back: `cluster_stability`.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy.optimize import linear_sum_assignment
from scipy.stats import random_table

LEFT_OUT = -1
DRAWS = 100  # random partitions that chance is the mean of


class Contingency(NamedTuple):
    """How many rows of each class are in each cluster.

    Attributes:
      table: (C, K) counts; classes: (C,) labels; clusters: (K,) ids. Both ascend.
    """

    table: Integer[np.ndarray, "C K"]
    classes: Shaped[np.ndarray, "C"]
    clusters: Integer[np.ndarray, "K"]


class Purity(NamedTuple):
    """The share of rows whose class is the commonest of their cluster, and beside it:

    Attributes:
      value: of these clusters; chance: the mean of random clusters of the same sizes;
      majority: of one cluster, the share of the commonest class.
    """

    value: float
    chance: float
    majority: float


class ClusterPurity(NamedTuple):
    """Each cluster's commonest class (the first where two are as common).

    Attributes:
      cluster: (K,) ids; size: (K,) rows with a class; purity: (K,) 0..1; label: (K,).
    """

    cluster: Integer[np.ndarray, "K"]
    size: Integer[np.ndarray, "K"]
    purity: Float[np.ndarray, "K"]
    label: Shaped[np.ndarray, "K"]


def contingency(
    labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]
) -> Contingency:
    """Counts of the rows that have a class and a cluster."""
    kept = _has_class(labels) & (clusters != LEFT_OUT)
    classes, row = np.unique(labels[kept], return_inverse=True)
    ids, column = np.unique(clusters[kept], return_inverse=True)
    shape = len(classes), len(ids)
    table = np.bincount(row * len(ids) + column, minlength=shape[0] * shape[1])
    return Contingency(table.reshape(shape), classes, ids)


def _has_class(labels: Shaped[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    return labels >= 0 if np.issubdtype(labels.dtype, np.integer) else labels != ""


def purity(
    labels: Shaped[np.ndarray, "N"],
    clusters: Integer[np.ndarray, "N"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Purity:
    """Purity beside what it would be for nothing; nan without a clustered row."""
    table = contingency(labels, clusters).table
    if not table.size:
        return Purity(np.nan, np.nan, np.nan)
    rows, margins = table.sum(), (table.sum(axis=1), table.sum(axis=0))
    rng, chance = np.random.default_rng(seed), random_table(*margins)
    drawn = [chance.rvs(random_state=rng).max(axis=0).sum() for _ in range(draws)]
    value, majority = table.max(axis=0).sum() / rows, margins[0].max() / rows
    return Purity(float(value), float(np.mean(drawn) / rows), float(majority))


def cluster_purity(
    labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]
) -> ClusterPurity:
    """Of every cluster that has a row with a class."""
    table, classes, ids = contingency(labels, clusters)
    if not table.size:
        return ClusterPurity(ids, ids, np.zeros(0), classes)
    size = table.sum(axis=0)
    return ClusterPurity(ids, size, table.max(axis=0) / size, classes[table.argmax(0)])


def nmi(labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]) -> float:
    """2 I(class; cluster) / (H(class) + H(cluster)); it too rises with their number."""
    from sklearn.metrics import normalized_mutual_info_score  # a second

    kept = _has_class(labels) & (clusters != LEFT_OUT)
    if not kept.any():
        return np.nan
    return float(normalized_mutual_info_score(labels[kept], clusters[kept]))


def ari(labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985): 0 by chance, 1 if both are equal.

    Two clusterings that both put all rows into one cluster are equal.
    """
    from sklearn.metrics import adjusted_rand_score  # a second

    kept = _has_class(labels) & (clusters != LEFT_OUT)
    if not kept.any():
        return np.nan
    return float(adjusted_rand_score(labels[kept], clusters[kept]))


def hungarian_accuracy(
    labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]
) -> float:
    """The share of rows that are right if each cluster may stand for one class alone.

    The best one-to-one pairing. What is left over, clusters or classes, is wrong.
    """
    table = contingency(labels, clusters).table
    return float(_paired(table).sum() / table.sum()) if table.size else np.nan


def _paired(table: Integer[np.ndarray, "C K"]) -> Integer[np.ndarray, "C"]:
    """Rows of each class in the cluster that stands for it."""
    row, column = linear_sum_assignment(table, maximize=True)
    right = np.zeros(len(table), np.int64)
    right[row] = table[row, column]
    return right


def discovery_accuracy(
    labels: Shaped[np.ndarray, "N"],
    clusters: Integer[np.ndarray, "N"],
    known: Collection,
) -> dict[str, float]:
    """Generalised category discovery: accuracy on all rows, old and new classes.

    One Hungarian pairing over all clustered rows, as in Vaze et al. 2022
    (https://arxiv.org/abs/2201.02609, section 4.1, and `split_cluster_acc_v2` of
    SimGCD, https://github.com/CVMI-Lab/SimGCD): were old and new paired apart, a
    cluster could stand for one of each, and figures would be higher.

    Args:
      labels: of the rows that came without a label; those that were given are left out
        by the caller.
      known: the old classes.

    Returns:
      {accuracy, coverage}_{all, old, new}; nan where there are no such rows.
    """
    table, classes, _ = contingency(labels, clusters)
    right = _paired(table) if table.size else np.zeros(0, np.int64)
    known = np.asarray(list(known) or labels[:0])
    old, old_rows = np.isin(classes, known), np.isin(labels, known)
    rows, there = _has_class(labels), clusters != LEFT_OUT
    parts = {
        "all": (np.ones(len(classes), bool), rows),
        "old": (old, rows & old_rows),
        "new": (~old, rows & ~old_rows),
    }
    scores = {}
    for name, (of, asked) in parts.items():
        found = table[of].sum()
        scores[f"accuracy_{name}"] = float(right[of].sum() / found) if found else np.nan
        scores[f"coverage_{name}"] = _mean(there[asked])
    return scores


def _mean(values: np.ndarray) -> float:
    """nan of nothing, and what is nan does not count."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else np.nan


def cluster_scores(
    labels: Shaped[np.ndarray, "N"],
    clusters: Integer[np.ndarray, "N"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float | int]:
    """All that is said of a clustering whose true classes are known.

    Returns:
      `rows` with a class; `coverage`, the share of them that is in a cluster. Of the
      clustered ones: `classes`, `clusters`, `purity`, `purity_chance` (random clusters
      of the same sizes), `majority_share` (one cluster), `nmi`, `ari`,
      `hungarian_accuracy`; nan where no row is clustered.
    """
    table, rows = contingency(labels, clusters).table, _has_class(labels)
    value, chance, majority = purity(labels, clusters, draws=draws, seed=seed)
    return {
        "rows": int(rows.sum()),
        "coverage": _mean((clusters != LEFT_OUT)[rows]),
        "classes": table.shape[0],
        "clusters": table.shape[1],
        "purity": value,
        "purity_chance": chance,
        "majority_share": majority,
        "nmi": nmi(labels, clusters),
        "ari": ari(labels, clusters),
        "hungarian_accuracy": hungarian_accuracy(labels, clusters),
    }
