"""Would the clusters come back: with another seed, and from a resample of the rows?

Cluster ids are -1 (`LEFT_OUT`) where a row is in none. Stable is not yet true: one
cluster of all rows always comes back.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from hsjax.evaluation.clusters import LEFT_OUT, ari

DISSOLVED = 0.5  # a Jaccard index up to which a cluster is not the same one any more

# (M,) rows, which may repeat -> (M,) the clusters of a new clustering of these alone
Recluster = Callable[[np.ndarray], np.ndarray]


class Agreement(NamedTuple):
    """Of several clusterings of the same rows.

    Attributes:
      ari: mean over pairs; lowest: of any pair; common: mean share of rows that both
        of a pair have clustered.
    """

    ari: float
    lowest: float
    common: float


class Recurrence(NamedTuple):
    """Do the clusters come back in resamples? (Hennig 2007)

    Attributes:
      cluster: (K,) ids; jaccard: (K,) mean over resamples of the best match, 0..1;
      dissolved: (K,) share of resamples in which the best match is at most 0.5;
      ari: mean over resamples.
    """

    cluster: Integer[np.ndarray, "K"]
    jaccard: Float[np.ndarray, "K"]
    dissolved: Float[np.ndarray, "K"]
    ari: float


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


def bootstrap_stability(
    clusters: Integer[np.ndarray, "N"],
    recluster: Recluster,
    *,
    resamples: int = 50,
    subset: float = 0.0,
    seed: int = 0,
) -> Recurrence:
    """Cluster-wise stability (Hennig 2007, https://doi.org/10.1016/j.csda.2006.11.025).

    Of cluster C and the rows R of a resample it is the greatest Jaccard index
    |A & B| / |A | B| of A = C & R and a new cluster B. As a guide Hennig calls a mean
    above 0.75 stable, and one below 0.6 not to be trusted. A cluster of which no row
    was drawn says nothing in that resample.

    Args:
      recluster: the method, given rows. Of a bootstrap some repeat, so that they weigh
        more; the indices are of different rows.
      subset: draw this share of the rows without repeats instead (Hennig: 0.5), for
        methods that would make clusters of repeats, such as linkage.
    """
    ids = np.unique(clusters[clusters != LEFT_OUT])
    rng, rows = np.random.default_rng(seed), len(clusters)
    best, indices = np.full((resamples, len(ids)), np.nan), []
    for jaccard in best:
        if subset:
            drawn = rng.choice(rows, max(1, round(subset * rows)), replace=False)
        else:
            drawn = rng.integers(rows, size=rows)
        drawn.sort()
        found = np.asarray(recluster(drawn))
        kept, first = np.unique(drawn, return_index=True)
        jaccard[:] = best_jaccard(clusters[kept], found[first], ids)
        indices.append(stability([clusters[kept], found[first]]).ari)
    seen = ~np.isnan(best)
    times = np.where(seen.any(axis=0), seen.sum(axis=0), np.nan)
    mean = np.where(seen, best, 0).sum(axis=0) / times
    dissolved = (seen & (best <= DISSOLVED)).sum(axis=0) / times
    known = [x for x in indices if not np.isnan(x)]
    return Recurrence(ids, mean, dissolved, float(np.mean(known)) if known else np.nan)


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
