"""How many clusters there are: what is measured of each number, and which one wins."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

CRITERIA = ("silhouette", "gap", "stability")
LINKAGES = ("ward", "average", "complete")
SCORED = 3000  # rows at most that silhouettes, gaps and stabilities are measured on
STABLE = 0.8  # adjusted Rand index between a division and that of half its rows
Labels = Integer[np.ndarray, "N"]


class Tried(NamedTuple):
    """One number of clusters, and what speaks for it.

    Attributes:
      count: K; least: rows of the smallest cluster.
      silhouette: mean over rows, -1..1; nan of one cluster, as stability is.
      gap, gap_error: Tibshirani et al. 2001: log dispersion of uniform rows in the same
        box - that of these rows, and the standard error of it.
      stability: mean over resamples of the adjusted Rand index between the division of
        all rows and that of a resample, on the rows of the resample.
    """

    count: int
    least: int
    silhouette: float
    gap: float
    gap_error: float
    stability: float


def agglomerated(x: Float[np.ndarray, "N D"], linkage: str) -> Callable[[int], Labels]:
    """`cut(k) -> (N,)` labels of an agglomerative tree, which is built once.

    Memory grows with N squared: 20,000 rows need 1.6 GB.
    """
    from scipy.cluster.hierarchy import fcluster
    from scipy.cluster.hierarchy import linkage as merges

    tree = merges(x.astype(np.float64), method=linkage)
    return lambda k: fcluster(tree, k, criterion="maxclust") - 1


def trials(
    x: Float[np.ndarray, "N D"],
    labels: Mapping[int, Labels],
    *,
    resamples: int,
    linkage: str,
    seed: int,
) -> tuple[tuple[Tried, ...], list[tuple]]:
    """What is measured of each number of clusters; and the resamples.

    Args:
      labels: by the number of clusters.
      resamples: halves of the rows that are clustered anew, `SCORED` rows at most; as
        many uniform draws stand for rows without clusters. 0 = neither is measured.

    Returns:
      `Tried` of each, and (rows, {K: labels}) of each resample.
    """
    rng = np.random.default_rng(seed)
    drawn, dispersions = [], {k: [] for k in labels}
    for _ in range(resamples):
        rows = rng.choice(len(x), min(len(x) // 2, SCORED), replace=False)
        own = _cuts(x[rows], labels, linkage)
        drawn.append((rows, own))
        uniform = _uniform(x[rows], rng)
        reference = _cuts(uniform, labels, linkage)
        for k in labels:
            pair = _dispersion(uniform, reference[k]), _dispersion(x[rows], own[k])
            dispersions[k].append(np.subtract(*np.log(pair)))
    tried = [
        _tried(x, labels[k], k, drawn, np.array(dispersions[k]), seed) for k in labels
    ]
    return tuple(tried), drawn


def best_of(tried: Sequence[Tried], choice: str, *, sound: Collection[int]) -> Tried:
    """The number of clusters for which most speaks; of equals the smallest.

    Args:
      choice: silhouette: the highest. gap: see `_by_gap`. stability: the largest K that
        is still stable, as groups within groups are at every K (Tibshirani & Walther
        2005, who take 0.8), or else the most stable one.
      sound: numbers that may be chosen; the others are only compared with.
    """
    if choice == "gap":
        return _by_gap(tried, sound)
    several = [t for t in tried if t.count > 1 and t.count in sound]
    stable = [t for t in several if t.stability >= STABLE]
    if choice == "stability" and stable:
        return stable[-1]
    return max(several, key=lambda t: (getattr(t, choice), -t.count))


def _by_gap(tried: Sequence[Tried], sound: Collection[int]) -> Tried:
    """The least K whose gap is at least that of K + 1 less its standard error, K = 1
    included: rows without clusters stay together (Tibshirani et al. 2001).

    Where the gap rises up to the last K, no number is enough, and the last one that
    may be chosen has the most.
    """
    own = {t.count: t for t in tried}
    for t in tried:
        after = own.get(t.count + 1)
        if t.count in sound and after and t.gap >= after.gap - after.gap_error:
            return t
    return max((t for t in tried if t.count in sound), key=lambda t: (t.gap, -t.count))


def _cuts(x: np.ndarray, counts: Iterable[int], linkage: str) -> dict[int, np.ndarray]:
    cut = agglomerated(x, linkage)
    return {k: cut(k) for k in counts}


def _uniform(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many rows without clusters, in the box of the principal axes of these."""
    centred = x - x.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    turned = centred @ axes.T
    drawn = rng.uniform(turned.min(axis=0), turned.max(axis=0), turned.shape)
    return drawn @ axes


def _dispersion(x: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances to the centres of clusters."""
    sizes = np.maximum(np.bincount(labels), 1)
    centres = np.zeros((len(sizes), x.shape[1]))
    np.add.at(centres, labels, x)
    return max(float(((x - (centres / sizes[:, None])[labels]) ** 2).sum()), 1e-12)


def _tried(x, labels, count: int, drawn, gaps: np.ndarray, seed: int) -> Tried:
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    none, several = float("nan"), count > 1
    sample = {"sample_size": min(len(x), SCORED), "random_state": seed}
    same = [adjusted_rand_score(labels[rows], own[count]) for rows, own in drawn]
    error = gaps.std() * np.sqrt(1 + 1 / len(gaps)) if len(gaps) else none
    return Tried(
        count=count,
        least=int(np.bincount(labels).min()),
        silhouette=float(silhouette_score(x, labels, **sample)) if several else none,
        gap=float(gaps.mean()) if len(gaps) else none,
        gap_error=float(error),
        stability=float(np.mean(same)) if same and several else none,
    )
