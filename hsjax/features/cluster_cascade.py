"""Clusters within clusters: what the proposals for new sub-categories are made of."""

import logging
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.features.cluster import REST, Division, Tried, divide, fit_filter, mapped
from hsjax.features.votes import Vectors, in_turn, voted

log = logging.getLogger("hsjax")

KEY = "<U40"  # of a cluster: as deep as anybody looks


class Node(NamedTuple):
    """A cluster.

    Attributes:
      key: such as "2.1": the first part of the second cluster. parent: "2", '' = none.
      silhouette, stability: see `Division`; nan = not measured.
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
      tried: key of what was divided ('' = everything) -> what was measured; chosen: ->
        the number of clusters that was the best, whether it was taken or not.
      rows: (S,) the sample that is mapped; points: (S, 2) their places, S = 0 without a
        map.
      kept: (N,) bool, those that the filter left; score: (N,) what it went by, nan
        where it saw nothing.
    """

    keys: Shaped[np.ndarray, "N"]
    spread: Shaped[np.ndarray, "N"]
    nodes: tuple[Node, ...]
    tried: dict[str, tuple[Tried, ...]]
    chosen: dict[str, Tried]
    rows: Integer[np.ndarray, "S"]
    points: Float[np.ndarray, "S 2"]
    kept: Bool[np.ndarray, "N"]
    score: Float[np.ndarray, "N"]


def undivided(count: int) -> Cascade:
    """Rows in no cluster, at which nothing has looked."""
    keys = np.full(count, "", dtype=KEY)
    nothing = np.zeros(0, int), np.zeros((0, 2), np.float32)
    kept, score = np.zeros(count, bool), np.full(count, np.nan, np.float32)
    return Cascade(keys, keys, (), {}, {}, *nothing, kept, score)


def find_clusters(vectors: Vectors, count: int, settings, *, seed: int) -> Cascade:
    """The clusters of `count` rows.

    They are found on a sample, so that memory does not grow with the square of all
    rows. The others are filtered by the K-means of the sample, and go where most of
    their neighbours in it are.

    Args:
      vectors: (B, D) of rows by their numbers.
      settings: `config.recategorize`.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(count)
    if count > settings.sample:
        rows = np.sort(rng.choice(count, settings.sample, replace=False))
    x = vectors(rows)
    sieve = fit_filter(
        x,
        kind=settings.filter,
        clusters=settings.filter_clusters,
        share=settings.filter_share,
        seed=seed,
    )
    empty = undivided(count)
    keys, kept, score = empty.keys.copy(), empty.kept, empty.score
    kept[rows], score[rows] = sieve(x)
    sampled, x = rows[kept[rows]], x[kept[rows]]
    nodes, looked = [], {}
    keys[sampled] = _divided(x, "", settings, seed, nodes, looked)
    tried = {key: found.tried for key, found in looked.items()}
    chosen = {key: found.chosen for key, found in looked.items() if found.chosen}
    others = np.setdiff1d(np.arange(count), rows, assume_unique=True)
    for block in in_turn(others):
        kept[block], score[block] = sieve(vectors(block))
    inside = others[kept[others]]
    keys[inside] = voted(x, keys[sampled], vectors, inside)
    spread, lost = keys.copy(), np.flatnonzero(keys == "")
    found = keys[sampled] != ""
    spread[lost] = voted(x[found], keys[sampled][found], vectors, lost)
    if not nodes:  # nothing to show on a map
        return empty._replace(tried=tried, chosen=chosen, kept=kept, score=score)
    points = _map(x, settings, seed, dimensions=2)
    return Cascade(
        keys, spread, tuple(nodes), tried, chosen, sampled, points, kept, score
    )


def _divided(x, key: str, settings, seed: int, nodes: list, looked: dict) -> np.ndarray:
    """(N,) deepest keys below a node, which is divided as often as `levels` says."""
    level = key.count(".") + bool(key)
    keys = np.full(len(x), key, dtype=KEY)
    if level >= settings.levels or len(x) < 2 * settings.min_size:
        return keys
    found = _division(x, level, settings, seed)
    looked[key] = found
    log.info("%s", _told(key, len(x), found))
    count = int(found.clusters.max()) + 1
    if not count:
        return keys
    parts = [f"{key}.{i + 1}" if key else str(i + 1) for i in range(count)]
    for i, part in enumerate(parts):
        stats = float(found.silhouette[i]), float(found.stability[i])
        nodes.append(Node(part, key, *stats))
        rows = np.flatnonzero(found.clusters == i)
        keys[rows] = _divided(x[rows], part, settings, seed, nodes, looked)
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
        min_stability=settings.min_stability,
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
    told = f"{count} clusters, {rest:,} in none" if count else "not divided"
    return f"{what}, {rows:,} products: {told}"
