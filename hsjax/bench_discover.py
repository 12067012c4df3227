"""What `bench discover` measures: clusters of generated vectors, and the memory."""

import logging
import resource
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Integer
from ml_collections import ConfigDict

from hsjax.evaluation.clusters import ari
from hsjax.features.cluster_cascade import find_clusters
from hsjax.features.kmeans import k_means

log = logging.getLogger("hsjax")

GROUPS, PARTS = 10, 5  # planted: groups of parts that touch
STEPS = 15  # of both K-means: until when they converge differs
GIB = 2**20  # of what Linux counts in KiB


def bench_discover(settings: ConfigDict, *, rows: int, width: int) -> dict:
    """Seconds and peak memory of a cascade over all rows, and of K-means beside it.

    Args:
      settings: `config.recategorize`.
    """
    from sklearn.cluster import KMeans

    x, labels = planted(rows, width)
    result = {"rows": rows, "width": width, "sample": settings.sample}
    result["input_gib"] = x.nbytes / 2**30
    found, seconds = _timed(
        lambda: find_clusters(lambda i: x[i], rows, settings, seed=0)
    )
    top = np.unique([key.split(".")[0] for key in found.keys], return_inverse=True)[1]
    inside = found.keys != ""
    result["cascade"] = {
        "seconds": seconds,
        "clusters": len({node.key for node in found.nodes if not node.parent}),
        "ari": ari(labels[inside] // PARTS, top[inside]),
        "coverage": float(inside.mean()),
        "peak_gib": _peak(),
    }
    count = GROUPS * PARTS
    ours, seconds = _timed(lambda: k_means(x, count, iterations=STEPS, tolerance=0.0))
    result["k_means"] = {"seconds": seconds, "inertia": ours.inertia}
    result["k_means"]["peak_gib"] = _peak()
    peer = KMeans(count, n_init=1, max_iter=STEPS, tol=0.0, random_state=0)
    _, peer_seconds = _timed(lambda: peer.fit(x))
    result["scikit_learn"] = {"seconds": peer_seconds, "inertia": float(peer.inertia_)}
    result["times_faster"] = peer_seconds / seconds
    return result


def planted(
    rows: int, width: int, *, seed: int = 0
) -> tuple[Float[np.ndarray, "N D"], Integer[np.ndarray, "N"]]:
    """Vectors in groups whose parts touch, and the part of each."""
    rng = np.random.default_rng(seed)
    outer = 10 * rng.normal(size=(GROUPS, width)).astype(np.float32)
    labels = rng.integers(GROUPS * PARTS, size=rows)
    x = rng.standard_normal((rows, width), dtype=np.float32)
    x += outer[labels // PARTS]
    x[:, 0] += 4 * (labels % PARTS)
    return x, labels


def _timed(work: Callable) -> tuple:
    start = time.perf_counter()
    done = work()
    return done, round(time.perf_counter() - start, 2)


def _peak() -> float:
    """Of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
