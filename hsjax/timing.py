"""Two sides timed in turn, and whether other work on the machine disturbed."""

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

THREADS = 2  # of a measurement, ours and the peer's alike
SPREAD = 0.25  # quartiles further apart than this share of the median: noisy


def times_faster(ours: Callable, peer: Callable, *, rounds: int) -> dict:
    """Median seconds of both, in turn after a warm-up, and how much faster ours is."""
    return compared(*_turns(ours, peer, rounds))


def compared(ours: Sequence[float], peer: Sequence[float]) -> dict:
    """What `times_faster` says, of the seconds of each round.

    `times_faster`, peer / ours, is the median of the rounds' own ratios, as their
    quartiles and their spread are: not the quotient of two medians.
    """
    found = summary(np.divide(peer, ours))
    return {
        "ours_seconds": float(np.median(ours)),
        "peer_seconds": float(np.median(peer)),
        "times_faster": found.pop("median"),
        **{f"times_faster_{key}": value for key, value in found.items()},
    }


def headline(name: str, items: int, found: dict, *, peer_is: str) -> dict:
    """What every comparison says first: rates of both, their ratio and its spread.

    Args:
      items: that a turn goes through, so that `ours` and `peer` are a second's.
      found: of `times_faster`; `ratio` is its, above 1 = ours is faster.
    """
    return {
        "name": name,
        "peer_is": peer_is,
        "ours": items / found["ours_seconds"],
        "peer": items / found["peer_seconds"],
        "ratio": found["times_faster"],
        "spread": found["times_faster_spread"],
    }


def _turns(ours: Callable, peer: Callable, rounds: int) -> tuple[list, list]:
    """Seconds of each side in each round; the first turn of both is no measurement."""
    times = [], []
    for turn in range(rounds + 1):
        for side, seconds in zip((ours, peer), times, strict=True):
            start = time.perf_counter()
            side()
            if turn:
                seconds.append(time.perf_counter() - start)
    return times


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
    return load > result["cores"] + 0.5 or max(spreads, default=0.0) > SPREAD
