"""Sets of leaves against brute force, and their coverage on drawn products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_hierarchy import TREES
from test_prefix import all_nodes, inside
from tiny import random_logits

from hsjax.decodes import confident_path
from hsjax.evaluation.answer import make_answer
from hsjax.hierarchy import leaf_log_probs, leaf_paths
from hsjax.leaf_sets import leaf_set
from hsjax.models.build import Outputs
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


@every_tree
def test_a_threshold_that_is_a_products_own_probability_lets_it_in(name):
    """And the next number does not. Fitted by one program, asked for by another."""
    tree, rows = TREES[name], 400
    logits, paths = random_logits(tree, rows, seed=7), leaf_paths(TREES[name])
    labels = paths[np.random.default_rng(0).integers(len(paths), size=rows)]
    more = (None, None, jnp.zeros((rows, 1)), jnp.ones(()))
    apply = lambda logits, stats, batch: (Outputs(tuple(logits), *more), stats)  # noqa: E731
    batch = {"weight": jnp.ones(rows), "labels": jnp.asarray(labels)}
    facts = jax.jit(make_answer(apply, tree, truth=True))(logits, {}, batch)
    facts = jax.tree.map(np.asarray, facts)
    ends = (labels >= 0).sum(axis=1) - 1
    leaf = facts["asked/label_prob"][np.arange(rows), ends]

    @jax.jit
    def ask(logits, sure, least):
        named = leaf_set(logits, tree, least, most=len(paths))[0]
        return confident_path(logits, tree, sure), named

    for row in range(rows):
        level = row % tree.num_levels
        own = facts["asked/best_prob"][row, : level + 1].min()
        sure, named = (np.asarray(x)[row] for x in ask(logits, own, leaf[row]))
        assert (sure >= 0).sum() > level
        assert (named == labels[row]).all(axis=1).any()
        above = np.nextafter([own, leaf[row]], np.float32(2))
        sure, named = (np.asarray(x)[row] for x in ask(logits, *above))
        assert (sure >= 0).sum() <= level
        assert not (named[1:] == labels[row]).all(axis=1).any(), "unless it is the best"
