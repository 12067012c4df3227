"""Sets of leaves against brute force, and their coverage on drawn products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_hierarchy import TREES
from test_prefix import all_nodes, inside
from tiny import random_logits

from hsjax.hierarchy import leaf_log_probs, leaf_paths
from hsjax.leaf_sets import leaf_set
from hsjax.prefix import below

ROWS, MOST = 40, 3
every_tree = pytest.mark.parametrize("name", TREES)


def shared_start(paths):
    """Path to the deepest node that all have."""
    same = (paths == paths[0]).all(axis=0) & (paths[0] >= 0)
    return np.where(np.cumprod(same), paths[0], -1)


@pytest.mark.parametrize("least", [0.0, 0.05, 0.4, 1.0])
@every_tree
def test_sets_equal_brute_force(name, least):
    tree = TREES[name]
    logits = random_logits(tree, ROWS, seed=5)
    probs, paths = np.exp(leaf_log_probs(logits, tree)), leaf_paths(tree)
    prefix = all_nodes(tree)[np.arange(ROWS) % len(all_nodes(tree))]
    for known in (None, prefix):

        def say(logits, prefix, least):
            within = None if known is None else below(logits, tree, prefix)  # noqa: B023
            return leaf_set(logits, tree, least, most=MOST, within=within)

        named, counts, above = jax.jit(say)(logits, jnp.asarray(prefix), least)
        for row in range(ROWS):
            here = np.ones(len(paths), bool)
            if known is not None:
                here = inside(paths, prefix[row])
            member = here & (probs[row] >= np.float32(least))
            if not member.any():
                member = np.arange(len(paths)) == np.argmax(probs[row] * here)
            order = np.argsort(-probs[row] * member, kind="stable")
            kept = min(MOST, member.sum())
            assert counts[row] == member.sum()
            assert named[row][:kept].tolist() == paths[order[:kept]].tolist()
            assert (np.asarray(named[row][kept:]) == -1).all()
            assert above[row].tolist() == shared_start(paths[member]).tolist()
