"""The threshold of sets of leaves, for a share of products that have theirs inside."""

import numpy as np
from jaxtyping import Float, Shaped

COVERAGES = (0.8, 0.9, 0.95, 0.99)


def least_probability(
    probs: Float[np.ndarray, "N"], group: Shaped[np.ndarray, "N"], coverage: float
) -> float:
    """What a leaf has to have to be in a set of this coverage; see `leaf_set`.

    The k-th largest probability of a true leaf among G groups of products, k = ceil((G
    + 1) coverage): of a product of a further group that is exchangeable with these, the
    true leaf has as much with a probability of at least `coverage` (Vovk et al. 2005).
    Products of one group are much alike, so that their rows share one count (Dunn,
    Wasserman and Ramdas 2022, arxiv.org/abs/1809.07441). 0 = all leaves, where the
    groups are too few to promise that much.

    Args:
      probs: of the true leaf of each row, 0 where the tree does not have it.

    >>> p, apart = np.array([0.9, 0.1, 0.5, 0.7]), np.arange(4)
    >>> least_probability(p, apart, 0.6), least_probability(p, apart, 0.9)
    (0.5, 0.0)
    """
    _, inverse, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(-probs, kind="stable")
    counted = np.cumsum(1 / sizes[inverse[order]])
    # an exact product of decimals: 0.9 * 10 is 9, not 9.000000000000002
    wanted = np.ceil(round((len(sizes) + 1) * coverage, 9)) - 1e-9
    place = int(np.searchsorted(counted, wanted))
    return float(probs[order[place]]) if place < len(probs) else 0.0
