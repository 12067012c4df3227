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


def last_codes(codes: np.ndarray) -> np.ndarray:
    """Code at the end of each path (..., L), '' where it has no node."""
    depth = np.maximum((codes != "").sum(axis=-1) - 1, 0)
    return np.take_along_axis(codes, depth[..., None], axis=-1)[..., 0]
