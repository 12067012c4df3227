"""Bounds that the scores of every classifier obey, each with its proof.

A level has C classes with supports n_c of n rows, shares p_c = n_c / n, and per class a
precision, a recall and an F1. Every row has one true class and at most one answer, and
means run over the classes with support. Scores come as (low, high), what a printed
figure may stand for; what holds for one run holds for means over runs, too, as each
bound is convex or concave in the direction that this needs.
"""

import math

import numpy as np
from jaxtyping import Float

ROUNDING = 1e-9  # of our own arithmetic


def extreme_shares(
    classes: int, *, rows: int | None = None, largest: float = 1.0
) -> Float[np.ndarray, "C"]:
    """The most unequal class shares: they allow all that any other shares allow.

    Of all p with sum 1 and 1 / rows <= p_c <= largest, this one majorizes the others:
    its k largest sum to the most and its k smallest to the least, for every k.

    >>> extreme_shares(4, rows=10, largest=0.6).tolist()
    [0.6, 0.2, 0.1, 0.1]

    Raises:
      ValueError: there are no such shares.
    """
    least = 1 / rows if rows else 0.0
    room, left = largest - least, 1 - classes * least
    if left < -ROUNDING or classes * room < left - ROUNDING:
        raise ValueError(
            f"{classes:,} classes, each of at most {100 * largest:g} % of the rows"
            + (f" and of one of {rows:,} rows at least" if rows else "")
            + ", cannot be"
        )
    before = np.arange(classes) * room
    return least + np.clip(left - before, 0, room).round(12)


def weighted_bounds(
    macro: tuple[float, float], shares: Float[np.ndarray, "C"]
) -> tuple[float, float]:
    """Least and largest weighted mean of per-class scores whose plain mean is `macro`.

    With deficits d_c = 1 - score_c in 0..1, the plain mean gives sum d_c = D =
    C (1 - macro) and the weighted mean is 1 - sum p_c d_c. The sum is largest where D
    fills the classes from the largest share down and least from the smallest up
    (fractional knapsack), and both are monotone in D.

    Args:
      macro: (low, high) of the plain mean.
      shares: p_c, or `extreme_shares`.

    >>> low, high = weighted_bounds((0.9866, 0.9866), extreme_shares(8))
    >>> round(low, 4), round(high, 4)
    (0.8928, 1.0)
    """
    few = np.append(0.0, np.cumsum(np.sort(shares)))  # of the k smallest
    many = np.append(0.0, np.cumsum(np.sort(shares)[::-1]))
    count = len(shares)
    most, least = (count * (1 - score) for score in macro)
    places = np.arange(count + 1)
    low, high = np.interp(most, places, many), np.interp(least, places, few)
    return 1 - float(low), 1 - float(high)


def f1_bounds(
    precision: tuple[float, float], recall: tuple[float, float]
) -> tuple[float, float]:
    """Least and largest mean F1 of classes with these mean precisions and recalls.

    H(p, r) = 2pr / (p + r) is concave, so the mean of H is at most H of the means
    (Jensen; Opitz & Burst 2019, https://arxiv.org/abs/1911.03347), and H >= p + r - 1,
    with equality in the corners of the square, so the mean is at least P + R - 1. Both
    hold for any weights of the classes, the same for all three means. Where one of the
    two is not told it is 0 to 1, which leaves at most 2R / (1 + R), or 2P / (1 + P).

    >>> [round(x, 4) for x in f1_bounds((0.9, 0.9), (0.6, 0.6))]
    [0.5, 0.72]
    >>> [round(x, 4) for x in f1_bounds((0.0, 1.0), (0.2, 0.2))]
    [0.0, 0.3333]
    """
    (p_low, p_high), (r_low, r_high) = precision, recall
    return max(0.0, p_low + r_low - 1), harmonic(p_high, r_high)


def harmonic(p: float, r: float) -> float:
    """2pr / (p + r), 0 where both are 0."""
    return 2 * p * r / (p + r) if p + r else 0.0


def weighted_f1_bounds(accuracy: tuple[float, float]) -> tuple[float, float]:
    """Least and largest weighted F1 of a single-label classifier of this accuracy.

    Let t_c <= p_c be the share of all rows that are right in class c and e_c the share
    wrongly answered as c: sum t_c = A, sum e_c <= 1 - A, and the weighted F1 is
    W = sum 2 p_c t_c / (p_c + t_c + e_c). It is largest without any e_c: W <= sum
    2 p_c r_c / (1 + r_c) <= 2A / (1 + A), as x / (1 + x) is concave. It grows with
    p_c >= t_c: W >= sum 2 t_c^2 / (2 t_c + e_c) >= 2A^2 / (1 + A) (Cauchy-Schwarz).

    >>> [round(x, 4) for x in weighted_f1_bounds((0.5, 0.5))]
    [0.3333, 0.6667]
    """
    low, high = accuracy
    return 2 * low**2 / (1 + low), 2 * high / (1 + high)


def accuracy_bounds(weighted_f1: tuple[float, float]) -> tuple[float, float]:
    """The accuracies that `weighted_f1_bounds` leaves for a weighted F1."""
    low, high = weighted_f1
    return low / (2 - low), min(1.0, (high + math.sqrt(high**2 + 8 * high)) / 4)


def hierarchical_recall_bounds(
    accuracies: list[tuple[float, float]], rows: list[int] | None = None
) -> tuple[float, float]:
    """Least and largest hR of a tree whose levels have these accuracies.

    hR = sum |answer & truth| / sum |truth| over sets of nodes is the mean of the level
    accuracies weighted by the rows n_k that have a node at level k. These never grow
    with depth. All such weights are mixtures of those that are equal down to a level
    and 0 below, so the bounds are the extremes of the means of the first levels.

    Args:
      accuracies: (low, high) of each counted level, coarsest first.
      rows: n_k; None = unknown.

    >>> [round(x, 4) for x in hierarchical_recall_bounds([(0.9, 0.9), (0.7, 0.7)])]
    [0.8, 0.9]
    """
    low, high = np.array(accuracies).T
    if rows is not None:
        low, high = (np.average(ends, weights=rows) for ends in (low, high))
        return float(low), float(high)
    depth = np.arange(1, len(low) + 1)
    return float((low.cumsum() / depth).min()), float((high.cumsum() / depth).max())


def is_share_of(figure: tuple[float, float], rows: int) -> bool:
    """Does any whole number out of `rows` lie in (low, high)?

    The GRIM test of Brown & Heathers 2017, https://doi.org/10.1177/1948550616673876.

    >>> is_share_of((0.8945, 0.8955), 19), is_share_of((0.8945, 0.8955), 25)
    (True, False)
    """
    low, high = figure
    return math.ceil(low * rows - ROUNDING) <= math.floor(high * rows + ROUNDING)
