"""Figures by how many training rows the true leaf had; none, for one that is unseen.

Unseen are classes that were left out of training, those of a given tree that the
training rows do not reach, and labels outside the tree, which nobody can answer.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from hsjax.evaluation.intervals import Statistic
from hsjax.evaluation.markdown import cell, table
from hsjax.evaluation.measures import (
    Ratios,
    answers,
    class_figures,
    right_paths,
    share,
)
from hsjax.evaluation.predictions import Predictions, deepest

FEW, MANY = 20, 100  # training rows, Liu et al. 2019, https://arxiv.org/abs/1904.05160
TOP = (3, 5)  # beside the answer itself
BANDS = {"few": "below 20", "medium": "20 to 100", "many": "above 100"}
SIDES = {"unseen": "none", "seen": "1 or more"}  # prefix of metrics -> training rows


def rarity_ratios(predictions: Predictions, train_counts: Mapping[str, int]) -> Ratios:
    """Right whole paths by how many training rows their end, the true leaf, had."""
    if not train_counts:
        return {}
    leaf, right = deepest(predictions.truth), right_paths(predictions)
    bands = _bands(leaf, train_counts).items()
    return {f"leaf/{k}_shot_accuracy": (right & rows, rows) for k, rows in bands}


def rarity_averages(
    predictions: Predictions, train_counts: Mapping[str, int]
) -> Statistic:
    """Macro recall and F1 over the leaves of each band of training rows.

    A class counts where it has support; false answers from rows of other bands lower
    its F1 as they do in the macro F1 of all classes.
    """
    truth, answer = deepest(predictions.truth), deepest(answers(predictions))
    codes, figures = class_figures(truth, answer)
    bands = _bands(codes, train_counts)

    def average(weights: np.ndarray) -> dict[str, np.ndarray]:
        per_class, result = figures(weights), {}
        for band, rows in bands.items():
            counted = rows[:, None] & (per_class["support"] > 0)
            for name in ("recall", "f1"):
                total = (per_class[name] * counted).sum(axis=0)
                mean = share(total, counted.sum(axis=0))
                result[f"leaf/{band}_shot_macro_{name}"] = mean
        return result

    return average


def _bands(
    codes: Shaped[np.ndarray, "N"], train_counts: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Which leaves are rare, frequent, or neither, by their training rows.

    Leaves without any are among the rare ones; `unseen_ratios` has them apart.
    """
    seen = np.array([train_counts.get(code, 0) for code in codes.tolist()])
    bands = {"few": seen < FEW, "many": seen > MANY}
    return bands | {"medium": ~(bands["few"] | bands["many"])}


def unseen_ratios(predictions: Predictions, train_counts: Mapping[str, int]) -> Ratios:
    """Accuracy and top-k accuracy of rows whose true leaf had no training row.

    `unseen/...` of these rows and `seen/...` of the others; nothing where no row is
    unseen. A leaf is the deepest node of the truth, and top-k is among the K best whole
    paths. Where the truth is unknown below that node, so that a path through it is
    right.

    Args:
      train_counts: node code -> training rows; {} = not known.
    """
    ratios, right = {}, right_paths(predictions)
    for side, rows in _sides(predictions, train_counts).items():
        ratios[f"{side}/accuracy"] = (right & rows, rows)
        for k in (k for k in TOP if k <= predictions.topk_codes.shape[1]):
            ratios[f"{side}/top{k}_accuracy"] = (_among(predictions, k) & rows, rows)
    return ratios


def unseen_counts(
    predictions: Predictions, train_counts: Mapping[str, int]
) -> dict[str, float]:
    """`unseen/rows` and `seen/rows`, nothing where no row is unseen."""
    sides = _sides(predictions, train_counts)
    return {f"{side}/rows": float(rows.sum()) for side, rows in sides.items()}


def _sides(
    predictions: Predictions, train_counts: Mapping[str, int]
) -> dict[str, Bool[np.ndarray, "N"]]:
    """Rows whose true leaf is unseen and those whose is seen, where any is unseen."""
    leaf = deepest(predictions.truth).tolist()
    unseen = np.array([not train_counts.get(code, 0) for code in leaf], bool)
    if not train_counts or not unseen.any():
        return {}
    sides = {"unseen": unseen, "seen": ~unseen}
    return {side: rows for side, rows in sides.items() if rows.any()}


def _among(predictions: Predictions, k: int) -> Bool[np.ndarray, "N"]:
    """Does one of the k best paths end at the true leaf, or lead on where unknown?"""
    leaf, separator = deepest(predictions.truth), predictions.separator
    paths = predictions.topk_codes[:, :k]
    found = (paths == leaf[:, None]).any(axis=1)
    for i in np.flatnonzero(~predictions.complete):
        found[i] |= any(x.startswith(leaf[i] + separator) for x in paths[i].tolist())
    return found


def frequency_table(metrics: Mapping[str, float]) -> str:
    """The bands of training rows, as Markdown."""
    figures = ("accuracy", "macro_recall", "macro_f1")
    rows = [
        [title, *(cell(metrics, f"leaf/{name}_shot_{figure}") for figure in figures)]
        for name, title in BANDS.items()
    ]
    empty = "Not measured: the training rows of each leaf are not known."
    head = ["training rows of the true leaf", "whole path right", "macro recall"]
    return table([*head, "macro F1"], rows, empty=empty)


def unseen_table(metrics: Mapping[str, float]) -> dict[str, str]:
    """The section of a report on leaves without training rows, {} where none is."""
    if "unseen/rows" not in metrics:
        return {}
    names = ("accuracy", *(f"top{k}_accuracy" for k in TOP))
    rows = [
        [told, metrics[f"{side}/rows"], *(cell(metrics, f"{side}/{x}") for x in names)]
        for side, told in SIDES.items()
        if f"{side}/rows" in metrics
    ]
    head = ["training rows of the true leaf", "rows", "whole path right"]
    text = table([*head, *(f"in the top {k}" for k in TOP)], rows)
    return {"Classes without a training row": text}


def common_counts(folders: Sequence[Path]) -> Mapping[str, int] | None:
    """Node code -> training rows, None where not all runs have learnt from the same.

    Rare, frequent and unseen are comparable only where they mean the same.

    Args:
      folders: of runs, or of evaluations, which lie in the folder of their run.
    """
    found = []
    for folder in folders:
        places = (folder / "train_counts.json", folder.parent / "train_counts.json")
        text = next((path.read_text() for path in places if path.exists()), "null")
        found.append(json.loads(text))
    return found[0] if all(counts == found[0] for counts in found) else None
