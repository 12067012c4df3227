"""Robustness as a panel per damage."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hsjax.evaluation.plots import DASHES, MARKERS, SERIES
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
    across = min(ACROSS, len(damages))
    down = -(-len(damages) // across)
    size = (0.8 + 3.0 * across, 0.9 + 2.5 * down)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, (damage, conditions) in zip(panels, damages.items(), strict=False):
        for number, row in enumerate(values):
            _line(axes, number, values, row, [CLEAN, *conditions], metric)
        axes.set_title(damage, fontsize=10)
        axes.set_xticks(range(6))
        if hit := [c for c in conditions if c in shares]:
            places = [0, *(int(c.partition("@")[2]) for c in hit)]
            told = ["0", *(f"{100 * shares[c]:g} %" for c in hit)]
            axes.set_xticks(places, told)
        axes.grid(alpha=0.3)
    for axes in panels[len(damages) :]:
        axes.set_visible(False)
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=min(len(names), 4))
    share = "; % = share of the products" if shares else ""
    figure.supxlabel(f"severity, 0 = clean{share}", fontsize=10)
    figure.supylabel(f"{metric}, %", fontsize=10)
    figure.savefig(path, dpi=130)


def _line(axes, number: int, values: Values, row: str, conditions, metric: str) -> None:
    x = [int(c.partition("@")[2] or 0) for c in conditions]
    found = [interval_of(values, row, c, metric) for c in conditions]
    mean, low, high = (100 * np.array(part) for part in zip(*found, strict=True))
    colour, style = SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(
        x, mean, color=colour, linestyle=style, marker=marker, markersize=4, label=row
    )
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
