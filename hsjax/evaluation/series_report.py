"""Series of rows against a number, such as the amount of training data."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hsjax.evaluation.comparison_report import (
    beside,
    difference_parts,
    told_means,
    write_table,
)
from hsjax.evaluation.comparison_rows import Comparison
from hsjax.evaluation.comparison_tables import mean_cell, scale_of, shown_bounds
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.panels import Panels, line_style

COLUMNS = ("series", "x", "row", "metric", "runs", "planned", "mean", "low", "high")

Series = Mapping[str, Mapping[float, str]]  # name -> x -> row of the comparison


def write_series(
    comparison: Comparison,
    stem: Path,
    *,
    title: str,
    series: Series,
    x: str,
    headings: Mapping[str, str],
) -> str:
    """Writes STEM.md, STEM.csv and STEM.png, and returns the Markdown.

    The CSV has shares from 0 to 1 and a line per point and metric.

    Args:
      comparison: has every row of the series; see `compare_rows`.
      x: what the numbers are.
      headings: metric -> what heads its table and its panel.
    """
    text = series_markdown(
        comparison, title=title, series=series, x=x, headings=headings
    )
    write_table(stem, text, COLUMNS, _csv_rows(comparison, series))
    path = beside(stem, "png")
    plot_series(comparison, path, series=series, x=x, headings=headings)
    return text


def series_markdown(
    comparison: Comparison,
    *,
    title: str,
    series: Series,
    x: str,
    headings: Mapping[str, str],
) -> str:
    """A table per metric, a line per series and a column per number."""
    points = sorted({point for of in series.values() for point in of})
    parts = [f"# {title}"]
    for metric, heading in headings.items():
        rows = [
            [name, *(_cell(comparison, of.get(point), metric) for point in points)]
            for name, of in series.items()
        ]
        numbers = [f"{point:g}" for point in points]
        parts += [f"## {heading}", table([x or "x", *numbers], rows)]
    runs = [
        f"{row.name} {len(row.folders)} of {row.planned}" for row in comparison.rows
    ]
    parts += [f"{told_means(comparison)} Runs done: {', '.join(runs)}."]
    return "\n\n".join([*parts, *difference_parts(comparison)]) + "\n"


def _cell(comparison: Comparison, row: str | None, metric: str) -> str:
    if row is None:
        return DASH
    figure = comparison.figures[row][metric]
    return mean_cell(metric, figure.mean, figure.runs)


def _csv_rows(comparison: Comparison, series: Series):
    planned = {row.name: row.planned for row in comparison.rows}
    for name, of in series.items():
        for point, row in of.items():
            for metric, figure in comparison.figures[row].items():
                counts = (figure.runs, planned[row])
                shown = shown_bounds(metric, figure.mean)
                yield [name, f"{point:g}", row, metric, *counts, *shown]


def plot_series(
    comparison: Comparison,
    path: Path,
    *,
    series: Series,
    x: str,
    headings: Mapping[str, str],
) -> None:
    """A panel per metric: means with their intervals over the seeds, a line per series.

    The axis is logarithmic where the numbers span more than a factor of ten.
    """
    panels = Panels(len(headings))
    points = sorted({point for of in series.values() for point in of})
    for axes, (metric, heading) in zip(panels.axes, headings.items(), strict=True):
        for number, (name, of) in enumerate(series.items()):
            _line(axes, number, name, of, comparison, metric)
        if spans_decades(points):
            axes.set_xscale("log")
        axes.set_xticks(points, [f"{point:g}" for point in points])
        axes.minorticks_off()
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel(x)
        axes.set_ylabel("%" if scale_of(metric) == 100 else "")
        axes.grid(alpha=0.3)
    panels.save(path, legend="lower center")


def spans_decades(points: list[float]) -> bool:
    """Do these numbers in rising order span more than a factor of ten?

    >>> spans_decades([1.0, 10.0, 100.0]), spans_decades([0.0, 0.5, 1.0])
    (True, False)
    """
    return points[0] > 0 and points[-1] / points[0] > 10


def _line(
    axes, number: int, name: str, of, comparison: Comparison, metric: str
) -> None:
    figures = [comparison.figures[row][metric] for row in of.values()]
    shown = [shown_bounds(metric, figure.mean) for figure in figures]
    found = np.array(shown) * scale_of(metric)
    mean, low, high = found.T
    # one run has no bounds: its point stands without a bar
    bars = np.nan_to_num(np.stack([mean - low, high - mean]))
    style = {"capsize": 3, "markersize": 5, **line_style(number)}
    axes.errorbar(list(of), mean, yerr=bars, label=name, **style)
