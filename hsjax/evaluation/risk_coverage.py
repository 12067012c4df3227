"""Risk-coverage curves: how wrong the answers are that a model is surest of."""

import numpy as np
from jaxtyping import Bool, Float

Curve = tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]


def risk_coverage(
    stated: Float[np.ndarray, "N"], right: Bool[np.ndarray, "N"]
) -> Curve:
    """(share of rows answered, share of them that is wrong), the surest rows first.

    Rows that are equally sure come in any order: each counts as their mean.

    >>> x = risk_coverage(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]))
    >>> [values.round(2).tolist() for values in x]
    [[0.33, 0.67, 1.0], [0.0, 0.25, 0.33]]
    """
    values, inverse = np.unique(-stated, return_inverse=True)
    counts = np.bincount(inverse, minlength=len(values))
    wrong = np.bincount(inverse, ~right, minlength=len(values)) / np.maximum(counts, 1)
    number = np.arange(1, len(stated) + 1)
    return number / max(len(stated), 1), np.cumsum(np.repeat(wrong, counts)) / number


def area(curve: Curve) -> float:
    """AURC, the mean risk over all coverages; nan without rows.

    Geifman and El-Yaniv 2017, arxiv.org/abs/1705.08500.
    """
    return float(curve[1].mean()) if len(curve[1]) else np.nan
