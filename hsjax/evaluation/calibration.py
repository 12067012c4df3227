"""Stated probabilities made honest: fitted where truth is known, kept as JSON."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from hsjax.evaluation.temperature_fit import likeliest

CALIBRATIONS = ("temperature", "isotonic", "none")
LEAST = 1e-7  # a stated probability is between this and 1 - this


def fit_calibration(
    kind: str, stated: Float[np.ndarray, "N"], right: Bool[np.ndarray, "N"]
) -> dict:
    """A calibration of `CALIBRATIONS`, for `calibrated`.

    `temperature` divides the log-odds by one number, fitted by likelihood (Guo et al.
    2017, arxiv.org/abs/1706.04599, of the answer against all others); it keeps the
    order. `isotonic` is the increasing step function of least squares (Zadrozny and
    Elkan 2002), which follows any shape and needs some hundred rows.

    Args:
      stated: probability of each answer; right: is it the truth?
    """
    if kind == "isotonic":
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        model.fit(stated.astype(np.float64), right.astype(np.float64))
        x, y = model.X_thresholds_.tolist(), model.y_thresholds_.tolist()
        return {"kind": kind, "x": x, "y": y}
    if kind == "temperature":
        odds, sign = _log_odds(stated), np.where(right, 1.0, -1.0)

        def loss(temperature: float) -> float:
            return float(np.logaddexp(0.0, -sign * odds / temperature).mean())

        return {"kind": kind, "temperature": likeliest(loss, len(odds))}
    return {"kind": "none"}


def calibrated(
    calibration: Mapping, stated: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """Probabilities by what `fit_calibration` gave.

    >>> calibrated({"kind": "temperature", "temperature": 2.0}, np.array([0.5, 0.9]))
    array([0.5 , 0.75])
    """
    if calibration["kind"] == "isotonic":
        return np.interp(stated, calibration["x"], calibration["y"])
    if calibration["kind"] == "temperature":
        return expit(_log_odds(stated) / calibration["temperature"])
    return stated.astype(np.float64)


def least_stated(calibration: Mapping, wanted: float) -> float | None:
    """The least stated probability that is calibrated to `wanted` or more.

    None = no probability is. Halving finds it for every kind, as all of them rise.

    >>> least_stated({"kind": "temperature", "temperature": 2.0}, 0.75)
    0.9
    """

    def enough(stated: float) -> bool:
        return bool(calibrated(calibration, np.array([stated]))[0] >= wanted)

    low, high = 0.0, 1.0
    if not enough(high):
        return None
    if enough(low):
        return low
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _log_odds(stated: np.ndarray) -> np.ndarray:
    return logit(np.clip(stated.astype(np.float64), LEAST, 1 - LEAST))
