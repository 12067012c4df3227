"""What two models are together: the cheap one answers where it is sure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.evaluation.measures import answers, hierarchical_f1, right_paths, share
from hsjax.evaluation.predictions import Predictions

NEVER = 2.0  # no confidence reaches it
MAIN = "cascade"  # the one decode of what both have answered
STAGES = ("cheap", "strong", "none")  # values of `stage`
# what may be wished for, by what a report calls it
METRICS = {"hierarchical_f1": "hF1", "accuracy": "accuracy"}


class Curve(NamedTuple):
    """A cascade at every threshold that makes a difference, cheapest first.

    Attributes:
      threshold: (K,) rows with a confidence below it go to the strong model; the first
        escalates none, the last all.
      escalated: (K,) share of rows that go there.
      f1, accuracy: (K,) hF1 and accuracy of whole paths.
    """

    threshold: Float[np.ndarray, "K"]
    escalated: Float[np.ndarray, "K"]
    f1: Float[np.ndarray, "K"]
    accuracy: Float[np.ndarray, "K"]

    def of(self, metric: str) -> Float[np.ndarray, "K"]:
        """Of a metric of `METRICS`."""
        return self.accuracy if metric == "accuracy" else self.f1


class Reached(NamedTuple):
    """What a cascade did to some rows; figures are nan where no row has a label.

    Attributes:
      rows: how many, labelled or not.
      escalated, abstained: shares of them.
      f1, accuracy: hF1 and accuracy of whole paths of all labelled rows; what is left
        to people has no answer there.
      answered_f1, answered_accuracy: of those labelled rows that are not left to them.
      strong_f1, strong_accuracy: of the strong model on all labelled rows.
    """

    rows: int
    escalated: float
    abstained: float
    f1: float = np.nan
    accuracy: float = np.nan
    answered_f1: float = np.nan
    answered_accuracy: float = np.nan
    strong_f1: float = np.nan
    strong_accuracy: float = np.nan


def reached(answered: Predictions, strong: Predictions | None) -> Reached:
    """What both stages together did.

    Args:
      answered: of `merged`; strong: of the same rows, None = nothing is scored.
    """
    sent, left = (answered.stage == x for x in STAGES[1:])
    shares = len(answered), float(sent.mean()), float(left.mean())
    if strong is None:
        return Reached(*shares)
    known = (answered.truth != "").any(axis=1)
    sides = (answered, known), (answered, known & ~left), (strong, known)
    return Reached(*shares, *(x for p, rows in sides for x in _of(p.select(rows))))


def _of(p: Predictions) -> tuple[float, float]:
    """hF1 and accuracy of whole paths, nan without rows."""
    if not len(p):
        return np.nan, np.nan
    found = figures_of(stage_counts(p).sum(axis=1, keepdims=True), float(len(p)))
    return float(found["hierarchical_f1"][0]), float(found["accuracy"][0])


def figures_of(
    counts: Float[np.ndarray, "4 ..."], rows: Float[np.ndarray, "..."] | float
) -> dict[str, Float[np.ndarray, "..."]]:
    """The metrics of `METRICS` of sums of `stage_counts` over so many rows."""
    shared, given, size, right = counts
    f1 = share(*hierarchical_f1(shared, given, size))
    return {"hierarchical_f1": f1, "accuracy": right / rows}


def cascade_curve(
    cheap: Predictions, strong: Predictions, confidence: Float[np.ndarray, "N"]
) -> Curve:
    """All cascades of two models by the confidence of the cheap one.

    Args:
      cheap, strong: answers to the same labelled rows.
    """
    order = np.argsort(confidence, kind="stable")
    first, second = (stage_counts(p)[:, order] for p in (cheap, strong))
    start = np.zeros((len(first), 1))
    taken = np.concatenate([start, np.cumsum(second, axis=1)], axis=1)
    left = first.sum(axis=1, keepdims=True)
    left = left - np.concatenate([start, np.cumsum(first, axis=1)], axis=1)
    # (N + 1,): the first k rows escalated
    found = figures_of(taken + left, float(len(order)))
    sorted_ = confidence[order]
    # equal confidences go together: a cut lies before the first of them
    cut = np.flatnonzero(np.append(True, sorted_[1:] > sorted_[:-1]))
    cut = np.append(cut, len(sorted_))
    threshold = np.append(sorted_[cut[:-1]], NEVER)
    figures = (found[name][cut] for name in METRICS)
    return Curve(threshold, cut / len(sorted_), *figures)


def stage_counts(p: Predictions) -> Float[np.ndarray, "4 N"]:
    """Shared, given and true nodes of each row, and is the whole path right?"""
    answer, truth = answers(p), p.truth
    shared = ((answer == truth) & (truth != "")).sum(axis=1)
    sizes = (answer != "").sum(axis=1), (truth != "").sum(axis=1)
    return np.stack([shared, *sizes, right_paths(p)]).astype(np.float64)


def within_cost(
    curve: Curve,
    costs: Sequence[float],
    budget: float,
    metric: str = "hierarchical_f1",
) -> int | None:
    """The best of those whose mean cost is within the budget, None = none is.

    Args:
      costs: of the cheap stage, which sees all rows, and of the strong one.
      metric: of `METRICS`, by which one is the best.
    """
    affordable = mean_cost(curve.escalated, costs) <= budget
    if not affordable.any():
        return None
    return int(np.argmax(np.where(affordable, curve.of(metric), -1.0)))


def mean_cost(escalated, costs: Sequence[float]):
    """Of a product, where this share goes to the second stage."""
    return costs[0] + escalated * costs[1]


def merged(
    cheap: Predictions,
    strong: Predictions,
    *,
    escalated: Integer[np.ndarray, "E"],
    abstained: Bool[np.ndarray, "N"],
    present: dict[str, Bool[np.ndarray, "N"]],
) -> Predictions:
    """One table of both stages' answers; abstained rows have none.

    Args:
      cheap: of all N rows; strong: of the rows `escalated`, in that order.
      present: modality -> which rows have it.
    """

    def joined(a: Shaped[np.ndarray, "N ..."], b: Shaped[np.ndarray, "E ..."], empty):
        width = min(a.shape[-1], b.shape[-1]) if a.ndim > 1 else None
        found = a[..., :width].copy()
        found = found.astype(object) if a.dtype.kind in "UO" else found
        found[escalated] = b[..., :width]
        found[abstained] = empty
        return found

    asked = cheap.confident is not None
    sure = joined(cheap.confident, strong.confident, "") if asked else None
    stage = np.full(len(cheap), STAGES[0], object)
    stage[escalated], stage[abstained] = STAGES[1], STAGES[2]
    return Predictions(
        **{k: getattr(cheap, k) for k in ("row", "id", "group", "truth", "complete")},
        outside=cheap.outside,
        admissible=cheap.admissible,
        decoded={
            MAIN: joined(cheap.decoded[cheap.main], strong.decoded[strong.main], "")
        },
        valid={MAIN: joined(cheap.valid[cheap.main], strong.valid[strong.main], True)},
        prob=joined(cheap.prob, strong.prob, 0.0),
        log_prob=joined(cheap.log_prob, strong.log_prob, np.nan),
        topk_codes=joined(cheap.topk_codes, strong.topk_codes, ""),
        topk_probs=joined(cheap.topk_probs, strong.topk_probs, 0.0),
        level_topk=joined(cheap.level_topk, strong.level_topk, ""),
        present=present,
        embeddings={},
        stage=stage,
        main=MAIN,
        separator=cheap.separator,
        confident=sure,
    )
