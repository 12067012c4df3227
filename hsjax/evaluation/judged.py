"""What a calibration is fitted on and judged by, of rows whose label is known.

The predictions are those of an answer with `truth`: see `make_answer`.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from hsjax.evaluation.calibration import fit_calibration
from hsjax.evaluation.certainty import Certainty, certainty, one_of_each
from hsjax.evaluation.measures import answers, calibrated_rows
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.taxonomy import Taxonomy
from hsjax.tree.node_codes import node_codes

FEWEST = 100  # groups of an isotonic map, which follows every chance in fewer


def judged_nodes(
    p: Predictions, tree: Taxonomy
) -> tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "N L"]]:
    """Of the most probable node of each level: is the truth known so deep, is it that?

    A STOP child stands for its parent, as its code does.
    """
    judged, right = (np.zeros(p.truth.shape, bool) for _ in range(2))
    rows = np.arange(len(p))
    for level, best in enumerate(p.asked["best"].T):
        codes = node_codes(tree, tree.ancestors[level][best])
        depth = np.maximum((codes != "").sum(axis=1) - 1, 0)
        truth = p.truth[rows, depth]
        judged[:, level] = p.complete | (truth != "")
        right[:, level] = truth == deepest(codes)
    return judged, right


def certainty_of(
    p: Predictions, tree: Taxonomy, threshold: np.ndarray | None = None
) -> Certainty:
    """How many are right at each threshold, see `certainty`; a row of each group."""
    p = drawn(p)
    return certainty(p.asked["best_prob"], *judged_nodes(p, tree), threshold)


def drawn(p: Predictions) -> Predictions:
    """One row of each group, see `one_of_each`."""
    return p.select(one_of_each(p.group, p.id))


def leaf_rows(p: Predictions, tree: Taxonomy) -> Bool[np.ndarray, "N"]:
    """Rows whose true leaf is known, be it in the tree or not."""
    labels, depth = p.asked["labels"], _label_depth(p)
    ends = labels[np.arange(len(labels)), depth]
    leaf = np.zeros(len(labels), bool)
    for level, of in enumerate(tree.leaf):
        here = (depth == level) & (ends >= 0)
        leaf[here] = of[ends[here]]
    return leaf | p.outside


def _label_depth(p: Predictions) -> Int[np.ndarray, "N"]:
    """Last level of each label, 0 where there is none."""
    return np.maximum((p.asked["labels"] >= 0).sum(axis=1) - 1, 0)


def true_leaf_probs(p: Predictions, tree: Taxonomy) -> Float[np.ndarray, "K"]:
    """p(true leaf) of the `leaf_rows`, 0 where the tree does not have it."""
    probs = p.asked["label_prob"][np.arange(len(p)), _label_depth(p)]
    probs = np.where(p.outside, 0.0, probs).astype(np.float64)
    return probs[leaf_rows(p, tree)]


def sets_cover(p: Predictions, tree: Taxonomy, least: float) -> Bool[np.ndarray, "K"]:
    """Of the `leaf_rows`: is the true leaf in the set of this probability?"""
    rows = leaf_rows(p, tree)
    best = p.topk_codes[:, 0] == deepest(p.truth)  # is always in the set
    return (true_leaf_probs(p, tree) >= least) | (best & ~p.outside)[rows]


def level_maps(p: Predictions) -> tuple[dict, ...]:
    """Isotonic maps of the stated probability of each level's answered node.

    A level keeps what is stated, kind `none`, where groups are fewer than `FEWEST`, or
    all answers right, or all wrong: a map would say 1 or 0 of every product.
    """
    found = []
    for level in range(p.num_levels):
        rows = calibrated_rows(p, level)
        right = (answers(p)[:, level] == p.truth[:, level])[rows]
        enough = len(np.unique(p.group[rows])) >= FEWEST
        kind = "isotonic" if enough and right.any() and not right.all() else "none"
        found.append(fit_calibration(kind, p.prob[rows, level], right))
    return tuple(found)


def label_loss(p: Predictions, level: int) -> float:
    """Mean -log p(true node | its parent); nan without labels there."""
    known = p.asked["labels"][:, level] >= 0
    if not known.any():
        return float("nan")
    return float(-p.asked["label_log_probs"][known, level].mean(dtype=np.float64))
