"""The families of metrics, each a function of row weights (see `intervals`)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import sparse

from hsjax.evaluation.intervals import Statistic
from hsjax.evaluation.predictions import Predictions, deepest, node_names
from hsjax.evaluation.reliability import calibration_error

MIN_SUPPORT = 5  # rows of a class that counts in macro_f1_min5
TOP = (1, 3, 5)

Ratios = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (N,) numerator, denominator


def answers(predictions: Predictions, decode: str = "") -> Shaped[np.ndarray, "N L"]:
    """Answers of a decode (default: the main one), '' where the truth is unknown."""
    answer = predictions.decoded[decode or predictions.main]
    known = predictions.complete[:, None] | (predictions.truth != "")
    return np.where(known, answer, "")


def right_paths(predictions: Predictions, decode: str = "") -> Bool[np.ndarray, "N"]:
    """Is the whole path that a decode answered the label's, no node more or less?"""
    return (answers(predictions, decode) == predictions.truth).all(axis=1)


def class_averages(
    truth: Shaped[np.ndarray, "N"], answer: Shaped[np.ndarray, "N"]
) -> Callable[[Float[np.ndarray, "N R"]], dict[str, np.ndarray]]:
    """Macro and weighted precision, recall and F1 over the classes with support.

    Rows with truth '' are skipped. A class that is never answered has precision 0, as
    in scikit-learn with `labels=np.unique(truth)` and `zero_division=0`. The classes of
    `macro_f1_min5` are those with 5 rows or more in the file as it is: were they chosen
    anew in each resample, rarer ones would come and go, and the interval would not be
    that of one quantity.
    """
    _, figures = class_figures(truth, answer)
    steady = figures(np.ones((len(truth), 1)))["support"] >= MIN_SUPPORT  # (C, 1)

    def average(weights: np.ndarray) -> dict[str, np.ndarray]:
        per_class = figures(weights)
        support = per_class.pop("support")
        present = support > 0
        counted = present & steady
        result = {
            "macro_f1_min5": share(
                (per_class["f1"] * counted).sum(axis=0), counted.sum(axis=0)
            )
        }
        for name, values in per_class.items():
            total = (values * present).sum(axis=0)
            result[f"macro_{name}"] = share(total, present.sum(axis=0))
            mass = (values * support).sum(axis=0)
            result[f"weighted_{name}"] = share(mass, support.sum(axis=0))
        return result

    return average


def class_figures(
    truth: Shaped[np.ndarray, "N"], answer: Shaped[np.ndarray, "N"]
) -> tuple[np.ndarray, Callable[[Float[np.ndarray, "N R"]], dict[str, np.ndarray]]]:
    """(C,) codes, and row weights -> (C, R) `support`, precision, recall and F1."""
    kept = truth != ""
    codes = np.unique(np.concatenate([truth[kept], answer[kept]]))
    labels, answered = np.searchsorted(codes, truth), np.searchsorted(codes, answer)
    support_of = _membership(labels, kept, len(codes))
    answered_of = _membership(answered, kept, len(codes))
    hits_of = _membership(labels, kept & (truth == answer), len(codes))

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        support, hits = support_of @ weights, hits_of @ weights
        given = answered_of @ weights
        return {
            "support": support,
            "precision": hits / np.maximum(given, 1),
            "recall": hits / np.maximum(support, 1),
            "f1": 2 * hits / np.maximum(support + given, 1),
        }

    return codes, figures


def _membership(index: np.ndarray, rows: Bool[np.ndarray, "N"], size: int):
    """(C, N) sparse matrix: row i of the file belongs to class index[i]."""
    kept = np.flatnonzero(rows)
    entries = (np.ones(len(kept)), (index[kept], kept))
    return sparse.csr_array(entries, shape=(size, len(rows)))


def share(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """A quotient, nan where there is nothing to divide by."""
    empty = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator > 0)


