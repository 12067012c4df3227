"""Paper A's Table 4: a model on clean, noisy and missing input."""

import re
from collections.abc import Sequence
from pathlib import Path

from hsjax.evaluation.comparison_report import write_table
from hsjax.evaluation.comparison_tables import mean_cell
from hsjax.evaluation.intervals import MIN_RUNS
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.robust_cells import (
    CLEAN,
    Cell,
    Facts,
    Values,
    by_row,
    found_of,
    interval_of,
)

COLUMNS = ("row", "scenario", "condition", "level", "metric", "runs")
COLUMNS += ("mean", "low", "high")
METRICS = {
    "accuracy": "Accuracy",
    "macro_precision": "Precision, macro",
    "macro_recall": "Recall, macro",
    "macro_f1": "F1, macro",
    "weighted_precision": "Precision, weighted",
    "weighted_recall": "Recall, weighted",
    "weighted_f1": "F1, weighted",
}


def write_table4(
    cells: Sequence[Cell], output: Path, conditions: Sequence[str], facts: Facts
) -> str:
    """Writes table4.md and table4.csv, and returns the Markdown.

    Args:
      conditions: those shown, in order, after the clean products.
    """
    values = by_row(cells)
    shown = [CLEAN, *(name for name in conditions if name != CLEAN)]
    text = _markdown(values, shown, facts)
    write_table(output / "table4", text, COLUMNS, _lines(values, shown, facts))
    return text


def _levels(values: Values) -> list[int]:
    names = {name for of in values.values() for found in of.values() for name in found}
    return sorted(
        {int(m[1]) for m in (re.match(r"level(\d+)/", n) for n in names) if m}
    )


def _markdown(values: Values, conditions: Sequence[str], facts: Facts) -> str:
    parts = [f"# Table 4: noisy and missing input{facts.labels}"]
    counts = {
        row: len(found_of(values, row, CLEAN, "level1/accuracy")) for row in values
    }
    told = ", ".join(f"{row}: {count}" for row, count in counts.items())
    parts.append(f"Means over the runs ({told}); shares in %.")
    if max(counts.values(), default=0) >= MIN_RUNS:
        parts[-1] += " Brackets hold 95 % t-intervals over the runs."
    if 2 in counts.values():
        parts[-1] += " Two runs are too few for an interval: their range is given."
    for row in values:
        parts.append(f"## {row}")
        for level in _levels(values):
            lines = [
                [
                    facts.scenarios.get(condition, condition),
                    *(_cell(values, row, condition, level, name) for name in METRICS),
                ]
                for condition in conditions
            ]
            head = ["products", *METRICS.values()]
            title = facts.levels.get(level, f"Level {level}")
            parts += [f"### {title}", table(head, lines)]
    return "\n\n".join(parts) + "\n"


def _cell(values: Values, row: str, condition: str, level: int, name: str) -> str:
    metric = f"level{level}/{name}"
    found = found_of(values, row, condition, metric)
    if not found:
        return DASH
    interval = interval_of(values, row, condition, metric)
    return mean_cell(metric, interval, len(found))


def _lines(values: Values, conditions: Sequence[str], facts: Facts):
    for row in values:
        for condition in conditions:
            scenario = facts.scenarios.get(condition, condition)
            for level in _levels(values):
                for name in METRICS:
                    metric = f"level{level}/{name}"
                    runs = len(found_of(values, row, condition, metric))
                    interval = interval_of(values, row, condition, metric)
                    yield [row, scenario, condition, level, name, runs, *interval]
