"""The likeliest temperatures, where the truth is known."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize
from scipy.special import logsumexp

LEAST_ROWS = 20  # fewer say too little of a level: its temperature stays 1
LOG_TEMPERATURES = (-3.0, 3.0)  # where the best is sought


def likeliest(
    loss: Callable[[float], float],
    rows: int | None = None,
    bounds: tuple[float, float] = LOG_TEMPERATURES,
) -> float:
    """The T of the least rows * loss(T) + (log T)^2 / 2.

    The second term is the prior that log T is normal around 0, with a deviation of 1.
    Without it rows that are all right would ask for T = 0, so that every probability
    became 1; with it they are still said to hold about half a mistake together. It
    weighs no more than a few rows: where many tell T, they have their way.

    Args:
      loss: mean over so many rows, of T; None = no prior. bounds: of log T.
    """

    prior = 0.0 if rows is None else 0.5 / rows

    def penalised(log_t: float) -> float:
        return loss(float(np.exp(log_t))) + prior * log_t**2

    found = optimize.minimize_scalar(penalised, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def level_temperatures(
    margins: Sequence[Float[np.ndarray, "N _"]], known: Bool[np.ndarray, "N L"]
) -> list[float]:
    """Of each level, by the likelihood of the true node among its siblings.

    The likelihood of a path is a product over its levels, so that each is fitted by
    itself, with the prior of `likeliest`.

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

    return likeliest(loss, len(x)) if len(x) >= LEAST_ROWS else 1.0


def _among_siblings(margins: np.ndarray) -> float:
    """Of one level; 1 where there is no choice, or hardly a row."""
    x = margins[np.isfinite(margins).sum(axis=1) > 1].astype(np.float64)
    if len(x) < LEAST_ROWS:
        return 1.0
    return likeliest(lambda t: float(logsumexp(x / t, axis=1).mean()), len(x))
