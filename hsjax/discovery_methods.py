"""How clusters are found among products: the cascade, and baselines of discovery."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.features.cluster_cascade import Cascade, Node, find_clusters
from hsjax.features.kmeans import k_means
from hsjax.features.mixed import Mixed
from hsjax.features.parametric import discover
from hsjax.train.workdir import ConfigError

RESTARTS = 5  # of K-means: one gets stuck where there are many clusters


def found_clusters(config, vectors: Mixed, truth: Shaped[np.ndarray, "N"]) -> Cascade:
    """By `recategorize.method`, of the rows that have a vector; the others are in none.

    Args:
      truth: hidden classes; only baselines of category discovery see some.
    """
    settings, here = config.recategorize, vectors.present
    find = METHODS[settings.method]
    cascade = find(lambda rows: vectors(here[rows]), truth[here], config)
    found = {}
    for name in ("keys", "spread"):
        found[name] = np.full(len(truth), "", dtype=cascade.keys.dtype)
        found[name][here] = getattr(cascade, name)
    return cascade._replace(**found, rows=here[cascade.rows])


def _cascade(vectors, truth, config) -> Cascade:
    return find_clusters(vectors, len(truth), config.recategorize, seed=config.seed)


def _k_means(vectors, truth, config) -> Cascade:
    x = vectors(np.arange(len(truth)))
    count = _count(config, truth)
    found = k_means(x, count, seed=config.seed, restarts=RESTARTS)
    return _flat(found.assignment, len(truth))


def _known_k_means(vectors, truth, config) -> Cascade:
    x, known = vectors(np.arange(len(truth))), known_labels(truth, config)
    found = k_means(
        x, _count(config, truth), labels=known, seed=config.seed, restarts=RESTARTS
    )
    return _flat(found.assignment, len(truth))


def _parametric(vectors, truth, config) -> Cascade:
    x, known = vectors(np.arange(len(truth))), known_labels(truth, config)
    found = discover(x, known, _count(config, truth), seed=config.seed)
    return _flat(found.assignment, len(truth))


METHODS: Mapping[str, Callable] = {
    "cascade": _cascade,
    "k_means": _k_means,
    "known_k_means": _known_k_means,
    "parametric": _parametric,
}


def _count(config, truth: np.ndarray) -> int:
    """Of the baselines: what is asked for, or as many as there are hidden classes."""
    asked = tuple(config.recategorize.clusters)
    classes = len(set(truth.tolist()) - {""})
    if not asked and not classes:
        raise ConfigError(
            f"recategorize.method={config.recategorize.method} chooses no number of"
            " clusters: give it in recategorize.clusters"
        )
    return asked[0] if asked else classes


def known_labels(truth: Shaped[np.ndarray, "N"], config) -> Integer[np.ndarray, "N"]:
    """Classes that a baseline is told, 0, 1, ...; -1 where it has to find out.

    Of the classes in alphabetical order every `1 / known`-th is known (half of them:
    every other one), and of these half of the products, drawn by the seed.
    """
    settings = config.recategorize
    classes = sorted(set(truth.tolist()) - {""})
    count = max(1, round(settings.known * len(classes)))
    places = np.linspace(0, len(classes) - 1, count).round().astype(int)
    known = {classes[i]: number for number, i in enumerate(dict.fromkeys(places))}
    drawn = np.random.default_rng(config.seed).random(len(truth)) < 0.5
    labels = np.array([known.get(t, -1) for t in truth.tolist()], np.int32)
    return np.where(drawn, labels, -1).astype(np.int32)


def _flat(assignment: np.ndarray, count: int) -> Cascade:
    """One level of clusters, the largest first; no map and nothing left out."""
    sizes = np.bincount(assignment)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    names = {cluster: str(i + 1) for i, cluster in enumerate(order.tolist())}
    keys = np.array([names[c] for c in assignment.tolist()])
    nan = float("nan")
    nodes = tuple(Node(name, "", nan, nan) for name in names.values())
    rows, empty = np.arange(count), np.zeros((count, 2), np.float32)
    kept, score = np.ones(count, bool), np.zeros(count)
    return Cascade(keys, keys, nodes, {}, rows, empty, kept, score)
