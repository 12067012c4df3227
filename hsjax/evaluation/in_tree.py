"""Answers and labels in a smaller tree: what a refined model says of old classes."""

from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from hsjax.data.records import CatalogueError
from hsjax.evaluation.predictions import Predictions
from hsjax.taxonomy import Taxonomy


def in_tree(predictions: Predictions, tree: Taxonomy) -> Predictions:
    """The same rows with paths cut to the nodes of a tree, by their codes.

    A label that is cut is not known further down, so that levels below are not scored
    for it; an answer that is cut ends there.

    Raises:
      CatalogueError: the tree is deeper than the answers.
    """
    p, levels = predictions, tree.num_levels
    if levels > p.num_levels:
        raise CatalogueError(
            f"--tree has {levels} levels, and a side answers in {p.num_levels}: give"
            " the smaller tree that both sides know, such as old_taxonomy.json"
        )
    known = [set(tree.codes[k][~tree.stop[k]].tolist()) for k in range(levels)]
    truth = _cut(p.truth, known)
    shorter = (truth != "").sum(axis=1) < (p.truth != "").sum(axis=1)
    return replace(
        p,
        truth=truth,
        complete=p.complete & ~shorter,
        outside=p.outside & ~shorter,
        decoded={name: _cut(codes, known) for name, codes in p.decoded.items()},
        prob=p.prob[:, :levels],
        level_topk=p.level_topk[:, :levels],
    )


def _cut(
    codes: Shaped[np.ndarray, "N K"], known: list[set]
) -> Shaped[np.ndarray, "N L"]:
    """Codes of these levels; '' from the first on that is none of the tree's."""
    kept = np.full((len(codes), len(known)), "", dtype=codes.dtype)
    there = np.ones(len(codes), bool)
    for level, names in enumerate(known[: codes.shape[1]]):
        there &= np.array([code in names for code in codes[:, level].tolist()], bool)
        kept[:, level] = np.where(there, codes[:, level], "")
    return kept
