"""The table of a report with a column per level."""

import math
from collections.abc import Mapping

from hsjax.evaluation.markdown import cell, table
from hsjax.evaluation.metrics import digit_aliases, labelled
from hsjax.evaluation.predictions import Predictions

LEVEL_ROWS = {
    "accuracy": "accuracy",
    "top1_accuracy": "top-1 accuracy, each level by itself",
    "top3_accuracy": "top-3 accuracy",
    "top5_accuracy": "top-5 accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "macro_f1_min5": "macro F1, classes with 5 rows or more",
    "weighted_precision": "weighted precision",
    "weighted_recall": "weighted recall",
    "weighted_f1": "weighted F1",
    "name_accuracy": "accuracy by bare name",
    "name_macro_f1": "macro F1 by bare name",
}
# where labels end above a level: as if their last node went on to it
PADDED_ROWS = {
    "padded_accuracy": "padded: accuracy",
    "padded_macro_f1": "padded: macro F1",
    "padded_weighted_f1": "padded: weighted F1",
}

NOTES = {
    "name_accuracy": "Bare name: the last part of a path, whatever stands above it.",
    "padded_accuracy": "Padded: labels that end above a level count there, as if their"
    " last node went on to it; the other rows are of labels that reach the level.",
}


def level_table(p: Predictions, metrics: Mapping) -> str:
    """A row for each measure of a level, then how many rows and classes it is of."""
    levels = [f"level{k + 1}" for k in range(p.num_levels)]
    aliases = digit_aliases(labelled(p).truth, p.separator)
    digits = {level: alias for alias, level in aliases.items()}
    head = [""]
    for level in levels:
        alias = f" ({digits[level][6:]} digits)" if level in digits else ""
        head.append(f"level {level[5:]}{alias}")
    rows = [
        [title, *(cell(metrics, f"{level}/{name}") for level in levels)]
        for name, title in (LEVEL_ROWS | PADDED_ROWS).items()
        if name in LEVEL_ROWS or any(f"{level}/{name}" in metrics for level in levels)
    ]
    for name in ("rows", "classes"):
        counts = (metrics.get(f"count/{level}_{name}", math.nan) for level in levels)
        rows.append([name, *counts])
    notes = [
        note
        for name, note in NOTES.items()
        if any(f"{level}/{name}" in metrics for level in levels)
    ]
    return "\n\n".join([table(head, rows), *notes])
