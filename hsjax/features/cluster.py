"""Vectors divided into clusters: what is consistent, mapped by UMAP, merged by Ward.

Paper B's section IV-D: K-means sorts out what fits nowhere, UMAP brings the rest to a
few dimensions, and agglomerative clustering divides it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from hsjax.evaluation.cluster_stability import best_jaccard
from hsjax.features.cluster_count import SCORED, Tried, agglomerated, best_of, trials
from hsjax.features.kmeans import assign, k_means

FILTERS = ("distance", "silhouette", "none")
REST = -1  # the cluster of a row that is in none


class Division(NamedTuple):
    """Rows divided once.

    Attributes:
      clusters: (N,) 0..K-1, the largest first; REST where it is none.
      silhouette: (K,) mean silhouette of each cluster's rows.
      stability: (K,) mean over resamples of the largest Jaccard index with a cluster of
        the resample (Hennig 2007, https://doi.org/10.1016/j.csda.2006.11.025): above
        0.75 a cluster is stable, below 0.5 it dissolves.
      tried: what was measured for each number of clusters; chosen: of the best one,
        which may be 1 by its gap; None where there was nothing to choose from.
    """

    clusters: Integer[np.ndarray, "N"]
    silhouette: Float[np.ndarray, "K"]
    stability: Float[np.ndarray, "K"]
    tried: tuple[Tried, ...]
    chosen: Tried | None = None


class Filter(NamedTuple):
    """K-means that tells rows that lie well in one of its clusters from those that lie
    between or beside them; also rows that it was not fitted on.

    `distance`: the score is minus the distance to the centre, and a row stays that is
    as near as the nearest `share` of the fitted rows of its cluster. `silhouette`: it
    is (b - a) / max(a, b) with the distances a to the own and b to the nearest other
    centre (Hruschka et al. 2004), and a row stays that lies as well as the best `share`
    of all fitted rows. `none`: all stay, and scores are nan.

    Attributes:
      centres: (K, D), None of `none`; least: (K,) scores from which on a row stays.
    """

    kind: str
    centres: Float[np.ndarray, "K D"] | None = None
    least: Float[np.ndarray, "K"] | None = None

    def __call__(
        self, x: Float[np.ndarray, "N D"]
    ) -> tuple[Bool[np.ndarray, "N"], Float[np.ndarray, "N"]]:
        """Which rows stay, and the score of each."""
        if self.centres is None:
            return np.ones(len(x), bool), np.full(len(x), np.nan, np.float32)
        cluster, score = self.scores(x)
        return score >= self.least[cluster], score

    def scores(self, x: Float[np.ndarray, "N D"]) -> tuple[np.ndarray, np.ndarray]:
        """The cluster of each row, and its score."""
        cluster, near, far = assign(self.centres, x)
        if self.kind == "distance":
            return cluster, -near
        with np.errstate(invalid="ignore"):  # a single cluster has no other: nan
            score = (far - near) / np.maximum(np.maximum(near, far), 1e-12)
        return cluster, np.nan_to_num(score, nan=1.0)


def fit_filter(
    x: Float[np.ndarray, "N D"], *, kind: str, clusters: int, share: float, seed: int
) -> Filter:
    """The filter by which `share` of these rows stay; see `Filter`."""
    if kind == "none" or share >= 1 or len(x) <= clusters:
        return Filter("none")
    found = Filter(kind, k_means(x, clusters, seed=seed).centres)
    cluster, score = found.scores(x)
    if kind == "silhouette":
        return found._replace(least=np.full(clusters, np.quantile(score, 1 - share)))
    least = np.full(clusters, -np.inf, np.float32)
    for own in np.unique(cluster):
        scores = np.sort(score[cluster == own])[::-1]
        least[own] = scores[int(np.ceil(share * len(scores))) - 1]
    return found._replace(least=least)


def mapped(
    x: Float[np.ndarray, "N D"],
    *,
    dimensions: int,
    neighbours: int,
    min_dist: float,
    seed: int,
) -> Float[np.ndarray, "N K"]:
    """UMAP (McInnes et al. 2018, https://arxiv.org/abs/1802.03426).

    One thread, so that a seed gives the same map again.
    """
    import umap  # numba compiles for seconds

    neighbours = min(neighbours, len(x) - 1)
    fit = umap.UMAP(
        n_neighbors=neighbours,
        min_dist=min_dist,
        n_components=dimensions,
        random_state=seed,
        n_jobs=1,
        init="pca",  # a spectral start means nothing where groups do not hang together
    )
    return fit.fit_transform(x).astype(np.float32)


def divide(
    x: Float[np.ndarray, "N D"],
    *,
    counts: Sequence[int],
    choice: str,
    min_size: int,
    min_stability: float,
    resamples: int,
    linkage: str,
    seed: int,
) -> Division:
    """One agglomerative tree, cut where it is best.

    Args:
      counts: numbers of clusters to choose from; a single one is taken as it is.
        Several are compared by their gap with one cluster and with one more, too.
      choice: see `best_of`.
      min_size: smaller clusters are REST.
      min_stability: of a number that may be chosen; what was not measured may be.

    Returns:
      A division with no cluster, all rows REST, where nothing can be divided, no number
      is stable, or one cluster is the best.
    """
    counts = [k for k in counts if 1 < k <= len(x) // 2]
    empty = np.zeros(0)
    nothing = Division(np.full(len(x), REST), empty, empty, ())
    if not counts or len(x) < 2 * min_size:
        return nothing
    cut = agglomerated(x, linkage)
    options = {"resamples": resamples, "linkage": linkage, "seed": seed}
    by_gap = choice == "gap" and len(counts) > 1
    compared = [1, *counts, counts[-1] + 1] if by_gap else counts
    tried, drawn = trials(x, {k: cut(k) for k in compared}, **options)
    sizes = {k: np.bincount(cut(k)) for k in counts}
    sound = [k for k, own in sizes.items() if (own >= min_size).sum() > 1]
    if not sound:
        return nothing._replace(tried=tried)
    # the best of those that come back: a better one that does not is none
    shaky = {t.count for t in tried if t.stability < min_stability}
    stable = [k for k in sound if k not in shaky]
    clean = [k for k in stable if sizes[k].min() >= min_size]
    one = [1] if by_gap else []
    chosen = best_of(tried, choice, sound=one + (clean or stable or sound))
    if chosen.count == 1 or not stable:
        return nothing._replace(tried=tried, chosen=chosen)
    return _taken(x, cut, chosen, tried, drawn, min_size, seed)


def _taken(x, cut, chosen: Tried, tried, drawn, min_size: int, seed: int) -> Division:
    """The division into the chosen number, with what is measured of each cluster."""
    clusters = _by_size(cut(chosen.count), min_size)
    return Division(
        clusters,
        _silhouettes(x, clusters, seed),
        _jaccards(clusters, [(rows, own[chosen.count]) for rows, own in drawn]),
        tried,
        chosen,
    )


def _by_size(labels: np.ndarray, min_size: int) -> np.ndarray:
    """Labels counted from the largest cluster; REST of those that are too small."""
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    new = np.full(len(sizes), REST)
    large = order[sizes[order] >= min_size]
    new[large] = np.arange(len(large))
    return new[labels]


def _silhouettes(x: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Of each cluster the mean over its rows, of `SCORED` rows at most."""
    from sklearn.metrics import silhouette_samples

    rows = np.flatnonzero(clusters != REST)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(rows, min(len(rows), SCORED), replace=False))
    count = clusters.max() + 1
    found, sizes = np.full(count, np.nan), np.bincount(clusters[rows], minlength=count)
    if (sizes > 0).sum() > 1:
        values = silhouette_samples(x[rows], clusters[rows])
        total = np.bincount(clusters[rows], values, minlength=count)
        found[sizes > 0] = total[sizes > 0] / sizes[sizes > 0]
    return found


def _jaccards(clusters: np.ndarray, drawn: Sequence[tuple]) -> np.ndarray:
    """Of each cluster the mean of its best Jaccard index in every resample."""
    ids = np.arange(clusters.max() + 1)
    found = [best_jaccard(clusters[rows], own, ids) for rows, own in drawn]
    seen = ~np.isnan(found) if found else np.zeros((1, len(ids)), bool)
    total = np.where(seen, found, 0).sum(axis=0) if found else np.zeros(len(ids))
    return np.where(seen.any(axis=0), total / np.maximum(seen.sum(axis=0), 1), np.nan)
