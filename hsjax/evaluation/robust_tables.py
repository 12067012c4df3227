"""Robustness as a table per modality, a CSV of everything and a panel per damage."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison_tables import scale_of
from hsjax.evaluation.intervals import MIN_RUNS, seed_interval, told_bounds
from hsjax.evaluation.markdown import signed, table
from hsjax.evaluation.metrics import measured_levels
from hsjax.evaluation.robust_cells import (
    CLEAN,
    Cell,
    Facts,
    Values,
    by_row,
    conditions_of,
    damages_of,
    found_of,
    interval_of,
    metrics_of,
    paired_by_seed,
    told_cell,
)
from hsjax.evaluation.robust_plot import plot_robustness

COLUMNS = ("row", "damage", "severity", "metric", "runs", "mean", "low", "high")
COLUMNS += ("share", "reference", "pairs", "difference", "difference_low")
COLUMNS += ("difference_high", "significant")


def write_robustness(
    cells: Sequence[Cell], output: Path, *, metric: str = "", facts: Facts | None = None
) -> str:
    """Writes robustness.md, .csv and .png, and returns the Markdown.

    Args:
      metric: of table and plot; '' = accuracy of the deepest level.

    Raises:
      CatalogueError: no such metric was measured.
    """
    facts, values = facts or Facts(), by_row(cells)
    names = sorted(metrics_of(values))
    metric = metric or f"level{max(measured_levels(names))}/accuracy"
    if metric not in names:
        raise CatalogueError(f"--metric={metric}: measured are {', '.join(names)}")
    output.mkdir(parents=True, exist_ok=True)
    with (output / "robustness.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_lines(values, facts))
    plot_robustness(values, output / "robustness.png", metric=metric, facts=facts)
    text = robustness_markdown(values, metric=metric, facts=facts)
    write_atomically(output / "robustness.md", text)
    return text


def _lines(values: Values, facts: Facts):
    for row, of in values.items():
        reference = _reference(values, row, facts)
        for condition, metrics in of.items():
            damage, _, severity = condition.partition("@")
            share = facts.shares.get(condition, "")
            for metric, found in metrics.items():
                interval = seed_interval([*found.values()])
                line = [row, damage, severity, metric, len(found), *interval, share]
                if not reference:
                    yield [*line, *[""] * 6]
                    continue
                paired, n = paired_by_seed(values, row, reference, condition, metric)
                verdict = {"": "yes", " n.s.": "no"}.get(_mark(paired, n), "")
                yield [*line, reference, n, *paired, verdict]


def _reference(values: Values, row: str, facts: Facts) -> str:
    """The row that this one is compared with, '' where it was not measured."""
    reference = facts.references.get(row, "")
    return reference if reference in values and reference != row else ""


def robustness_markdown(values: Values, *, metric: str, facts: Facts) -> str:
    """Clean figures, then what each damage leaves of them and costs."""
    rows = [[CLEAN, *(told_cell(values, row, CLEAN, metric) for row in values)]]
    for conditions in damages_of(values).values():
        for condition in conditions:
            cells = [told_cell(values, row, condition, metric) for row in values]
            rows.append([condition, *cells])
    costs = [
        [damage, *(_cost(values, row, conditions, metric) for row in values)]
        for damage, conditions in damages_of(values).items()
    ]
    parts = [
        f"# Robustness: {metric}{facts.labels}",
        table(["products", *values], rows),
        _told(values, metric),
    ]
    if costs:
        parts += ["## Cost: damaged minus clean, mean over the severities"]
        parts += [table(["damage", *values], costs), "Means over the runs, in points."]
    parts += _share_parts(values, metric, facts)
    parts += _difference_parts(values, metric, facts)
    return "\n\n".join(parts) + "\n"


def _share_parts(values: Values, metric: str, facts: Facts) -> list[str]:
    """Of damages that hit a share of the products: a line per row against the share."""
    parts = []
    for damage, conditions in damages_of(values).items():
        hit = [condition for condition in conditions if condition in facts.shares]
        if hit:
            told = [f"{100 * facts.shares[condition]:g} %" for condition in hit]
            rows = [
                [row, *(told_cell(values, row, c, metric) for c in (CLEAN, *hit))]
                for row in values
            ]
            parts.append(table([damage, "0 %", *told], rows))
    return ["## Share of the products that is hit", *parts] if parts else []


def _difference_parts(values: Values, metric: str, facts: Facts) -> list[str]:
    """Each row minus its reference row under each condition, paired by seed."""
    pairs = {row: _reference(values, row, facts) for row in values}
    pairs = {row: reference for row, reference in pairs.items() if reference}
    if not pairs:
        return []
    rows = []
    for condition in conditions_of(values):
        cells = []
        for row, reference in pairs.items():
            found = paired_by_seed(values, row, reference, condition, metric)
            cells.append(_difference(metric, *found))
        rows.append([condition, *cells])
    head = ["products", *(f"{row} − {reference}" for row, reference in pairs.items())]
    return [
        "## Differences from the reference row",
        table(head, rows),
        "In points, over the seeds that both rows have. Brackets hold 95 % t-intervals"
        " over the pairs; n.s.: not significant, as the interval holds 0. Fewer than 3"
        " pairs are not judged; nothing is corrected for the number of differences.",
    ]


def _difference(metric: str, paired, pairs: int) -> str:
    """`+1.20 [+0.50, +1.90]`, ` n.s.` behind it where 0 is among them."""
    value, low, high = (signed(scale_of(metric) * x) for x in paired)
    return (
        value if pairs < MIN_RUNS else f"{value} [{low}, {high}]{_mark(paired, pairs)}"
    )


def _mark(paired, pairs: int) -> str:
    """` n.s.`, '' where the difference is clear, `?` where it is not judged."""
    if pairs < MIN_RUNS:
        return "?"
    return "" if paired.is_clear else " n.s."


def _cost(values: Values, row: str, conditions: Sequence[str], metric: str) -> str:
    damaged = [interval_of(values, row, c, metric).value for c in conditions]
    cost = np.mean(damaged) - interval_of(values, row, CLEAN, metric).value
    return signed(100 * float(cost))


def _told(values: Values, metric: str) -> str:
    runs = {row: len(found_of(values, row, CLEAN, metric)) for row in values}
    several = ", ".join(f"{row}: {count}" for row, count in runs.items())
    return f"Shares in %. Runs: {several}.{told_bounds(runs.values())}"
