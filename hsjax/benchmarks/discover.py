"""What `bench discover` measures: clusters of generated vectors, and the memory."""

import contextlib
import re
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer
from ml_collections import ConfigDict

from hsjax.evaluation.clusters import ari
from hsjax.features.cluster_cascade import find_clusters
from hsjax.features.kmeans import k_means
from hsjax.timing import headline, times_faster
from hsjax.train.workdir import ConfigError

GROUPS, PARTS = 10, 5  # planted: groups of parts that touch
STEPS = 15  # of both K-means: until when they converge differs
KIB_OF_GIB = 2**20


def bench_discover(settings: ConfigDict, *, rows: int, width: int, rounds: int) -> dict:
    """Seconds and peak memory of a cascade over all rows, and K-means in turn with that
    of scikit-learn.

    Nothing else makes such a cascade of so many rows: it has one turn, and no peer.

    Args:
      settings: `config.recategorize`.
      rounds: turns of each K-means.
    """
    from sklearn.cluster import KMeans

    x, labels = planted(rows, width)
    result = {"rows": rows, "width": width, "sample": settings.sample}
    result["input_gib"] = x.nbytes / 2**30
    _forget_peak()
    start = time.perf_counter()
    found = find_clusters(lambda i: x[i], rows, settings, seed=0)
    seconds = time.perf_counter() - start
    top = np.unique([key.split(".")[0] for key in found.keys], return_inverse=True)[1]
    inside = found.keys != ""
    result["cascade"] = {
        "turns": 1,
        "seconds": round(seconds, 2),
        "peak_gib": _peak(),
        "clusters": len({node.key for node in found.nodes if not node.parent}),
        "ari": ari(labels[inside] // PARTS, top[inside]),
        "coverage": float(inside.mean()),
    }
    count, inertia = GROUPS * PARTS, {}

    def ours():
        done = k_means(x, count, iterations=STEPS, tolerance=0.0)
        inertia["ours_inertia"] = done.inertia

    def peer():
        options = {"n_init": 1, "max_iter": STEPS, "tol": 0.0, "random_state": 0}
        inertia["peer_inertia"] = float(KMeans(count, **options).fit(x).inertia_)

    _forget_peak()
    ours()
    memory = {"ours_peak_gib": _peak()}
    turns = times_faster(ours, peer, rounds=rounds)
    first = headline("discover", rows, turns, peer_is="scikit-learn's K-means")
    return first | result | {"k_means": {**turns, **inertia, **memory}}


def planted(
    rows: int, width: int, *, seed: int = 0
) -> tuple[Float[np.ndarray, "N D"], Integer[np.ndarray, "N"]]:
    """Vectors in groups whose parts touch, and the part of each.

    Raises:
      ConfigError: fewer rows than parts.
    """
    if rows < GROUPS * PARTS:
        raise ConfigError(
            f"--items is {rows}, and {GROUPS * PARTS} clusters are planted: give more"
        )
    rng = np.random.default_rng(seed)
    outer = 10 * rng.normal(size=(GROUPS, width)).astype(np.float32)
    labels = rng.integers(GROUPS * PARTS, size=rows)
    x = rng.standard_normal((rows, width), dtype=np.float32)
    x += outer[labels // PARTS]
    x[:, 0] += 4 * (labels % PARTS)
    return x, labels


def _forget_peak() -> None:
    """From here on `_peak` counts anew, without what ran before."""
    with contextlib.suppress(OSError):  # Linux alone has it
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float | None:
    """The most memory of this process in GiB, all input included; None = not known."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(found[1]) / KIB_OF_GIB
    return None
