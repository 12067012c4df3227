"""Would the clusters come back: with another seed, and from a resample of the rows?

Cluster ids are -1 (`LEFT_OUT`) where a row is in none. Stable is not yet true: one
cluster of all rows always comes back.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Shaped

from hsjax.evaluation.clusters import LEFT_OUT, ari


class Agreement(NamedTuple):
    """Of several clusterings of the same rows.

    Attributes:
      ari: mean over pairs; lowest: of any pair; common: mean share of rows that both
        of a pair have clustered.
    """

    ari: float
    lowest: float
    common: float


def stability(clusterings: Sequence[Integer[np.ndarray, "N"]]) -> Agreement:
    """Mean pairwise adjusted Rand index of two or more clusterings of the same rows.

    A pair is compared on the rows that both have clustered; without two such rows it
    has no index, and does not count.

    Raises:
      ValueError: fewer than two clusterings.
    """
    if len(clusterings) < 2:
        raise ValueError(f"{len(clusterings)} clusterings: two or more can agree")
    indices, common = [], []
    for one, other in combinations(clusterings, 2):
        both = (one != LEFT_OUT) & (other != LEFT_OUT)
        common.append(both.mean())
        if both.sum() > 1:
            indices.append(ari(one[both], other[both]))
    if not indices:
        return Agreement(np.nan, np.nan, float(np.mean(common)))
    return Agreement(float(np.mean(indices)), min(indices), float(np.mean(common)))


def stability_within(
    clusterings: Sequence[Integer[np.ndarray, "N"]], parts: Shaped[np.ndarray, "N"]
) -> float:
    """`stability` within each part, a mean over rows; nan where none is divided.

    Parts that were given, such as nodes of a tree, are the same in all clusterings.
    They raise the index of all rows, and say nothing of clusters within them. Parts
    that no clustering divides do not count.
    """
    values, sizes = [], []
    for part in np.unique(parts):
        own = [x[parts == part] for x in clusterings]
        if all(len(np.unique(x[x != LEFT_OUT])) < 2 for x in own):
            continue
        if not np.isnan(found := stability(own).ari):
            values.append(found)
            sizes.append((parts == part).sum())
    return float(np.average(values, weights=sizes)) if values else np.nan


def best_jaccard(
    clusters: Integer[np.ndarray, "N"],
    found: Integer[np.ndarray, "N"],
    ids: Integer[np.ndarray, "K"],
) -> Float[np.ndarray, "K"]:
    """Jaccard index of each cluster `ids` with the most similar of another clustering.

    Rows that are left out on one side count in the union. nan for a cluster without a
    row, 0 where nothing else is clustered.
    """
    new = np.unique(found[found != LEFT_OUT])
    # a last row and column hold what is left out
    row = np.where(clusters == LEFT_OUT, len(ids), np.searchsorted(ids, clusters))
    column = np.where(found == LEFT_OUT, len(new), np.searchsorted(new, found))
    shape = len(ids) + 1, len(new) + 1
    pairs = np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1])
    table = pairs.reshape(shape)
    shared, sizes = table[:-1, :-1], table[:-1].sum(axis=1)
    union = sizes[:, None] + table[:, :-1].sum(axis=0)[None] - shared
    index = (shared / np.maximum(union, 1)).max(axis=1, initial=0.0)
    return np.where(sizes > 0, index, np.nan)
