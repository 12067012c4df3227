"""How deep an answer may go and still be right as often as was asked for."""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

POINTS = 500  # thresholds that are kept
STARTS = 4  # thresholds from which looser ones are tried
SURE = 0.95


class Certainty(NamedTuple):
    """Of some thresholds t: the deepest nodes with p >= t, and how many are right.

    Rows are independent trials: see `one_of_each`.

    Attributes:
      threshold: (K,) descending.
      decided: rows with such a node; judged: those whose truth is known so deep;
        right: those of them whose node is on the path of the truth.
      rows: of all.
    """

    threshold: Float[np.ndarray, "K"]
    decided: Int[np.ndarray, "K"]
    judged: Int[np.ndarray, "K"]
    right: Int[np.ndarray, "K"]
    rows: int

    def least(self, precision: float, *, sure: float = SURE) -> float | None:
        """The loosest threshold with a precision of at least this, None = no one has.

        Its one-sided Clopper-Pearson bound holds at `sure`, however many thresholds
        were looked at: they are tried from the strictest to the first that fails, from
        `STARTS` places that have an equal share of the risk (fixed-sequence testing:
        Angelopoulos et al., Learn then Test, 2021, arxiv.org/abs/2110.01052).
        """
        risk = (1 - sure) / STARTS
        holds = lower_bound(self.right, self.judged, risk) >= precision
        # so many right answers in a row are needed for any bound to hold
        fewest = np.ceil(np.log(risk) / np.log(precision)) if precision < 1 else np.inf
        most = self.judged.max(initial=0)
        starts = np.linspace(min(fewest, most), most, STARTS + 1)[:-1]
        found = -1
        for place in np.searchsorted(np.maximum.accumulate(self.judged), starts):
            while place < len(holds) and holds[place]:
                found = max(found, int(place))
                place += 1
        return None if found < 0 else float(self.threshold[found])


def one_of_each(
    group: Shaped[np.ndarray, "N"], id: Shaped[np.ndarray, "N"]
) -> Int[np.ndarray, "G"]:
    """A row of each group, drawn by the hash of its id, whatever the order of the rows.

    Rows of one group are much alike, so that ten of them are no ten trials: bounds of
    shares hold for products of further groups if each group is counted once.
    """
    draws = [sha256(str(name).encode()).digest()[:8] for name in id.tolist()]
    order = np.argsort([int.from_bytes(x) for x in draws], kind="stable")
    _, first = np.unique(group[order], return_index=True)
    return np.sort(order[first])


def lower_bound(
    right: Shaped[np.ndarray, "*K"], rows: Shaped[np.ndarray, "*K"], risk: float
) -> Float[np.ndarray, "*K"]:
    """One-sided Clopper-Pearson bound of a share: below it with this probability.

    >>> round(float(lower_bound(np.array(59), np.array(59), 0.05)), 3)
    0.95
    """
    bound = stats.beta.ppf(risk, np.maximum(right, 1), rows - right + 1)
    return np.where(right > 0, bound, 0.0)


def share_interval(right: int, rows: int) -> tuple[float, float, float]:
    """A share with its 95 % Clopper-Pearson interval; nan without rows."""
    if not rows:
        return np.nan, np.nan, np.nan
    found = stats.binomtest(int(right), int(rows)).proportion_ci(method="exact")
    return right / rows, float(found.low), float(found.high)


def certainty(
    best: Float[np.ndarray, "N L"],
    judged: Bool[np.ndarray, "N L"],
    right: Bool[np.ndarray, "N L"],
    threshold: Float[np.ndarray, "K"] | None = None,
) -> Certainty:
    """Of rows whose truth is known, each of another group.

    Args:
      best: probability of the most probable node of each level.
      judged: is the truth known so deep? right: and is it that node?
      threshold: descending; None = `POINTS` of the stated ones.
    """
    best = np.minimum.accumulate(best.astype(np.float64), axis=1)
    if threshold is None:
        stated = np.unique(best[best > 0])
        places = np.linspace(0, max(len(stated) - 1, 0), POINTS).round().astype(int)
        threshold = stated[np.unique(places)][::-1] if len(stated) else stated
    counts = []
    for t in threshold:
        level = (best >= t).sum(axis=1) - 1
        rows = np.flatnonzero(level >= 0)
        seen = judged[rows, level[rows]]
        hits = seen & right[rows, level[rows]]
        counts.append((len(rows), seen.sum(), hits.sum()))
    table = np.array(counts, np.int64).reshape(-1, 3).T
    return Certainty(np.asarray(threshold, np.float64), *table, rows=len(best))
