"""A threshold between two models (Paper B, section VI), fitted to a wish."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.calibration import calibrated, fit_calibration, least_stated
from hsjax.evaluation.cascade_bounds import (
    EVEN,
    least_gaps,
    looked_at,
    within_quality,
)
from hsjax.evaluation.cascade_curve import (
    METRICS,
    NEVER,
    Curve,
    cascade_curve,
    mean_cost,
    merged,
    reached,
    within_cost,
)
from hsjax.evaluation.measures import right_paths
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.inference.cascade import Cascade, stated


class Wish(NamedTuple):
    """How a threshold is to be found; exactly one of the first three.

    Attributes:
      quality: points of the metric that may be lost against the strong model.
      cost: milliseconds that a product may cost in the mean.
      threshold: calibrated, by hand.
      abstain: a product that would be sent on is left to people instead where the
        strong model is right with a smaller probability; 0 = never. Threshold and
        curve are those without it.
      calibration: of the cheap model's confidence.
      metric: of `METRICS`, that `quality` and `cost` are wished for in.
      sure: probability that `quality` holds on other products like those of the fit.
    """

    quality: float | None = None
    cost: float | None = None
    threshold: float | None = None
    abstain: float = 0.0
    calibration: str = "temperature"
    metric: str = "hierarchical_f1"
    sure: float = 0.95


def check_truth(
    cheap: Predictions, strong: Predictions, runs: Sequence[Path | str]
) -> None:
    """CatalogueError where two runs read different labels of the same rows."""
    other = np.flatnonzero((cheap.truth != strong.truth).any(axis=1))
    if len(other):
        first = other[0]
        one, two = (str(deepest(p.truth[other[:1]])[0]) for p in (cheap, strong))
        raise CatalogueError(
            f"the runs read other labels of {len(other):,} of {len(cheap):,} rows: row"
            f" {cheap.row[first]} is {one!r} to {runs[0]} and {two!r} to {runs[1]}."
            " Train both with the same label columns and taxonomy.label_map"
        )


def fit_cascade(
    cheap: Predictions,
    strong: Predictions,
    *,
    runs: tuple[str, str],
    wish: Wish,
    costs: tuple[float, float],
    fitted: str,
) -> Cascade:
    """The threshold that a wish asks for, on labelled rows that both have answered.

    Raises:
      CatalogueError: no cascade keeps within the cost, or the runs read other labels.
    """
    check_truth(cheap, strong, runs)
    kept = np.flatnonzero((cheap.truth != "").any(axis=1))
    cheap, strong = cheap.select(kept), strong.select(kept)
    sure = stated(cheap)
    calibration = fit_calibration(wish.calibration, sure, right_paths(cheap))
    if wish.threshold is not None:
        least = least_stated(calibration, wish.threshold)
        threshold = NEVER if least is None else least
        told = f"threshold {wish.threshold:g} by hand"
    else:
        curve = cascade_curve(cheap, strong, sure)
        if wish.cost is None:
            point, told = _by_quality(cheap, strong, curve, wish)
        else:
            point, told = _by_cost(curve, wish, costs)
        threshold = float(curve.threshold[point])
    floor = 0.0
    if wish.abstain:
        chance = fit_calibration("isotonic", sure, right_paths(strong))
        grid = np.unique(sure)
        enough = calibrated(chance, grid) >= wish.abstain
        floor = float(grid[np.argmax(enough)]) if enough.any() else NEVER
        told += f", left to people below a chance of {wish.abstain:g}"
    where = f"{fitted}, {len(kept):,} rows"
    found = Cascade(runs, calibration, threshold, floor, costs, told, where)
    found = found._replace(metric=wish.metric)
    sent, left = found.routed(cheap)
    routes = {"escalated": sent, "abstained": left, "present": {}}
    both = merged(cheap, strong.select(sent), **routes)
    return found._replace(reached=reached(both, strong))


def _by_quality(
    cheap: Predictions, strong: Predictions, curve: Curve, wish: Wish
) -> tuple[int, str]:
    """Point of the curve, and the wish in words."""
    loss = wish.quality or 0.0
    of = {"metric": wish.metric, "sure": wish.sure}
    gaps = least_gaps(cheap, strong, stated(cheap), curve, **of)
    point = int(looked_at(curve)[within_quality(gaps, loss / 100)])
    told = f"at most {loss:g} points of {METRICS[wish.metric]} below the strong model"
    if wish.sure > EVEN:
        told += f", with a probability of {wish.sure:g}"
    if point == len(curve.threshold) - 1:
        told += "; of no threshold do these rows say so, so that all are sent on"
    return point, told


def _by_cost(curve: Curve, wish: Wish, costs: tuple[float, float]) -> tuple[int, str]:
    """Point of the curve, and the wish in words."""
    name = METRICS[wish.metric]
    if not np.isfinite(costs).all():
        raise CatalogueError(
            "--cost: what a product costs is not known, as an encoder is not at hand:"
            " give --costs=CHEAP,STRONG in milliseconds"
        )
    point = within_cost(curve, costs, wish.cost, wish.metric)
    if point is None:
        raise CatalogueError(
            f"--cost={wish.cost:g}: the cheap stage alone takes"
            f" {mean_cost(0.0, costs):.2f} ms a product here"
        )
    return point, f"the best {name} for at most {wish.cost:g} ms a product"
