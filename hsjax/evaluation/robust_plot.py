"""Robustness as a panel per damage."""

from pathlib import Path

import numpy as np

from hsjax.evaluation.panels import Panels, line_style
from hsjax.evaluation.robust_cells import CLEAN, Facts, Values, damages_of, interval_of

ACROSS = 4  # panels side by side


def plot_robustness(
    values: Values, path: Path, *, metric: str, facts: Facts | None = None
) -> None:
    """A panel per damage: the metric against severity, clean at 0, a line per row.

    Where a damage hits a share of the products, the axis tells it.
    """
    shares = facts.shares if facts else {}
    damages = damages_of(values) or {CLEAN: []}
    layout = {"across": ACROSS, "panel": (3.0, 2.5), "edge": (0.8, 0.9)}
    panels = Panels(len(damages), sharey=True, **layout)
    for axes, (damage, conditions) in zip(panels.axes, damages.items(), strict=True):
        for number, row in enumerate(values):
            _line(axes, number, values, row, [CLEAN, *conditions], metric)
        axes.set_title(damage, fontsize=10)
        axes.set_xticks(range(6))
        if hit := [c for c in conditions if c in shares]:
            places = [0, *(int(c.partition("@")[2]) for c in hit)]
            told = ["0", *(f"{100 * shares[c]:g} %" for c in hit)]
            axes.set_xticks(places, told)
        axes.grid(alpha=0.3)
    share = "; % = share of the products" if shares else ""
    panels.figure.supxlabel(f"severity, 0 = clean{share}", fontsize=10)
    panels.figure.supylabel(f"{metric}, %", fontsize=10)
    panels.save(path, legend="upper center")


def _line(axes, number: int, values: Values, row: str, conditions, metric: str) -> None:
    x = [int(c.partition("@")[2] or 0) for c in conditions]
    found = [interval_of(values, row, c, metric) for c in conditions]
    mean, low, high = (100 * np.array(part) for part in zip(*found, strict=True))
    style = line_style(number)
    axes.plot(x, mean, markersize=4, label=row, **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
