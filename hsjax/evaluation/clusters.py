"""What a clustering is worth against true classes, and what chance would be worth.

Purity rises with the number of clusters by itself, a class that holds most rows gives
it away, and so do parts that were known before: no figure stands alone here. Labels
are codes or ids, '' or -1 where the class is unknown: such rows are not scored.
Clusters are ids, -1 (`LEFT_OUT`) of a row that is in none: scores are those of the
clustered rows, and `coverage` says how many of the rows with a class these are. Whether
it would come back: `cluster_stability`.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.evaluation.cluster_tables import (
    DRAWS,
    FIGURES,
    by_chance,
    majority_share,
    paired,
)

LEFT_OUT = -1


class Contingency(NamedTuple):
    """How many rows of each class are in each cluster.

    Attributes:
      table: (C, K) counts; classes: (C,) labels; clusters: (K,) ids. Both ascend.
    """

    table: Integer[np.ndarray, "C K"]
    classes: Shaped[np.ndarray, "C"]
    clusters: Integer[np.ndarray, "K"]


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
    tables, classes, ids = _in_parts(labels, clusters, np.zeros(len(labels), int))
    return Contingency(tables.sum(axis=0), classes, ids)


def _in_parts(
    labels: Shaped[np.ndarray, "N"],
    clusters: Integer[np.ndarray, "N"],
    within: Shaped[np.ndarray, "N"],
) -> tuple[Integer[np.ndarray, "P C K"], np.ndarray, np.ndarray]:
    """The counts of each part, and the classes and clusters of all of them."""
    kept = _has_class(labels) & (clusters != LEFT_OUT)
    sides = [
        np.unique(x[kept], return_inverse=True) for x in (within, labels, clusters)
    ]
    shape = tuple(len(names) for names, _ in sides)
    if not kept.any():
        return np.zeros((0, 0, 0), int), sides[1][0], sides[2][0]
    place = np.ravel_multi_index([inverse for _, inverse in sides], shape)
    counts = np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)
    return counts, sides[1][0], sides[2][0]


def _has_class(labels: Shaped[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    return labels >= 0 if np.issubdtype(labels.dtype, np.integer) else labels != ""


def cluster_purity(
    labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]
) -> ClusterPurity:
    """Of every cluster that has a row with a class."""
    table, classes, ids = contingency(labels, clusters)
    if not table.size:
        return ClusterPurity(ids, ids, np.zeros(0), classes)
    size = table.sum(axis=0)
    return ClusterPurity(ids, size, table.max(axis=0) / size, classes[table.argmax(0)])


def drawn_purity(labels: Shaped[np.ndarray, "N"], size: int, *, seed: int = 0) -> float:
    """Mean purity of a cluster of `size` rows that are drawn from those with a class.

    >>> drawn_purity(np.array(["a", "a", "a", "b"]), 4)
    0.75
    """
    counts = np.unique(labels[_has_class(labels)], return_counts=True)[1]
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(counts, size, DRAWS, method="marginals")
    return float((drawn.max(axis=1) / size).mean())


def nmi(labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]) -> float:
    """2 I(class; cluster) / (H(class) + H(cluster)); it too rises with their number."""
    return FIGURES["nmi"](contingency(labels, clusters).table)


def ari(labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985): 0 by chance, 1 if both are equal.

    Two clusterings that both put all rows into one cluster are equal.
    """
    return FIGURES["ari"](contingency(labels, clusters).table)


def hungarian_accuracy(
    labels: Shaped[np.ndarray, "N"], clusters: Integer[np.ndarray, "N"]
) -> float:
    """The share of rows that are right if each cluster may stand for one class alone.

    The best one-to-one pairing. What is left over, clusters or classes, is wrong.
    """
    return FIGURES["hungarian_accuracy"](contingency(labels, clusters).table)


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
    right = paired(table)
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
    within: Shaped[np.ndarray, "N"] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float | int]:
    """All that is said of a clustering whose true classes are known.

    Args:
      within: a part of each row that was known before, such as the node that was
        divided: chance knows it, too. None = one part.

    Returns:
      `rows` with a class; `coverage`, the share of them that is in a cluster. Of the
      clustered ones: `classes`, `clusters`, `majority_share` (one cluster), `purity`,
      `nmi`, `ari`, `hungarian_accuracy`, and of each of these NAME_chance, of random
      clusters that have the same sizes in every part; nan where no row is clustered.
    """
    parts = np.zeros(len(labels), int) if within is None else within
    tables, rows = _in_parts(labels, clusters, parts)[0], _has_class(labels)
    table = tables.sum(axis=0)
    found = {
        "rows": int(rows.sum()),
        "coverage": _mean((clusters != LEFT_OUT)[rows]),
        "classes": table.shape[0],
        "clusters": table.shape[1],
        "majority_share": majority_share(table),
    }
    found |= {name: figure(table) for name, figure in FIGURES.items()}
    chance = by_chance(tables, draws=draws, seed=seed)
    return found | {f"{name}_chance": value for name, value in chance.items()}
