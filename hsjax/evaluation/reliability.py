"""Does a probability of 0.8 mean right in 8 of 10 cases? Bins of equal mass."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

BINS = 15


def bin_gaps(
    confidence: Float[np.ndarray, "N"],
    correct: Bool[np.ndarray, "N"],
    weights: Float[np.ndarray, "N R"],
    *,
    bins: int = BINS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted sums of confidence, of right answers and of rows in each bin, (R, bins).

    Bins hold equal mass in every resample: a row lies in bin floor(bins * mid-rank /
    rows). Equal confidences share a rank and hence a bin, so a weight of 2 is a row
    given twice.
    """
    values, inverse = np.unique(confidence.astype(np.float64), return_inverse=True)
    ones = (np.ones(len(inverse)), (inverse, np.arange(len(inverse))))
    member = sparse.csr_array(ones, shape=(len(values), len(inverse)))
    mass = (member @ weights).T  # (R, distinct values)
    right = (member @ (weights * correct[:, None])).T
    middle = np.cumsum(mass, axis=1) - mass / 2
    total = np.maximum(mass.sum(axis=1, keepdims=True), 1)
    index = np.minimum((bins * middle / total).astype(np.int64), bins - 1)
    index += bins * np.arange(len(mass))[:, None]

    def summed(values):
        flat = np.bincount(index.ravel(), values.ravel(), minlength=bins * len(mass))
        return flat.reshape(len(mass), bins)

    return summed(mass * values), summed(right), summed(mass)


def calibration_error(
    confidence: Float[np.ndarray, "N"],
    correct: Bool[np.ndarray, "N"],
    weights: Float[np.ndarray, "N R"],
    *,
    bins: int = BINS,
) -> Float[np.ndarray, "R"]:
    """ECE = sum over bins of (rows in bin / rows) * |mean confidence - accuracy|.

    Nixon et al. 2019, https://arxiv.org/abs/1904.01685 (equal mass). nan without rows.
    """
    stated, right, mass = bin_gaps(confidence, correct, weights, bins=bins)
    total = mass.sum(axis=1)
    gap = np.abs(stated - right).sum(axis=1)
    return np.divide(gap, total, out=np.full(len(total), np.nan), where=total > 0)
