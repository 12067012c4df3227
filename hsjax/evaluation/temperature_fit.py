"""The likeliest temperatures, where the truth is known."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize
from scipy.special import logsumexp

from hsjax.evaluation.calibration import LOG_TEMPERATURES

LEAST_ROWS = 20  # fewer say too little of a level: its temperature stays 1


def level_temperatures(
    margins: Sequence[Float[np.ndarray, "N _"]], known: Bool[np.ndarray, "N L"]
) -> list[float]:
    """Of each level, by the likelihood of the true node among its siblings.

    The likelihood of a path is a product over its levels, so that each is fitted by
    itself; in 1 / T it has one maximum.

    Args:
      margins: of `sibling_margins`; known: rows that have a label there.
    """
    pairs = zip(margins, known.T, strict=True)
    return [_likeliest(_among_siblings(x[rows])) for x, rows in pairs]


def leaf_temperature(
    logits: Float[np.ndarray, "N P"], below: Bool[np.ndarray, "N P"]
) -> float:
    """Of the leaf logits of a flat head.

    Args:
      below: leaves at or below the label; rows without any are left out.
    """
    rows = below.any(axis=1)
    x, here = logits[rows].astype(np.float64), below[rows]
    inside = np.where(here, x, -np.inf)

    def loss(temperature: float) -> float:
        whole, own = (logsumexp(a / temperature, axis=1) for a in (x, inside))
        return float((whole - own).mean())

    return _likeliest(loss if len(x) >= LEAST_ROWS else None)


def _among_siblings(margins: np.ndarray) -> Callable[[float], float] | None:
    """Mean -log p as a function of T; None = there is no choice, or hardly a row."""
    x = margins[np.isfinite(margins).sum(axis=1) > 1].astype(np.float64)
    if len(x) < LEAST_ROWS:
        return None
    return lambda temperature: float(logsumexp(x / temperature, axis=1).mean())


def _likeliest(loss: Callable[[float], float] | None) -> float:
    if loss is None:
        return 1.0
    found = optimize.minimize_scalar(
        lambda log_t: loss(float(np.exp(log_t))),
        bounds=LOG_TEMPERATURES,
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))
