"""Learning curves over seeds: losses and metrics of training against the epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison_report import beside, write_table
from hsjax.evaluation.comparison_tables import scale_of
from hsjax.evaluation.curve_lines import (
    Points,
    Training,
    best_of,
    curve_names,
    is_loss,
    mean_line,
    points_of,
)
from hsjax.evaluation.intervals import MIN_RUNS, seed_interval, share_bounds
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.plots import SERIES, save_figure

COLUMNS = ("row", "metric", "axis", "x", "runs", "mean", "low", "high")

Panels = Mapping[str, Sequence[str]]  # title -> metrics
Rows = Mapping[str, Mapping[str, Sequence[Points]]]  # row -> metric -> its runs
Lines = Mapping[str, Mapping[str, Sequence[tuple]]]  # row -> metric -> mean line


def write_curves(
    rows: Mapping[str, Sequence[Training]],
    stem: Path,
    *,
    title: str,
    curves: Sequence[str],
    axis: str = "epoch",
) -> str:
    """Writes STEM.md, STEM.csv and STEM.png, and returns the Markdown.

    Args:
      rows: row -> its runs, one per seed.
      curves: a panel each: a metric of metrics.jsonl, or a short name. `loss` stands
        for that of training and of validation, `accuracy` for validation's at the
        deepest level.
      axis: `epoch` or `step`; steps where a run does not tell its epochs.

    Raises:
      CatalogueError: no run has such a metric.
    """
    trained = {name: [run for run in of if run.lines] for name, of in rows.items()}
    trained = {name: of for name, of in trained.items() if of}
    runs = [run for of in trained.values() for run in of]
    if not runs:
        raise CatalogueError(f"{title}: no run is trained by steps: there is no curve")
    known = {key for run in runs for line in run.lines for key in line}
    panels = {curve: curve_names(curve, known) for curve in curves}
    names = list(dict.fromkeys(name for of in panels.values() for name in of))
    axis = axis if all(run.epoch for run in runs) else "step"
    points = {
        row: {name: [points_of(run, name, axis) for run in of] for name in names}
        for row, of in trained.items()
    }
    lines = {
        row: {name: mean_line(found) for name, found in of.items()}
        for row, of in points.items()
    }
    missing = [name for name in rows if name not in trained]
    text = curves_markdown(points, panels, title=title, axis=axis, missing=missing)
    write_table(stem, text, COLUMNS, _csv_rows(lines, axis))
    plot_lines(lines, panels, beside(stem, "png"), axis=axis)
    return text


def _csv_rows(lines: Lines, axis: str):
    for row, of in lines.items():
        for name, found in of.items():
            for x, runs, interval in found:
                yield [row, name, axis, f"{x:.6g}", runs, *interval]


def curves_markdown(
    rows: Rows, panels: Panels, *, title: str, axis: str, missing: Sequence[str] = ()
) -> str:
    """The best value of each curve, where it was, and how far the runs went.

    Args:
      missing: rows that have no curve.
    """
    # of a loss of both parts that of validation: training's goes on falling
    shown = list(dict.fromkeys(names[-1] for names in panels.values()))
    head = [word for name in shown for word in (f"best {name}", f"{axis} of the best")]
    lines = []
    for row, of in rows.items():
        runs = of[shown[0]]
        ends = [float(points.x[-1]) for points in runs if len(points.x)]
        cells = [cell for name in shown for cell in _best_cells(name, of[name])]
        lines.append([row, len(runs), *cells, _place(ends)])
    text = (
        f"Means over the runs, each at its own best {axis}; shares are in %, losses as"
        " they are. Brackets hold 95 % t-intervals over the runs, those of shares cut"
        " at 0 and 100 %, parentheses the range of two runs, and of the"
        f" {axis}s the range. In plot and CSV training's are means since the look"
        " before, and a mean ends where fewer than half of the runs go on."
    )
    if any(name in ("val/loss", "val/contrastive") for name in shown):
        text += (
            " Contrastive parts of a loss are not comparable between training and"
            " validation, whose batches may have other numbers of negatives."
        )
    if missing:
        text += f" Not trained by steps: {', '.join(missing)}."
    lines = table(["row", "runs", *head, f"{axis}s run"], lines)
    return "\n\n".join([f"# {title}", lines, text]) + "\n"


def _best_cells(name: str, runs: Sequence[Points]) -> list[str]:
    found = [best_of(points, name) for points in runs]
    found = [(x, y) for x, y in found if np.isfinite(y)]
    return [_value(name, [y for _, y in found]), _place([x for x, _ in found])]


def _value(name: str, values: Sequence[float]) -> str:
    """`0.243 [0.240, 0.246]`, of a share `91.2 [90.5, 91.9]`."""
    if not values:
        return DASH
    interval = seed_interval(values)
    shown = share_bounds(interval) if _scale(name) == 100 else interval
    mean, low, high = (_shown(name, x) for x in shown)
    if len(values) < 2:
        return mean
    return (
        f"{mean} ({low} to {high})"
        if len(values) < MIN_RUNS
        else f"{mean} [{low}, {high}]"
    )


def _shown(name: str, value: float) -> str:
    scale = _scale(name)
    return f"{value:.3f}" if scale == 1 else f"{scale * value:.1f}"


def _scale(name: str) -> float:
    """What a curve is shown times: a loss is no share either."""
    return 1.0 if is_loss(name) else scale_of(name)


def _place(places: Sequence[float]) -> str:
    """`17.0`, of several runs `17.0 (15.0 to 19.0)`."""
    if not places:
        return DASH
    mean, low, high = (f"{x:.1f}" for x in (np.mean(places), min(places), max(places)))
    return mean if low == high else f"{mean} ({low} to {high})"


def plot_lines(lines: Lines, panels: Panels, path: Path, *, axis: str) -> None:
    """A panel per curve: means over the runs in their intervals, a colour per row.

    Broken lines are training's where validation's stand beside them. Losses have a
    logarithmic scale, as most of them fall within the first epochs.
    """
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    axes_of = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, names) in zip(axes_of, panels.items(), strict=True):
        for number, (row, of) in enumerate(lines.items()):
            for name in names:
                broken = len(names) > 1 and name != names[-1]
                _line(axes, of[name], number, "" if broken else row, _scale(name))
        loss, pair = is_loss(names[-1]), len(names) > 1
        share = _scale(names[-1]) == 100
        told = f"{title}, broken: training" if pair else names[-1].replace("/", " ")
        axes.set_title(told, fontsize=10)
        axes.set(xlabel=axis, ylabel="%" * share, yscale="log" if loss else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    shown, names = axes_of[0].get_legend_handles_labels()
    figure.legend(shown, names, loc="outside lower center", ncols=min(len(names), 5))
    save_figure(figure, path)


def _line(axes, points, number: int, label: str, scale: float) -> None:
    """Of what is shown times `scale`; `label` '' is of training."""
    if not points:
        return
    x = [point[0] for point in points]
    mean, low, high = scale * np.array([point[2] for point in points]).T
    colour = SERIES[number % len(SERIES)]
    style = {"linewidth": 1.8} if label else {"linewidth": 1.0, "linestyle": "--"}
    # six colours: rows beyond them are told by their dashes
    if label and number >= len(SERIES):
        style["linestyle"] = "-."
    axes.plot(x, mean, color=colour, label=label or None, **style)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
