"""Which declared labels are probably wrong, as a model sees it that never saw the row.

Confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068: a model is
trained on some folds and asked on another one, so that it cannot have learnt a wrong
label by heart. All functions are pure; the model is handed in.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from tqdm import tqdm

TOP = 0.1  # share of the ranking in which planted errors are looked for
TINY = 1e-12  # against division by zero

# (positions to learn from, positions to answer) -> (H, C) log-probabilities of the
# latter, -inf for a class that the former lack
FitAndAnswer = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Ranking(NamedTuple):
    """Declared labels of N rows, as out-of-fold probabilities judge them.

    Attributes:
      order: (R,) the rows that could be judged, the most doubtful label first. A row
        cannot be judged where no other fold has its class.
      score: (N,) the lower, the more doubtful; inf = not judged.
      label_prob: (N,) probability of the declared label.
      suggestion: (N,) the most probable other class; suggestion_prob: (N,) of it.
      confident: (N,) confident learning counts the label as wrong.
    """

    order: Integer[np.ndarray, "R"]
    score: Float[np.ndarray, "N"]
    label_prob: Float[np.ndarray, "N"]
    suggestion: Integer[np.ndarray, "N"]
    suggestion_prob: Float[np.ndarray, "N"]
    confident: Bool[np.ndarray, "N"]


class Evidence(NamedTuple):
    """What a score is made of, (N,) each.

    Attributes:
      label: probability of the declared label; other: of the best other class.
      usual: mean probability of the label over the rows that declare the same one.
      entropy: of all probabilities, in nats.
    """

    label: np.ndarray
    other: np.ndarray
    usual: np.ndarray
    entropy: np.ndarray


# How sure the model is of the label. Margin and self-confidence: Northcutt et al.;
# division by the entropy: Kuan & Mueller 2022, "Model-agnostic label quality scoring".
SCORES: dict[str, Callable[[Evidence], np.ndarray]] = {
    "margin": lambda e: e.label - e.other,
    "self_confidence": lambda e: e.label,
    "relative": lambda e: e.label / e.usual,
    "weighted": lambda e: e.label / e.usual / e.entropy,
}


def rank_labels(
    log_probs: Float[np.ndarray, "N C"],
    labels: Integer[np.ndarray, "N"],
    *,
    score: str = "weighted",
) -> Ranking:
    """Ranks declared labels by how much out-of-fold probabilities contradict them.

    With p_ij = exp log_probs and t_j the mean p_ij of the rows that declare j, the
    default scores a label y_i by p_iy / (t_y H(p_i)): its probability, as a share of
    what is usual for its class, counts for more where the model is of one mind. The
    lowest scores come first. A label is `confident`ly wrong where another class is more
    probable, and another one the most probable among those with p_ij >= t_j.

    Args:
      log_probs: out of fold, -inf for a class that the row's model has not seen.
      labels: declared class of each row.
      score: a name of `SCORES`.

    >>> log_probs = np.log([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.8, 0.2]])
    >>> rank_labels(log_probs, np.array([0, 1, 0, 0])).order.tolist()
    [2, 1, 3, 0]
    """
    rows, probs = np.arange(len(labels)), np.exp(log_probs)
    label_prob = probs[rows, labels]
    judged = np.isfinite(log_probs[rows, labels])
    usual = _usual(label_prob[judged], labels[judged], probs.shape[1])
    sure = np.where(probs >= usual, probs, -1.0)
    best = sure.argmax(axis=1)
    confident = judged & (sure[rows, best] > 0) & (best != labels)
    entropy = -(probs * np.log(np.maximum(probs, TINY))).sum(axis=1)
    probs[rows, labels] = -1.0
    suggestion = probs.argmax(axis=1)
    other = probs[rows, suggestion]
    confident &= other > label_prob
    evidence = Evidence(
        label_prob, other, np.maximum(usual[labels], TINY), np.maximum(entropy, TINY)
    )
    scores = np.where(judged, SCORES[score](evidence), np.inf)
    order = np.argsort(scores, kind="stable")[: judged.sum()]
    return Ranking(order, scores, label_prob, suggestion, other, confident)


def _usual(label_prob: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(C,) mean probability of each class where it is declared; inf where it is not."""
    count = np.bincount(labels, minlength=classes)
    total = np.bincount(labels, label_prob, minlength=classes)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def fold_numbers(
    groups: Integer[np.ndarray, "N"],
    labels: Integer[np.ndarray, "N"],
    *,
    folds: int = 5,
    seed: int = 0,
) -> Integer[np.ndarray, "N"]:
    """A fold for each row; no group is divided, and classes are spread evenly.

    Groups are shuffled, ordered by the class of their first row, and dealt out in turn.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[dealt] = np.arange(len(first)) % folds
    return fold[group]


def out_of_fold(
    fold: Integer[np.ndarray, "N"],
    classes: int,
    answer: FitAndAnswer,
    *,
    progress: str = "",
) -> Float[np.ndarray, "N C"]:
    """Log-probabilities of every row by a model that learnt from the other folds.

    Args:
      fold: number of each row's fold.
      progress: what the progress bar says, '' = none.
    """
    log_probs = np.full((len(fold), classes), -np.inf, np.float32)
    disable = None if progress else True
    for number in tqdm(np.unique(fold), desc=progress, disable=disable, leave=False):
        held = np.flatnonzero(fold == number)
        log_probs[held] = answer(np.flatnonzero(fold != number), held)
    return log_probs


def plant_errors(
    labels: Integer[np.ndarray, "N"], *, share: float = 0.05, seed: int = 0
) -> tuple[Integer[np.ndarray, "N"], Bool[np.ndarray, "N"]]:
    """Labels of which a share is wrong on purpose, and where.

    A wrong label is that of a random other row with another one, so that frequent
    classes are planted more often, as a shop would mistake them.

    Raises:
      ValueError: all labels are the same.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("wrong labels need two different ones")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    wrong, left = labels.copy(), chosen
    while len(left):
        wrong[left] = labels[rng.integers(len(labels), size=len(left))]
        left = left[wrong[left] == labels[left]]
    planted = np.zeros(len(labels), bool)
    planted[chosen] = True
    return wrong, planted


def found_share(
    ranking: Ranking, planted: Bool[np.ndarray, "N"], *, top: float = TOP
) -> float:
    """The share of planted errors in the first `top` of the ranking; nan without any.

    Truly wrong labels compete with the planted ones, and rows that no model can judge
    are never found, so that this understates.
    """
    hits = planted[ranking.order]
    first = int(np.ceil(top * len(hits)))
    return float(hits[:first].sum() / planted.sum()) if planted.any() else float("nan")
