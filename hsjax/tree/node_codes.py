"""Ids that a model answers with -> codes of nodes, as people and files have them."""

import numpy as np


def level_codes(tree, level: int, ids: np.ndarray) -> np.ndarray:
    """Codes of ids of one level of a `Taxonomy`; '' for -1 and for STOP children."""
    codes = np.where(tree.stop[level], "", tree.codes[level]).astype(object)
    return np.where(ids >= 0, codes[np.maximum(ids, 0)], "")


def node_codes(tree, labels: np.ndarray) -> np.ndarray:
    """Codes of (..., L) labels; '' for -1 and for STOP children."""
    levels = [level_codes(tree, k, labels[..., k]) for k in range(tree.num_levels)]
    return np.stack(levels, axis=-1)


def deepest(codes: np.ndarray) -> np.ndarray:
    """The last code of each path (..., L), '' where it has no node.

    Levels that are answered apart may leave a gap, which does not end the path.

    >>> deepest(np.array([["A", "A > B"], ["C", ""]])).tolist()
    ['A > B', 'C']
    """
    answer = codes[..., 0]
    for level in range(1, codes.shape[-1]):
        answer = np.where(codes[..., level] != "", codes[..., level], answer)
    return answer
