"""A comparison of rows as Markdown and CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hsjax.atomic import write_atomically
from hsjax.data.cells import write_csv
from hsjax.evaluation.comparison_plot import plot_comparison
from hsjax.evaluation.comparison_rows import Comparison, Figure
from hsjax.evaluation.comparison_tables import mean_cell, scale_of, shown_bounds
from hsjax.evaluation.intervals import Interval, told_bounds
from hsjax.evaluation.markdown import DASH, signed, table
from hsjax.evaluation.panels import MOST_ACROSS

NAMED = 8  # differences without significance, in the words below a table
COLUMNS = ("row", "reference", "metric", "runs", "planned", "mean", "low", "high")
COLUMNS += ("difference", "rows_low", "rows_high", "seeds_low", "seeds_high")
COLUMNS += ("significant", "missing")
BLOCK_NOTE = (
    "Differences: the same resamples of groups of products on both sides, means over"
    " the seeds, with their 95 % intervals. n.s.: not significant, as that interval or"
    " {} holds 0. †: judged by the products alone, as a side has fewer than 3 runs."
)

Blocks = Mapping[str, Mapping[str, str]]  # title -> metric -> heading


def write_comparison(
    comparison: Comparison,
    stem: Path,
    *,
    title: str,
    headings: Mapping[str, str],
    blocks: Blocks | None = None,
) -> str:
    """Writes STEM.md, STEM.csv and STEM.png, and returns the Markdown.

    The CSV has shares from 0 to 1 and a line per row and metric. Where a row is missing
    its figures are empty, and the last column says why.

    Args:
      headings: metric -> what heads its column.
      blocks: title -> metric -> heading: the Markdown has a table for each, such as one
        per level.
    """
    if blocks:
        text = block_markdown(comparison, title=title, blocks=blocks)
    else:
        text = comparison_markdown(comparison, title=title, headings=headings)
    write_table(stem, text, COLUMNS, csv_rows(comparison))
    across = max(map(len, blocks.values())) if blocks else MOST_ACROSS
    path = beside(stem, "png")
    plot_comparison(comparison, path, headings=headings, columns=across)
    return text


def write_table(stem: Path, text: str, columns: Sequence[str], rows: Iterable) -> None:
    """STEM.md and STEM.csv, with their folder."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(beside(stem, "md"), text)
    write_csv(beside(stem, "csv"), columns, rows)


def beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")


def comparison_markdown(
    comparison: Comparison, *, title: str, headings: Mapping[str, str]
) -> str:
    """The means, the differences, and which of them say nothing."""
    means = [means_table(comparison, headings), told_means(comparison)]
    means += _missing_parts(comparison)
    parts = [f"# {title}", *means, *difference_parts(comparison)]
    return "\n\n".join(parts) + "\n"


def difference_parts(comparison: Comparison) -> list[str]:
    """Every difference with both intervals, and why some are missing."""
    parts = []
    if any(_compared(comparison)):
        parts += ["## Differences from the reference row", _differences(comparison)]
        parts.append(_judgement(comparison))
    if comparison.notes:
        parts += ["\n".join(f"- {note}" for note in comparison.notes)]
    return parts


def means_table(comparison: Comparison, headings: Mapping[str, str]) -> str:
    """A line per row with the mean of each of the metrics."""
    rows = []
    for row in comparison.rows:
        found = comparison.figures[row.name]
        cells = [mean_cell(n, found[n].mean, found[n].runs) for n in headings]
        done = f"{len(row.folders)} of {row.planned}" if row.planned else DASH
        rows.append([row.name, done, *cells])
    return table(["row", "runs done", *headings.values()], rows)


def told_means(comparison: Comparison) -> str:
    """What the cells are."""
    counted = {f.runs for of in comparison.figures.values() for f in of.values()}
    text = f"Means over the seeds; shares are in %.{told_bounds(counted)}"
    if 1 in counted:
        text += " One run has no interval over seeds."
    return text


def _missing_parts(comparison: Comparison) -> list[str]:
    """Why rows are dashes, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.missing:
            reasons.setdefault(row.missing, []).append(row.name)
    lines = [f"- {'; '.join(names)}: {why}." for why, names in reasons.items()]
    return [f"Rows that are missing ({DASH}):", "\n".join(lines)] if lines else []


def block_markdown(comparison: Comparison, *, title: str, blocks: Blocks) -> str:
    """A table of means per block, and below it what each row differs by."""
    parts = [f"# {title}", told_means(comparison)]
    compared = any(_compared(comparison))
    if compared:
        parts.append(BLOCK_NOTE.format(comparison.over_seeds))
    for name, headings in blocks.items():
        parts += [f"## {name}", means_table(comparison, headings)]
        if lines := list(_block_lines(comparison, headings)):
            parts.append(table(["row − reference", *headings.values()], lines))
    parts += _missing_parts(comparison)
    if compared:
        parts.append(_told_chance(len(list(_compared(comparison)))))
    if comparison.notes:
        parts += ["\n".join(f"- {note}" for note in comparison.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block_lines(comparison: Comparison, names: Iterable[str]):
    for row in comparison.rows:
        figures = [(name, comparison.figures[row.name][name]) for name in names]
        if any(figure.paired for _, figure in figures):
            cells = [difference_cell(name, figure) for name, figure in figures]
            yield [f"{row.name} − {row.reference}", *cells]


def difference_cell(name: str, figure: Figure) -> str:
    """`+1.20 [+0.50, +1.90]`, then `n.s.` or `†`."""
    if not figure.verdict:
        return DASH
    value, low, high = (signed(scale_of(name) * x) for x in figure.paired)
    mark = {"no": " n.s.", "yes": ""}.get(figure.verdict, " †")
    return f"{value} [{low}, {high}]{mark}"


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
        f" the seeds. Seeds: {comparison.over_seeds}, from 3 runs a side. Significant:"
        " neither interval that could be measured holds 0."
    )
    return table([*head, "95 %, seeds", "significant"], rows) + "\n\n" + note


def _judgement(comparison: Comparison) -> str:
    """Says in words which differences are none."""
    found = list(_compared(comparison))
    unclear = [
        f"{row.name} − {row.reference} in {name}"
        for row, name, figure in found
        if figure.verdict == "no"
    ]
    text = f"Not significant: {'; '.join(unclear)}. " if unclear else ""
    if len(unclear) > NAMED:  # a table marks them already
        text = f"Not significant: {len(unclear)} of {len(found)} differences. "
    text += _told_chance(len(found))
    return text.strip() or "The difference is significant."


def _told_chance(count: int) -> str:
    """What so many tests mean."""
    if count < 2:
        return ""
    return (
        f"{count} differences are judged, each at 95 % and not corrected for their"
        f" number: about {count / 20:.1f} of them would look real where none is."
    )


def _span(name: str, interval: Interval | None) -> str:
    if interval is None:
        return DASH
    low, high = (signed(scale_of(name) * x) for x in interval[1:])
    return f"{low} to {high}"


def csv_rows(comparison: Comparison) -> Iterator[list]:
    """Of a line per row and metric, in the order of `COLUMNS`."""
    for row in comparison.rows:
        for name, figure in comparison.figures[row.name].items():
            paired, seeds = figure.paired, figure.seeds
            yield [
                *(row.name, row.reference, name, figure.runs, row.planned),
                *(("",) * 3 if row.missing else shown_bounds(name, figure.mean)),
                *(paired or ("",) * 3),
                *(seeds[1:] if seeds else ("",) * 2),
                figure.verdict,
                row.missing,
            ]
