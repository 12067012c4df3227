"""The threshold of sets of leaves, for a share of products that have theirs inside."""

import math

import numpy as np
from jaxtyping import Float

COVERAGES = (0.8, 0.9, 0.95, 0.99)


def least_probability(probs: Float[np.ndarray, "N"], coverage: float) -> float:
    """What a leaf has to have to be in a set of this coverage; see `leaf_set`.

    The k-th largest of N probabilities of true leaves, k = ceil((N + 1) coverage): of a
    further product that is exchangeable with these, the true leaf has as much with a
    probability of at least `coverage` (Vovk et al. 2005). 0 = all leaves, where N is
    too small to promise that much.

    Args:
      probs: of the true leaf of each row, 0 where the tree does not have it.

    >>> least_probability(np.array([0.9, 0.1, 0.5, 0.7]), 0.6), least_probability(
    ...     np.array([0.9, 0.1, 0.5, 0.7]), 0.9
    ... )
    (0.5, 0.0)
    """
    # an exact product of decimals: 0.9 * 10 is 9, not 9.000000000000002
    place = math.ceil(round((len(probs) + 1) * coverage, 9))
    return float(np.sort(probs)[::-1][place - 1]) if place <= len(probs) else 0.0
