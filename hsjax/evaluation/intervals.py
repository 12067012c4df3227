"""Intervals: bootstrap over groups, and Student's t over seeds; they are never mixed.

Resampling is by multinomial counts: a resample is a column of integer row weights, in
which all rows of a group carry the group's count. Every metric is a function of such
weights, so 1,000 resamples are a matrix product, not 1,000 runs.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

ENTRIES = 2**22  # weights held at once: 32 MB
MOVED = "ece$|macro_"
MIN_RUNS = 3  # for a t-interval; two have their range

# (N, R) row weights -> name -> (R,) values, nan where the metric is undefined
Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]


class Interval(NamedTuple):
    """A value with its 95 % bounds; nan where there is nothing to measure."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Of a difference: 0 is not within the bounds."""
        return self.low > 0 or self.high < 0


def verdict(products: Interval | None, seeds: Interval | None) -> str:
    """Is a difference significant? Only if no interval that could be measured holds 0.

    Args:
      products: over resampled groups of products; seeds: over runs.

    Returns:
      `yes`, `no`, `yes, by rows alone`, `yes, by seeds alone`, or '' where there is
      neither.
    """
    known = [x for x in (products, seeds) if x is not None]
    if not known or math.isnan(known[0].value):
        return ""
    if not all(x.is_clear for x in known):
        return "no"
    if len(known) == 2:
        return "yes"
    return "yes, by seeds alone" if products is None else "yes, by rows alone"


def resamples(
    group: Shaped[np.ndarray, "N"], *, count: int = 1000, seed: int = 0
) -> Iterator[Float[np.ndarray, "N R"]]:
    """Row weights of `count` bootstrap resamples of the groups, in chunks.

    The same groups and seed give the same resamples, whatever the order of the rows.
    """
    unique, inverse = np.unique(group, return_inverse=True)
    rng = np.random.default_rng(seed)
    share = np.full(len(unique), 1 / len(unique))
    chunk = max(1, ENTRIES // len(group))
    for start in range(0, count, chunk):
        draws = rng.multinomial(len(unique), share, size=min(chunk, count - start))
        yield draws.T[inverse].astype(np.float64)


def bootstrap(
    statistic: Statistic,
    group: Shaped[np.ndarray, "N"],
    *,
    count: int = 1000,
    seed: int = 0,
    moved: str = MOVED,
) -> dict[str, Interval]:
    """The statistic on the rows as they are, with percentile intervals.

    Args:
      moved: pattern of shares whose bounds are shifted by what resampling itself does
        to them (Efron and Tibshirani 1993, chapter 10), as they would not hold the
        value: an ECE grows by rows that are drawn twice, a macro average by rare
        classes that are not drawn. '' = none: a difference has both sides moved alike.
    """
    point = statistic(np.ones((len(group), 1)))
    chunks = [
        statistic(weights) for weights in resamples(group, count=count, seed=seed)
    ]
    result = {}
    for name, value in point.items():
        draws = np.concatenate([[], *(chunk[name] for chunk in chunks)])
        bounds = percentiles(draws)
        if moved and np.isfinite(bounds[0]) and re.search(moved, name):
            excess = np.nanmean(draws) - value[0]
            bounds = tuple(float(np.clip(x - excess, 0, 1)) for x in bounds)
        result[name] = Interval(float(value[0]), *bounds)
    return result


def percentiles(draws: Float[np.ndarray, "R"]) -> tuple[float, float]:
    """2.5th and 97.5th percentile of the resamples in which the metric is defined."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return np.nan, np.nan
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean over runs that differ in their seed, with a 95 % t-interval.

    Two runs have their range instead: Student's t with one degree of freedom says that
    a share lies between 79 % and 109 %. One run has no bounds. The bounds of a share
    may still pass 0 or 1, where tables cut them: see `share_bounds`.

    >>> [round(x, 3) for x in seed_interval([0.80, 0.82, 0.84])]
    [0.82, 0.77, 0.87]
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, np.nan, np.nan)
    if len(values) < MIN_RUNS:
        return Interval(mean, float(values.min()), float(values.max()))
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * error)
    return Interval(mean, mean - half, mean + half)


def share_bounds(interval: Interval) -> Interval:
    """The interval of a share with its bounds cut at 0 and 1, for people to read.

    Student's t knows of no ends, so that 99, 99.5 and 98.6 % reach beyond 100 %. What
    is cut off holds no share: as many intervals cover the true one as before. A value
    that is no share itself is left alone; differences are not to be given.

    >>> [round(x, 3) for x in share_bounds(seed_interval([0.99, 0.995, 0.986]))]
    [0.99, 0.979, 1.0]
    """
    value, *bounds = interval
    if not 0 <= value <= 1:
        return interval
    return Interval(value, *np.clip(bounds, 0.0, 1.0).tolist())


def told_bounds(runs: Iterable[int]) -> str:
    """What the bounds of `seed_interval` are, a sentence each, a space before it.

    Args:
      runs: how many stand behind each mean.
    """
    counts, text = set(runs), ""
    if max(counts, default=0) >= MIN_RUNS:
        text += " Brackets hold 95 % t-intervals over the runs, those of shares cut at"
        text += " 0 and 100 %."
    if 2 in counts:
        text += " Two runs are too few for an interval: their range is given."
    return text
