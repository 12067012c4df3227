"""Robustness as a table per modality, a CSV of everything and a panel per damage."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison_tables import mean_cell
from hsjax.evaluation.intervals import MIN_RUNS, Interval, seed_interval
from hsjax.evaluation.markdown import DASH, signed, table
from hsjax.evaluation.plots import DASHES, MARKERS, SERIES
from hsjax.evaluation.robust_cells import CLEAN, Cell

ACROSS = 4  # panels side by side
COLUMNS = ("row", "damage", "severity", "metric", "runs", "mean", "low", "high")

# row -> condition -> metric -> values of its runs
Values = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


def write_robustness(cells: Sequence[Cell], output: Path, *, metric: str = "") -> str:
    """Writes robustness.md, .csv and .png, and returns the Markdown.

    Args:
      metric: of table and plot; '' = accuracy of the deepest level.

    Raises:
      CatalogueError: no such metric was measured.
    """
    values = _values(cells)
    names = list(cells[0].metrics)
    deepest = max(n for n in names if re.fullmatch(r"level\d+/accuracy", n))
    metric = metric or deepest
    if metric not in names:
        raise CatalogueError(f"--metric={metric}: measured are {', '.join(names)}")
    output.mkdir(parents=True, exist_ok=True)
    with (output / "robustness.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_lines(values))
    plot_robustness(values, output / "robustness.png", metric=metric)
    text = robustness_markdown(values, metric=metric)
    (output / "robustness.md").write_text(text)
    return text


def _values(cells: Sequence[Cell]) -> Values:
    values: dict = {}
    for cell in cells:
        of = values.setdefault(cell.row, {}).setdefault(cell.condition, {})
        for name, value in cell.metrics.items():
            of.setdefault(name, []).append(value)
    return values


def _conditions(values: Values) -> list[str]:
    return list(dict.fromkeys(name for of in values.values() for name in of))


def _damages(values: Values) -> dict[str, list[str]]:
    """Damage -> its conditions, in order of severity."""
    found: dict[str, list[str]] = {}
    for condition in _conditions(values):
        if condition != CLEAN:
            found.setdefault(condition.partition("@")[0], []).append(condition)
    return {name: sorted(of) for name, of in found.items()}


def _interval(values: Values, row: str, condition: str, metric: str) -> Interval:
    return seed_interval(values[row].get(condition, {}).get(metric, []))


def _lines(values: Values):
    for row, of in values.items():
        for condition, metrics in of.items():
            damage, _, severity = condition.partition("@")
            for metric, found in metrics.items():
                interval = seed_interval(found)
                yield [row, damage, severity, metric, len(found), *interval]


def robustness_markdown(values: Values, *, metric: str) -> str:
    """Clean figures, then what each damage leaves of them and costs."""
    rows = [[CLEAN, *(_cell(values, row, CLEAN, metric) for row in values)]]
    for conditions in _damages(values).values():
        for condition in conditions:
            cells = [_cell(values, row, condition, metric) for row in values]
            rows.append([condition, *cells])
    costs = [
        [damage, *(_cost(values, row, conditions, metric) for row in values)]
        for damage, conditions in _damages(values).items()
    ]
    parts = [
        f"# Robustness: {metric}",
        table(["products", *values], rows),
        _told(values, metric),
    ]
    if costs:
        parts += ["## Cost: damaged minus clean, mean over the severities"]
        parts += [table(["damage", *values], costs), "Means over the runs, in points."]
    return "\n\n".join(parts) + "\n"


def _cell(values: Values, row: str, condition: str, metric: str) -> str:
    interval = _interval(values, row, condition, metric)
    if not np.isfinite(interval.value):
        return DASH
    return mean_cell(metric, interval, len(values[row][condition][metric]))


def _cost(values: Values, row: str, conditions: Sequence[str], metric: str) -> str:
    damaged = [_interval(values, row, c, metric).value for c in conditions]
    cost = np.mean(damaged) - _interval(values, row, CLEAN, metric).value
    return signed(100 * float(cost))


def _told(values: Values, metric: str) -> str:
    runs = {row: len(of[CLEAN][metric]) for row, of in values.items() if CLEAN in of}
    several = ", ".join(f"{row}: {count}" for row, count in runs.items())
    text = f"Shares in %. Runs: {several}."
    if max(runs.values(), default=0) >= MIN_RUNS:
        text += " Brackets hold 95 % t-intervals over the runs."
    if 2 in runs.values():
        text += " Two runs are too few for an interval: their range is given."
    return text


def plot_robustness(values: Values, path: Path, *, metric: str) -> None:
    """A panel per damage: the metric against severity, clean at 0, a line per row."""
    damages = _damages(values) or {CLEAN: []}
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
        axes.grid(alpha=0.3)
    for axes in panels[len(damages) :]:
        axes.set_visible(False)
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=min(len(names), 4))
    figure.supxlabel("severity, 0 = clean", fontsize=10)
    figure.supylabel(f"{metric}, %", fontsize=10)
    figure.savefig(path, dpi=130)


def _line(axes, number: int, values: Values, row: str, conditions, metric: str) -> None:
    x = [int(c.partition("@")[2] or 0) for c in conditions]
    found = [_interval(values, row, c, metric) for c in conditions]
    mean, low, high = (100 * np.array(part) for part in zip(*found, strict=True))
    colour, style = SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(
        x, mean, color=colour, linestyle=style, marker=marker, markersize=4, label=row
    )
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
