"""What a cascade is worth: a table, a curve and a plot."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hsjax.atomic import finished
from hsjax.evaluation.cascade_curve import Curve, mean_cost
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.plots import BLUE, GREY, ORANGE

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # escalated, of a table's lines
COLUMNS = ("threshold", "escalated", "cost_ms", "hierarchical_f1", "accuracy")


def cascade_table(curve: Curve, chosen: int, costs: Sequence[float]) -> str:
    """Some points of the curve, and the one that was fitted.

    Args:
      curve: of the scored rows; chosen: point whose threshold is the fitted one.
      costs: milliseconds of a product in each stage.
    """
    points = {int(np.argmin(np.abs(curve.escalated - s))) for s in SHARES} | {chosen}
    lines = [
        [
            f"{'**fitted** ' if i == chosen else ''}{curve.threshold[i]:.3f}",
            *(f"{100 * x[i]:.1f}" for x in (curve.escalated, curve.f1, curve.accuracy)),
            _cost(mean_cost(curve.escalated[i], costs)),
        ]
        for i in sorted(points)
    ]
    head = ["sent on below", "sent on, %", "hF1", "accuracy", "ms a product"]
    told = (
        "The first line is the cheap model alone, the last the strong one behind it."
        " Times are those of a product in a full batch, encoders included. What is left"
        " to people is not in these lines."
    )
    return f"{table(head, lines)}\n\n{told}"


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
