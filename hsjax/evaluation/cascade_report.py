"""What a cascade is worth: a table, a curve and a plot."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hsjax.atomic import finished
from hsjax.evaluation.cascade_curve import NEVER, Curve, mean_cost
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.plots import BLUE, GREY, ORANGE

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # escalated, of a table's lines
DIGITS = range(4, 17)  # decimals of a threshold: as few as tell it from others
COLUMNS = ("threshold", "escalated", "cost_ms", "hierarchical_f1", "accuracy")


def cascade_table(
    curve: Curve, chosen: int, costs: Sequence[float], *, fitted: float
) -> str:
    """Some points of the curve, and the one that was fitted.

    Args:
      curve: of the scored rows; chosen: point that does what `fitted` does, which lies
        between two confidences of other rows.
      costs: milliseconds of a product in each stage.
    """
    shares = {int(np.argmin(np.abs(curve.escalated - s))) for s in SHARES}
    points = sorted(shares | {chosen})
    thresholds = [fitted if i == chosen else float(curve.threshold[i]) for i in points]
    lines = [
        [
            f"{'**fitted** ' if i == chosen else ''}{threshold}",
            *(f"{100 * x[i]:.1f}" for x in (curve.escalated, curve.f1, curve.accuracy)),
            _cost(mean_cost(curve.escalated[i], costs)),
        ]
        for i, threshold in zip(points, told_thresholds(thresholds), strict=True)
    ]
    head = ["sent on below", "sent on, %", "hF1", "accuracy", "ms a product"]
    told = (
        "The first line is the cheap model alone, the last the strong one behind it."
        " Times are those of a product in a full batch, encoders included. What is left"
        " to people is not in these lines."
    )
    return f"{table(head, lines)}\n\n{told}"


def told_thresholds(values: Sequence[float]) -> list[str]:
    """Each with so many decimals that it is no other of them, and neither 0 nor 1.

    >>> told_thresholds([0.25931, 0.99997, 0.99998, 2.0])
    ['0.2593', '0.99997', '0.99998', 'any']
    """
    known, found = {0.0, 1.0, *values}, []
    for value in values:
        others = [x for x in known if x != value]
        texts = (
            f"{value:.{digits}f}"
            for digits in DIGITS
            if all(f"{x:.{digits}f}" != f"{value:.{digits}f}" for x in others)
        )
        found.append("any" if value == NEVER else next(texts, repr(value)))
    return found


def _cost(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else DASH


def write_curve(curve: Curve, costs: Sequence[float], path: Path) -> None:
    """Every point as CSV, shares from 0 to 1."""
    cost = mean_cost(curve.escalated, costs)
    with finished(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        columns = (curve.threshold, curve.escalated, cost, curve.f1, curve.accuracy)
        writer.writerows(zip(*(x.tolist() for x in columns), strict=True))


def plot_cascade(curve: Curve, chosen: int, costs: Sequence[float], path: Path) -> None:
    """hF1 against the mean cost of a product, or the share sent on without costs."""
    known = all(np.isfinite(costs))
    x = mean_cost(curve.escalated, costs) if known else 100 * curve.escalated
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, 100 * curve.f1, color=BLUE, label="cascade")
    for i, name in ((0, "cheap alone"), (-1, "strong behind it")):
        axes.plot(x[i], 100 * curve.f1[i], "s", color=GREY)
        axes.annotate(name, (x[i], 100 * curve.f1[i]), fontsize=8)
    axes.plot(x[chosen], 100 * curve.f1[chosen], "o", color=ORANGE, label="fitted")
    axes.set_xlabel("ms a product" if known else "sent on, %")
    axes.set_ylabel("hF1, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
