"""Robustness as a table per modality, a CSV of everything and a panel per damage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.cells import write_csv
from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison_tables import scale_of, shown_bounds
from hsjax.evaluation.intervals import MIN_RUNS, seed_interval, told_bounds
from hsjax.evaluation.markdown import DASH, signed, table
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
    told_cell,
)
from hsjax.evaluation.robust_differences import Difference, Key, differences
from hsjax.evaluation.robust_plot import plot_robustness

Differences = Mapping[Key, Difference]

COLUMNS = ("row", "damage", "severity", "metric", "runs", "mean", "low", "high")
COLUMNS += ("share", "reference", "pairs", "difference", "seeds_low", "seeds_high")
COLUMNS += ("products_low", "products_high", "significant")


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
    against = differences(cells, facts)
    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / "robustness.csv", COLUMNS, _lines(values, against, facts))
    plot_robustness(values, output / "robustness.png", metric=metric, facts=facts)
    text = robustness_markdown(values, against, metric=metric, facts=facts)
    write_atomically(output / "robustness.md", text)
    return text


def _lines(values: Values, against: Differences, facts: Facts):
    for row, of in values.items():
        for condition, metrics in of.items():
            damage, _, severity = condition.partition("@")
            share = facts.shares.get(condition, "")
            for metric, found in metrics.items():
                interval = shown_bounds(metric, seed_interval([*found.values()]))
                line = [row, damage, severity, metric, len(found), *interval, share]
                other = against.get((row, condition, metric))
                if other is None:
                    yield [*line, *[""] * 8]
                    continue
                line += [facts.references[row], other.pairs, *other.seeds]
                line += other.products[1:] if other.products else ("", "")
                yield [*line, other.verdict]


def robustness_markdown(
    values: Values, against: Differences, *, metric: str, facts: Facts
) -> str:
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
    parts += _difference_parts(values, against, metric, facts)
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


def _difference_parts(
    values: Values, against: Differences, metric: str, facts: Facts
) -> list[str]:
    """Each row minus its reference row under each condition, paired by seed."""
    compared = [found for key, found in against.items() if key[2] == metric]
    shown = [row for row in values if any(key[::2] == (row, metric) for key in against)]
    if not compared:
        return [*facts.notes]
    rows = [
        [c, *(_difference(metric, against.get((row, c, metric))) for row in shown)]
        for c in conditions_of(values)
    ]
    head = ["products", *(f"{row} − {facts.references[row]}" for row in shown)]
    judged = len(compared)
    told = (
        "In points, over the seeds that both rows have. Brackets hold 95 %"
        f" {_OVER_PRODUCTS if compared[0].products else _OVER_SEEDS}; {judged}"
        " differences, each at 95 % and not corrected for their number: about"
        f" {judged / 20:.1f} of them would look real where none is."
    )
    title = "## Differences from the reference row"
    return [title, table(head, rows), told, *facts.notes]


_OVER_PRODUCTS = (
    "intervals over resampled groups of products; n.s.: not significant, as they hold"
    " 0, or Student's t over the pairs of seeds does; † fewer than 3 pairs, judged by"
    " the products alone"
)
_OVER_SEEDS = (
    "t-intervals over the pairs, which say nothing of other products; n.s.: not"
    " significant, as the interval holds 0; fewer than 3 pairs are not judged"
)


def _difference(metric: str, found: Difference | None) -> str:
    """`+1.20 [+0.50, +1.90]`, ` n.s.` behind it where it is not clear."""
    if found is None:
        return DASH
    scale = scale_of(metric)
    value = signed(scale * found.seeds.value)
    bounds = found.products
    if bounds is None and found.pairs >= MIN_RUNS:
        bounds = found.seeds
    if bounds is None:
        return value
    low, high = (signed(scale * x) for x in bounds[1:])
    mark = {"no": " n.s.", "yes, by rows alone": " †"}.get(found.verdict, "")
    return f"{value} [{low}, {high}]{mark}"


def _cost(values: Values, row: str, conditions: Sequence[str], metric: str) -> str:
    damaged = [interval_of(values, row, c, metric).value for c in conditions]
    cost = np.mean(damaged) - interval_of(values, row, CLEAN, metric).value
    return signed(100 * float(cost))


def _told(values: Values, metric: str) -> str:
    runs = {row: len(found_of(values, row, CLEAN, metric)) for row in values}
    several = ", ".join(f"{row}: {count}" for row, count in runs.items())
    return f"Shares in %. Runs: {several}.{told_bounds(runs.values())}"
