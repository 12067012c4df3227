"""What mistakes cost: some pairs of predicted and true ends, tree distance the others.

The distance of two ends is the number of edges between them; STOP is no step.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


class PairCosts(NamedTuple):
    """Costs that somebody has listed, each pair once.

    Attributes:
      predicted, true: (K,) codes of nodes at which paths end.
      cost: (K,) at least 0, in edges of the tree, as all other pairs are.
    """

    predicted: Shaped[np.ndarray, "K"]
    true: Shaped[np.ndarray, "K"]
    cost: Float[np.ndarray, "K"]


def common_depth(
    a: Shaped[np.ndarray, "N L"], b: Shaped[np.ndarray, "N L"], *, none: str | int = ""
) -> Int[np.ndarray, "N"]:
    """Number of nodes from the top on which both paths agree."""
    return np.cumprod((a == b) & (a != none), axis=1).sum(axis=1)


def path_distance(
    a: Shaped[np.ndarray, "N L"], b: Shaped[np.ndarray, "N L"], *, none: str | int = ""
) -> Int[np.ndarray, "N"]:
    """Edges between the ends of two paths each; `none` = no node at this level.

    >>> a, b = np.array([["A", "A > B"]]), np.array([["A", ""]])
    >>> path_distance(a, b).tolist(), path_distance(a, a).tolist()
    ([1], [0])
    """
    ends = (a != none).sum(axis=1) + (b != none).sum(axis=1)
    return ends - 2 * common_depth(a, b, none=none)


def answer_costs(
    answer: Shaped[np.ndarray, "N L"],
    truth: Shaped[np.ndarray, "N L"],
    complete: Bool[np.ndarray, "N"],
    costs: PairCosts,
) -> Float[np.ndarray, "N"]:
    """What each answer costs, nan without a label.

    Where the truth is unknown below its last node, an answer is looked at down to
    there.

    Args:
      answer, truth: node codes, '' = none; complete: the label ends where it does.
    """
    answer = np.where(complete[:, None] | (truth != ""), answer, "")
    found = path_distance(answer, truth).astype(np.float64)
    listed = dict(zip(_pairs(costs.predicted, costs.true), costs.cost, strict=True))
    for i, pair in enumerate(_pairs(_ends(answer), _ends(truth))):
        found[i] = listed.get(pair, found[i])
    return np.where(truth[:, 0] != "", found, np.nan)


def _pairs(a: np.ndarray, b: np.ndarray) -> list[tuple[str, str]]:
    return list(zip(a.tolist(), b.tolist(), strict=True))


def _ends(codes: np.ndarray) -> np.ndarray:
    """Code of the last node of each path."""
    last = np.maximum((codes != "").sum(axis=1) - 1, 0)
    return codes[np.arange(len(codes)), last]
