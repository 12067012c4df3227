"""Two sides timed in turn, and whether other work on the machine disturbed."""

import os
import time
from collections.abc import Callable

import numpy as np

THREADS = 2  # of a measurement, ours and the peer's alike
SPREAD = 0.25  # quartiles further apart than this share of the median: noisy


def alternate(ours: Callable, peer: Callable, *, rounds: int) -> dict:
    """Median seconds of both, in turn after a warm-up, and the ratio ours / peer."""
    times = {ours: [], peer: []}
    for turn in range(rounds + 1):
        for side in (ours, peer):
            start = time.perf_counter()
            side()
            if turn:
                times[side].append(time.perf_counter() - start)
    ratio = summary(np.array(times[ours]) / np.array(times[peer]))
    return {
        "ours_seconds": float(np.median(times[ours])),
        "peer_seconds": float(np.median(times[peer])),
        "ratio": ratio.pop("median"),
        **{f"ratio_{name}": value for name, value in ratio.items()},
    }


def summary(values) -> dict:
    """Median, quartiles, and their distance as a share of the median."""
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return {
        "median": median,
        "quartiles": [low, high],
        "spread": (high - low) / abs(median),
    }


def pin() -> dict:
    """Keeps this process to two threads; returns load and cores before that.

    jax counts the cores that it may use once, so this comes before its import.
    """
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    threads = "all cores, not pinned"
    if hasattr(os, "sched_setaffinity"):  # Linux alone
        allowed = sorted(os.sched_getaffinity(0))
        cores, kept = len(allowed), allowed[:THREADS]
        os.sched_setaffinity(0, kept)
        threads = f"pinned to {len(kept)}"
    return {"load": load, "cores": cores, "threads": threads}


def is_noisy(result: dict) -> bool:
    """Did other work disturb: a load above cores + 0.5, or rounds that disagree?"""
    load = max(result["load"], result["load_after"])
    spreads = [
        v
        for part in result.values()
        if isinstance(part, dict)
        for k, v in part.items()
        if k.endswith("spread")
    ]
    return load > result["cores"] + 0.5 or max(spreads) > SPREAD
