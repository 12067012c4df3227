"""A comparison of rows as Markdown, CSV and a plot."""

import csv
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from hsjax.evaluation.comparison_rows import Comparison, Figure
from hsjax.evaluation.comparison_tables import mean_cell, scale_of
from hsjax.evaluation.intervals import MIN_RUNS, Interval
from hsjax.evaluation.markdown import DASH, signed, table
from hsjax.evaluation.plots import BLUE, GREY

COLUMNS = ("row", "reference", "metric", "runs", "planned", "mean", "low", "high")
COLUMNS += ("difference", "rows_low", "rows_high", "seeds_low", "seeds_high")
COLUMNS += ("significant",)
PANEL_COLUMNS = 3


def write_comparison(
    comparison: Comparison, stem: Path, *, title: str, headings: Mapping[str, str]
) -> str:
    """Writes STEM.md, STEM.csv and STEM.png, and returns the Markdown.

    The CSV has shares from 0 to 1 and a line per row and metric.

    Args:
      headings: metric -> what heads its column.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    text = comparison_markdown(comparison, title=title, headings=headings)
    _beside(stem, "md").write_text(text)
    with _beside(stem, "csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_csv_rows(comparison))
    plot_comparison(comparison, _beside(stem, "png"), headings=headings)
    return text


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")


def comparison_markdown(
    comparison: Comparison, *, title: str, headings: Mapping[str, str]
) -> str:
    """The means, the differences, and which of them say nothing."""
    parts = [f"# {title}", _means(comparison, headings)]
    if any(f.paired for of in comparison.figures.values() for f in of.values()):
        parts += ["## Differences from the reference row", _differences(comparison)]
        parts.append(_judgement(comparison))
    if comparison.notes:
        parts += ["\n".join(f"- {note}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def _means(comparison: Comparison, headings: Mapping[str, str]) -> str:
    rows, counted = [], set()
    for row in comparison.rows:
        found = comparison.figures[row.name]
        cells = [mean_cell(name, found[name].mean, found[name].runs) for name in found]
        counted |= {figure.runs for figure in found.values()}
        rows.append([row.name, f"{len(row.folders)} of {row.planned}", *cells])
    text = table(["row", "runs done", *headings.values()], rows)
    text += "\n\nMeans over the seeds; shares are in %."
    if max(counted, default=0) >= MIN_RUNS:
        text += " Brackets hold 95 % t-intervals over the runs."
    if 2 in counted:
        text += " Two runs are too few for an interval: their range is given."
    if 1 in counted:
        text += " One run has no interval over seeds."
    return text


def _compared(comparison: Comparison):
    """(row, metric, figure) of every difference."""
    for row in comparison.rows:
        for name, figure in comparison.figures[row.name].items():
            if figure.paired is not None:
                yield row, name, figure


def _differences(comparison: Comparison) -> str:
    rows = [
        [
            row.name,
            row.reference,
            name,
            signed(scale_of(name) * figure.paired.value),
            _span(name, figure.paired),
            _span(name, figure.seeds),
            figure.verdict,
        ]
        for row, name, figure in _compared(comparison)
    ]
    head = ["row", "reference", "metric", "row − reference", "95 %, products"]
    note = (
        "Products: the same resamples of groups of products on both sides, means over"
        " the seeds. Seeds: Welch's t over the runs, from 3 runs a side. Significant:"
        " neither interval that could be measured holds 0."
    )
    return table([*head, "95 %, seeds", "significant"], rows) + "\n\n" + note


def _judgement(comparison: Comparison) -> str:
    """Says in words which differences are none, and what so many tests mean."""
    found = list(_compared(comparison))
    unclear = [
        f"{row.name} − {row.reference} in {name}"
        for row, name, figure in found
        if figure.verdict == "no"
    ]
    text = f"Not significant: {'; '.join(unclear)}." if unclear else ""
    if len(found) > 1:
        text += (
            f" {len(found)} differences are judged, each at 95 % and not corrected for"
            f" their number: about {len(found) / 20:.1f} of them would look real where"
            " none is."
        )
    return text.strip() or "The difference is significant."


def _span(name: str, interval: Interval | None) -> str:
    if interval is None:
        return DASH
    low, high = (signed(scale_of(name) * x) for x in interval[1:])
    return f"{low} to {high}"


def _csv_rows(comparison: Comparison):
    for row in comparison.rows:
        for name, figure in comparison.figures[row.name].items():
            paired, seeds = figure.paired, figure.seeds
            yield [
                *(row.name, row.reference, name, figure.runs, row.planned),
                *figure.mean,
                *(paired or ("",) * 3),
                *(seeds[1:] if seeds else ("",) * 2),
                figure.verdict,
            ]


def plot_comparison(
    comparison: Comparison, path: Path, *, headings: Mapping[str, str]
) -> None:
    """A panel per metric: means with their intervals over seeds, a line per row.

    Hollow points differ from their reference by nothing that is significant.
    """
    names, across = list(headings), min(PANEL_COLUMNS, len(headings))
    down = -(-len(names) // across)
    height = 1.2 + 0.32 * len(comparison.rows)
    canvas = Canvas(figsize=(1.5 + 3.4 * across, height * down), layout="constrained")
    panels = list(canvas.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, name in zip(panels, names, strict=False):
        for place, row in enumerate(comparison.rows):
            _point(axes, place, name, comparison.figures[row.name][name])
        axes.set_title(headings[name], fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel("%" if scale_of(name) == 100 else "")
        ticks = [row.name for row in comparison.rows]
        axes.set_yticks(range(len(ticks)), ticks)
        axes.set_ylim(len(ticks) - 0.5, -0.5)  # the first row on top
    for axes in panels[len(names) :]:  # a grid may have more places than metrics
        axes.set_axis_off()
    canvas.savefig(path, dpi=130)


def _point(axes, place: int, name: str, figure: Figure) -> None:
    value, low, high = (scale_of(name) * x for x in figure.mean)
    hollow = figure.verdict == "no"
    axes.plot([low, high], [place, place], color=GREY, linewidth=1.5)
    face = "white" if hollow else BLUE
    axes.plot(value, place, "o", color=BLUE, markerfacecolor=face)
