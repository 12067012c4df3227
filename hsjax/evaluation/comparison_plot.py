"""A comparison of rows as a plot."""

from collections.abc import Mapping
from pathlib import Path

from hsjax.evaluation.comparison_rows import Comparison, Figure
from hsjax.evaluation.comparison_tables import scale_of, shown_bounds
from hsjax.evaluation.panels import MOST_ACROSS, Panels
from hsjax.evaluation.plots import BLUE, GREY


def plot_comparison(
    comparison: Comparison,
    path: Path,
    *,
    headings: Mapping[str, str],
    columns: int = MOST_ACROSS,
) -> None:
    """A panel per metric: means with their intervals over seeds, a line per row.

    Hollow points differ from their reference by nothing that is significant. Rows
    without a run are left out.
    """
    rows = [row for row in comparison.rows if row.folders]
    size = (3.4, 1.2 + 0.32 * len(rows))
    layout = {"across": columns, "panel": size, "edge": (1.5, 0.0)}
    panels = Panels(len(headings), sharey=True, **layout)
    for axes, name in zip(panels.axes, headings, strict=True):
        for place, row in enumerate(rows):
            _point(axes, place, name, comparison.figures[row.name][name])
        axes.set_title(headings[name], fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel("%" if scale_of(name) == 100 else "")
        ticks = [row.name for row in rows]
        axes.set_yticks(range(len(ticks)), ticks)
        axes.set_ylim(len(ticks) - 0.5, -0.5)  # the first row on top
    panels.save(path)


def _point(axes, place: int, name: str, figure: Figure) -> None:
    value, low, high = (scale_of(name) * x for x in shown_bounds(name, figure.mean))
    hollow = figure.verdict == "no"
    axes.plot([low, high], [place, place], color=GREY, linewidth=1.5)
    face = "white" if hollow else BLUE
    axes.plot(value, place, "o", color=BLUE, markerfacecolor=face)
