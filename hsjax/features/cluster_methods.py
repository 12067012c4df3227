"""How clusters are found among products: the cascade, and baselines of discovery.

`labels` finds nothing: what the labels are worth as they stand, as deep as they are
looked at.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.features.cluster_cascade import Cascade, Node, find_clusters, undivided
from hsjax.features.kmeans import k_means
from hsjax.features.mixed import Mixed
from hsjax.features.parametric import discover

KNOWING = ("known_k_means", "parametric")  # methods that are told some classes
RESTARTS = 5  # of K-means: one gets stuck where there are many clusters


def found_clusters(
    config,
    vectors: Mixed,
    truth: Shaped[np.ndarray, "N"],
    told: Shaped[np.ndarray, "N"],
) -> Cascade:
    """By `recategorize.method`, of the rows that have a vector; the others are in none.

    Args:
      truth: hidden classes; baselines take their number where none is asked for.
      told: of `told_classes`; only baselines of category discovery see it.

    Raises:
      ValueError: a number of clusters that cannot be, or none where one is needed.
    """
    method, here = config.recategorize.method, vectors.present
    options = truth[here], told[here], config
    try:
        cascade = METHODS[method](lambda rows: vectors(here[rows]), *options)
    except ValueError as error:
        raise ValueError(f"recategorize.method={method}: {error}") from None
    found = {}
    for name in ("keys", "spread", "kept", "score"):
        own = getattr(cascade, name)
        found[name] = getattr(undivided(len(truth)), name).astype(own.dtype)
        found[name][here] = own
    return cascade._replace(**found, rows=here[cascade.rows])


def _cascade(vectors, truth, told, config) -> Cascade:
    return find_clusters(vectors, len(truth), config.recategorize, seed=config.seed)


def _labels(vectors, truth, told, config) -> Cascade:
    return undivided(len(truth))


def _k_means(vectors, truth, told, config) -> Cascade:
    x, options = vectors(np.arange(len(truth))), _options(config)
    count = _count(config, truth, told[:0])
    return _flat(k_means(x, count, **options).assignment)


def _known_k_means(vectors, truth, told, config) -> Cascade:
    x, options = vectors(np.arange(len(truth))), _options(config)
    found = k_means(x, _count(config, truth, told), labels=_numbers(told), **options)
    return _flat(found.assignment)


def _parametric(vectors, truth, told, config) -> Cascade:
    x = vectors(np.arange(len(truth)))
    found = discover(x, _numbers(told), _count(config, truth, told), seed=config.seed)
    return _flat(found.assignment)


def _options(config) -> dict[str, int]:
    return {"seed": config.seed, "restarts": RESTARTS}


METHODS: Mapping[str, Callable] = {
    "cascade": _cascade,
    "k_means": _k_means,
    "known_k_means": _known_k_means,
    "parametric": _parametric,
    "labels": _labels,
}


def _count(config, truth: np.ndarray, told: np.ndarray) -> int:
    """Of the baselines: what is asked for, or as many as there are hidden classes.

    Classes of fewer products than a cluster may have do not count: a cluster for two
    products would cost the baseline more than it gives. What it is told does.
    """
    asked = tuple(config.recategorize.clusters)
    names, counts = np.unique(truth[truth != ""], return_counts=True)
    large = set(names[counts >= config.recategorize.min_size].tolist())
    classes = len(large | set(told[told != ""].tolist()))
    if not asked and not len(names):
        raise ValueError("give the number of clusters in recategorize.clusters")
    return asked[0] if asked else max(1, classes)


def told_classes(truth: Shaped[np.ndarray, "N"], config) -> Shaped[np.ndarray, "N"]:
    """Classes that a baseline is told of a branch's products, '' where it is not.

    Of all hidden classes in alphabetical order a share `known` is, spread evenly, and
    of these half of the products, at least one, drawn by the seed.
    """
    classes = sorted(set(truth.tolist()) - {""})
    told = np.full(len(truth), "", dtype=truth.dtype)
    if not classes:
        return told
    count = max(1, round(config.recategorize.known * len(classes)))
    places = np.linspace(0, len(classes) - 1, count).round().astype(int)
    rng = np.random.default_rng(config.seed)
    for place in dict.fromkeys(places.tolist()):
        rows = rng.permutation(np.flatnonzero(truth == classes[place]))
        told[rows[: max(1, len(rows) // 2)]] = classes[place]
    return told


def _numbers(told: Shaped[np.ndarray, "N"]) -> Integer[np.ndarray, "N"]:
    """0, 1, ... of the classes that are told among these products, -1 elsewhere."""
    classes = sorted(set(told.tolist()) - {""})
    number = {name: i for i, name in enumerate(classes)} | {"": -1}
    return np.array([number[name] for name in told.tolist()], np.int32)


def _flat(assignment: np.ndarray) -> Cascade:
    """One level of clusters, the largest first; no map and nothing left out."""
    sizes = np.bincount(assignment)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    names = {cluster: str(i + 1) for i, cluster in enumerate(order.tolist())}
    keys = np.array([names[c] for c in assignment.tolist()])
    nan = float("nan")
    nodes = tuple(Node(name, "", nan, nan) for name in names.values())
    alone = undivided(len(keys))
    return alone._replace(
        keys=keys, spread=keys, nodes=nodes, kept=np.ones(len(keys), bool)
    )
