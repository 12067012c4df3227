"""Lines of `metrics.jsonl` as curves, and several of them as one mean curve."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.data.records import CatalogueError
from hsjax.evaluation.intervals import Interval, seed_interval
from hsjax.spelling import meant

# no share of anything, and better where it is lower
TERMS = ("classification", "contrastive", "self_supervised")
LOSSES = re.compile(rf"(^|/)(loss|gradient_norm|{'|'.join(TERMS)})$|severity/")


class Training(NamedTuple):
    """What a run told while it was trained.

    Attributes:
      lines: of metrics.jsonl, see `MetricsLog`.
      epoch: steps of one, 0 = not known.
    """

    lines: Sequence[Mapping]
    epoch: float


class Points(NamedTuple):
    """One run's curve, without points that are not finite."""

    x: Float[np.ndarray, "K"]
    y: Float[np.ndarray, "K"]


def is_loss(name: str) -> bool:
    return bool(LOSSES.search(name))


def lower_is_better(name: str) -> bool:
    return is_loss(name) or name.endswith("/ece")


def curve_names(curve: str, known: Collection[str]) -> list[str]:
    """The metrics that a curve's name stands for, validation's last.

    >>> curve_names("loss", {"train/loss", "val/loss", "val/level1/accuracy"})
    ['train/loss', 'val/loss']
    >>> curve_names("accuracy", {"val/level1/accuracy", "val/level2/accuracy"})
    ['val/level2/accuracy']

    Raises:
      CatalogueError: none.
    """
    if curve in known:
        return [curve]
    if found := [
        f"{part}/{curve}" for part in ("train", "val") if f"{part}/{curve}" in known
    ]:
        return found
    levels = [n for n in known if re.fullmatch(rf"val/level\d+/{re.escape(curve)}", n)]
    if levels:
        return [max(levels, key=lambda name: int(name.split("/")[1][5:]))]
    short = {name.rpartition("/")[2] for name in known}
    raise CatalogueError(
        f"curves: no run has the metric {curve!r}.{meant(curve, {*known, *short})}"
        f" Known: {', '.join(sorted(short))}, and with their part {min(known)}, ..."
    )


def points_of(run: Training, name: str, axis: str) -> Points:
    """One metric of a run; training's as means over what lies between two looks.

    Args:
      axis: `epoch` or `step`.
    """
    found = _points(run.lines, name)
    looks = [line["step"] for line in run.lines if any(k[:4] == "val/" for k in line)]
    if not name.startswith("val/") and looks:
        ends = np.unique(np.array(looks, np.float64))
        place = np.searchsorted(ends, found.x)
        inside = [k for k in range(len(ends)) if (place == k).any()]
        means = [float(found.y[place == k].mean()) for k in inside]
        found = Points(ends[inside], np.array(means, np.float64))
    return Points(found.x / run.epoch, found.y) if axis == "epoch" else found


def _points(lines: Sequence[Mapping], name: str) -> Points:
    pairs = [(x["step"], x[name]) for x in lines if x.get(name) is not None]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return Points(table[:, 0], table[:, 1])


def best_of(points: Points, name: str) -> tuple[float, float]:
    """(x, y) of the best point; nan where there is none."""
    if not len(points.y):
        return math.nan, math.nan
    best = np.argmin(points.y) if lower_is_better(name) else np.argmax(points.y)
    return float(points.x[best]), float(points.y[best])


def mean_line(curves: Sequence[Points]) -> list[tuple[float, int, Interval]]:
    """(x, runs, mean over the runs with its interval) along the longest curve.

    A run that has no point right there counts with what lies on the line between its
    two nearest. Runs end early: the mean is of those that go on, and itself ends where
    they are fewer than half.
    """
    curves = [points for points in curves if len(points.x)]
    if not curves:
        return []
    grid, line = max(curves, key=lambda points: points.x[-1]).x, []
    for x in grid.tolist():
        near = 1e-6 * grid[-1]
        on = [c for c in curves if c.x[0] - near <= x <= c.x[-1] + near]
        if len(on) * 2 >= len(curves):
            values = [float(np.interp(x, c.x, c.y)) for c in on]
            line.append((x, len(on), seed_interval(values)))
    return line