def hierarchical_f1(
    shared: Shaped[np.ndarray, "..."],
    given: Shaped[np.ndarray, "..."],
    size: Shaped[np.ndarray, "..."],
) -> tuple[np.ndarray, np.ndarray]:
    """hF1 = 2 hP hR / (hP + hR) as numerator and denominator, which may be summed.

    hP = shared / given and hR = shared / size, where a path stands for the set of its
    nodes without the root (Kiritchenko et al. 2005, micro).

    Args:
      shared: nodes that answer and truth have in common; given, size: of either alone.

    >>> hierarchical_f1(np.array(2), np.array(2), np.array(3))
    (np.int64(4), np.int64(5))
    """
    return 2 * shared, given + size


def ratio_statistic(ratios: Ratios) -> Statistic:
    """Metrics that are a sum over rows divided by another."""
    if not ratios:
        return lambda weights: {}
    names = list(ratios)
    above = np.stack([ratios[name][0] for name in names]).astype(np.float64)
    below = np.stack([ratios[name][1] for name in names]).astype(np.float64)

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        values = share(above @ weights, below @ weights)
        return dict(zip(names, values, strict=True))

    return measure


def level_ratios(predictions: Predictions, level: int) -> Ratios:
    """Shares of rows that are right at one level."""
    truth, answer = predictions.truth[:, level], answers(predictions)[:, level]
    prefix, rows = f"level{level + 1}", truth != ""
    names = [node_names(codes, predictions.separator) for codes in (truth, answer)]
    ratios = {
        f"{prefix}/accuracy": (rows & (truth == answer), rows),
        f"{prefix}/name_accuracy": (rows & (names[0] == names[1]), rows),
    }
    nodes = predictions.level_topk[:, level]
    for k in (k for k in TOP if k <= nodes.shape[1]):
        found = (nodes[:, :k] == truth[:, None]).any(axis=1)
        ratios[f"{prefix}/top{k}_accuracy"] = (rows & found, rows)
    return ratios


def level_statistics(predictions: Predictions, level: int) -> list[Statistic]:
    """Class averages of nodes and of names, and the calibration error."""
    truth, answer = predictions.truth[:, level], answers(predictions)[:, level]
    prefix = f"level{level + 1}"
    nodes = class_averages(truth, answer)
    separator = predictions.separator
    names = class_averages(node_names(truth, separator), node_names(answer, separator))
    rows = calibrated_rows(predictions, level)
    stated, right = predictions.prob[rows, level], (truth == answer)[rows]

    def averages(weights):
        return {f"{prefix}/{name}": value for name, value in nodes(weights).items()}

    def rest(weights):
        return {
            f"{prefix}/name_macro_f1": names(weights)["macro_f1"],
            f"{prefix}/ece": calibration_error(stated, right, weights[rows]),
        }

    return [averages, rest, *_padded(predictions, level)]


def _padded(predictions: Predictions, level: int) -> list[Statistic]:
    """As if a label that ends above had its last node here, too (Paper B, B7).

    Every row of a known end counts, so that what is easy above makes a level look
    better than it is. Only where labels do end above.
    """
    known, truth = predictions.complete, predictions.truth[:, : level + 1]
    if not (known & (truth[:, -1] == "")).any():
        return []
    rows = np.flatnonzero(known)
    last = [deepest(x[rows, : level + 1]) for x in (truth, answers(predictions))]
    averaged, right = class_averages(*last), (last[0] == last[1]).astype(np.float64)
    prefix = f"level{level + 1}/padded_"

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        kept = weights[rows]
        found = averaged(kept)
        names = ("macro_f1", "weighted_f1")
        accuracy = share(right @ kept, kept.sum(axis=0))
        return {f"{prefix}accuracy": accuracy} | {
            f"{prefix}{name}": found[name] for name in names
        }

    return [measure]


def calibrated_rows(predictions: Predictions, level: int) -> Shaped[np.ndarray, "K"]:
    """Rows in which a node was answered at a level where the truth has one."""
    answered = answers(predictions)[:, level] != ""
    return np.flatnonzero(answered & (predictions.truth[:, level] != ""))
