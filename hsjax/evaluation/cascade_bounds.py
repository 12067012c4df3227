"""What a cascade loses against its strong model at worst, threshold by threshold."""

import numpy as np
from jaxtyping import Float

from hsjax.evaluation.cascade_curve import Curve, figures_of, stage_counts
from hsjax.evaluation.intervals import resamples
from hsjax.evaluation.predictions import Predictions

GRID = 1000  # thresholds that are looked at, evenly by what they send on
DRAWS = 1000  # resamples
ROUNDING = 1e-9  # of floats: what is lost to the very number is within a wish
EVEN = 0.5  # as sure of more as of less: the figures as they are


def looked_at(curve: Curve) -> np.ndarray:
    """Points of a curve: all, or some that send on more and more; the last is one."""
    if len(curve.threshold) <= GRID:
        return np.arange(len(curve.threshold))
    shares = np.linspace(0.0, 1.0, GRID)
    return np.unique(np.searchsorted(curve.escalated, shares))


def least_gaps(
    cheap: Predictions,
    strong: Predictions,
    confidence: Float[np.ndarray, "N"],
    curve: Curve,
    *,
    metric: str,
    sure: float,
) -> Float[np.ndarray, "G"]:
    """Cascade − strong at each point of `looked_at`, at least, with this probability.

    A one-sided percentile bound over resampled groups of products; with `EVEN` the
    difference on the rows as they are.

    Args:
      cheap, strong, confidence: as of `cascade_curve`, which gave the curve.
      metric: of `METRICS`.
      sure: from `EVEN` to below 1.
    """
    points, figures = looked_at(curve), curve.of(metric)
    if sure <= EVEN:
        return figures[points] - figures[-1]
    order = np.argsort(confidence, kind="stable")
    first, second = (stage_counts(p)[:, order] for p in (cheap, strong))
    rows = np.rint(curve.escalated[points] * len(order)).astype(int)
    # between two points rows move together: they are summed once, for all resamples
    slot = np.searchsorted(rows, np.arange(len(order)), side="right")
    gaps = []
    for weights in resamples(cheap.group, count=DRAWS):
        moved = _summed(second - first, weights[order], slot, len(points))
        start = first @ weights[order]
        found = figures_of(start[:, None] + np.cumsum(moved, axis=1), weights.sum(0))
        gaps.append(found[metric] - found[metric][-1])
    return np.quantile(np.concatenate(gaps, axis=1), 1 - sure, axis=1)


def _summed(values, weights, slot, count: int) -> Float[np.ndarray, "4 G R"]:
    """(4, N) values times (N, R) weights, summed over the rows before each point."""
    found = np.zeros((len(values), count, weights.shape[1]))
    bounds = np.searchsorted(slot, np.arange(count + 1))
    for i in range(count):
        rows = slice(bounds[i], bounds[i + 1])
        if rows.start < rows.stop:
            found[:, i] = values[:, rows] @ weights[rows]
    return found


def within_quality(gaps: Float[np.ndarray, "G"], loss: float) -> int:
    """The cheapest point that loses at most so much, as all do that send on more.

    The figures of a curve rise and fall by chance: the first point above a line may be
    a lucky one, between two that are below it. So the points are tried from the last,
    which sends all on and loses nothing, to the first that loses more (fixed-sequence
    testing: Angelopoulos et al., Learn then Test, 2021).

    >>> within_quality(np.array([-0.11, -0.005, -0.05, -0.03, -0.01, 0.0]), 0.01)
    4
    """
    lost = np.flatnonzero(gaps < -loss - ROUNDING)
    return int(lost[-1]) + 1 if len(lost) else 0
