"""The likeliest temperatures, where the truth is known."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize
from scipy.special import logsumexp

LEAST_ROWS = 20  # fewer say too little of a level: its temperature stays 1
LOG_TEMPERATURES = (-3.0, 3.0)  # where the best is sought


def likeliest(
    loss: Callable[[float], float], bounds: tuple[float, float] = LOG_TEMPERATURES
) -> float:
    """The temperature T of the least loss.

    Args:
      loss: of T; bounds: of log T.
    """
    found = optimize.minimize_scalar(
        lambda log_t: loss(float(np.exp(log_t))), bounds=bounds, method="bounded"
    )
    return float(np.exp(found.x))


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
    return [_among_siblings(x[rows]) for x, rows in pairs]


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

    return likeliest(loss) if len(x) >= LEAST_ROWS else 1.0


def _among_siblings(margins: np.ndarray) -> float:
    """Of one level; 1 where there is no choice, or hardly a row."""
    x = margins[np.isfinite(margins).sum(axis=1) > 1].astype(np.float64)
    if len(x) < LEAST_ROWS:
        return 1.0
    return likeliest(lambda t: float(logsumexp(x / t, axis=1).mean()))
