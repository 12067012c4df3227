"""Paper A's Table 4: a model on clean, noisy and missing input."""

from collections.abc import Sequence
from pathlib import Path

from hsjax.evaluation.comparison_report import write_table
from hsjax.evaluation.intervals import told_bounds
from hsjax.evaluation.markdown import table
from hsjax.evaluation.metrics import measured_levels
from hsjax.evaluation.robust_cells import (
    CLEAN,
    Cell,
    Facts,
    Values,
    by_row,
    found_of,
    interval_of,
    metrics_of,
    told_cell,
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


def _markdown(values: Values, conditions: Sequence[str], facts: Facts) -> str:
    parts = [f"# Table 4: noisy and missing input{facts.labels}"]
    counts = {
        row: len(found_of(values, row, CLEAN, "level1/accuracy")) for row in values
    }
    told = ", ".join(f"{row}: {count}" for row, count in counts.items())
    bounds = told_bounds(counts.values())
    parts.append(f"Means over the runs ({told}); shares in %.{bounds}")
    levels = measured_levels(metrics_of(values))
    for row in values:
        parts.append(f"## {row}")
        for level in levels:
            lines = [
                [
                    facts.scenarios.get(condition, condition),
                    *(
                        told_cell(values, row, condition, f"level{level}/{name}")
                        for name in METRICS
                    ),
                ]
                for condition in conditions
            ]
            head = ["products", *METRICS.values()]
            title = facts.levels.get(level, f"Level {level}")
            parts += [f"### {title}", table(head, lines)]
    return "\n\n".join(parts) + "\n"


def _lines(values: Values, conditions: Sequence[str], facts: Facts):
    levels = measured_levels(metrics_of(values))
    for row in values:
        for condition in conditions:
            scenario = facts.scenarios.get(condition, condition)
            for level in levels:
                for name in METRICS:
                    metric = f"level{level}/{name}"
                    runs = len(found_of(values, row, condition, metric))
                    interval = interval_of(values, row, condition, metric)
                    yield [row, scenario, condition, level, name, runs, *interval]
