"""Clusters within clusters: what the proposals for new sub-categories are made of."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.features.cluster import REST, Division, Tried, consistent, divide, mapped

log = logging.getLogger("hsjax")

VOTES = 15  # neighbours that a product outside the sample goes by
BLOCK = 4096  # of these products at once
Vectors = Callable[[Integer[np.ndarray, "B"]], Float[np.ndarray, "B D"]]


class Node(NamedTuple):
    """A cluster.

    Attributes:
      key: such as "2.1": the first part of the second cluster. parent: "2", '' = none.
      silhouette, stability: see `Division`.
    """

    key: str
    parent: str
    silhouette: float
    stability: float


class Cascade(NamedTuple):
    """Clusters of N rows on several levels.

    Attributes:
      keys: (N,) the deepest cluster of each row, '' = of none.
      spread: (N,) the same, and what is in none goes to where most of its neighbours
        are; only the measures of a clustering use it.
      nodes: parents before their parts, siblings from the largest.
      tried: key of what was divided ('' = everything) -> what was measured.
      rows: (S,) the sample; points: (S, 2) their places on a map.
      kept: (S,) bool, those that the filter left; score: (S,) what it went by.
    """

    keys: Shaped[np.ndarray, "N"]
    spread: Shaped[np.ndarray, "N"]
    nodes: tuple[Node, ...]
    tried: dict[str, tuple[Tried, ...]]
    rows: Integer[np.ndarray, "S"]
    points: Float[np.ndarray, "S 2"]
    kept: Bool[np.ndarray, "S"]
    score: Float[np.ndarray, "S"]


def find_clusters(vectors: Vectors, count: int, settings, *, seed: int) -> Cascade:
    """The clusters of `count` rows.

    They are found on a sample, so that memory does not grow with the square of all
    rows; each of the others goes where most of its neighbours in the sample are.

    Args:
      vectors: (B, D) of rows by their numbers.
      settings: `config.recategorize`.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(count)
    if count > settings.sample:
        rows = np.sort(rng.choice(count, settings.sample, replace=False))
    x = vectors(rows)
    kept, score = consistent(
        x,
        kind=settings.filter,
        clusters=settings.filter_clusters,
        share=settings.filter_share,
        seed=seed,
    )
    keys = np.full(len(rows), "", dtype="<U40")
    nodes, tried = [], {}
    keys[kept] = _divided(x[kept], "", settings, seed, nodes, tried)
    points = np.zeros((len(rows), 2), np.float32)
    points[kept] = _map(x[kept], settings, seed, dimensions=2)
    everything = np.full(count, "", dtype=keys.dtype)
    everything[rows] = keys
    others = np.setdiff1d(np.arange(count), rows, assume_unique=True)
    if len(others):
        everything[others] = _nearest(x[kept], keys[kept], vectors, others)
    spread = everything.copy()
    lost = np.flatnonzero(everything == "")
    if len(lost) and len(lost) < count:
        spread[lost] = _nearest(x[keys != ""], keys[keys != ""], vectors, lost)
    return Cascade(everything, spread, tuple(nodes), tried, rows, points, kept, score)


def _divided(x, key: str, settings, seed: int, nodes: list, tried: dict) -> np.ndarray:
    """(N,) deepest keys below a node, which is divided as often as `levels` says."""
    level = key.count(".") + bool(key)
    keys = np.full(len(x), key, dtype="<U40")
    if level >= settings.levels or len(x) < 2 * settings.min_size:
        return keys
    found = _division(x, level, settings, seed)
    tried[key] = found.tried
    log.info("%s", _told(key, len(x), found))
    count = int(found.clusters.max()) + 1
    # not measured is nan, and no reason to stop
    if not count or found.chosen.stability < settings.min_stability:
        return keys
    parts = [f"{key}.{i + 1}" if key else str(i + 1) for i in range(count)]
    for i, part in enumerate(parts):
        stats = float(found.silhouette[i]), float(found.stability[i])
        nodes.append(Node(part, key, *stats))
        rows = np.flatnonzero(found.clusters == i)
        keys[rows] = _divided(x[rows], part, settings, seed, nodes, tried)
    return keys


def _division(x: np.ndarray, level: int, settings, seed: int) -> Division:
    asked = tuple(settings.clusters)
    counts = range(2, settings.max_clusters + 1)
    if asked:
        counts = asked[level : level + 1]
    return divide(
        _map(x, settings, seed, dimensions=settings.dimensions),
        counts=counts,
        choice=settings.choice,
        min_size=settings.min_size,
        resamples=settings.resamples,
        linkage=settings.linkage,
        seed=seed,
    )


def _map(x: np.ndarray, settings, seed: int, *, dimensions: int) -> np.ndarray:
    if len(x) <= 2 * dimensions:  # too few for a map: as they are
        return x[:, :dimensions]
    return mapped(
        x,
        dimensions=dimensions,
        neighbours=settings.neighbours,
        min_dist=settings.min_dist,
        seed=seed,
    )


def _told(key: str, rows: int, found: Division) -> str:
    count = found.clusters.max() + 1
    what = f"cluster {key}" if key else "the branch"
    rest = int((found.clusters == REST).sum())
    told = f"{count} clusters" if count else "not divided"
    return f"{what}, {rows:,} products: {told}, {rest:,} in none"


def _nearest(x: np.ndarray, keys: np.ndarray, vectors: Vectors, others) -> np.ndarray:
    """Keys of rows outside the sample, by a vote of their neighbours in it."""
    from sklearn.neighbors import KNeighborsClassifier

    vote = KNeighborsClassifier(min(VOTES, len(x)), algorithm="brute").fit(x, keys)
    blocks = [others[i : i + BLOCK] for i in range(0, len(others), BLOCK)]
    return np.concatenate([vote.predict(vectors(block)) for block in blocks])
