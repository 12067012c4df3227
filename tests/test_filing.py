"""What filing, asking and reviewing cost, by definition and against the best policy."""

import jax
import numpy as np
import pytest
from test_hierarchy import TREES
from test_prefix import all_nodes, inside
from tiny import random_logits

from hsjax.filing import ACTIONS, Stakes, cheapest_action, filing_costs
from hsjax.hierarchy import leaf_log_probs, leaf_paths
from hsjax.prefix import below

ROWS, SHOWN = 30, 2
every_tree = pytest.mark.parametrize("name", TREES)


def stakes_of(tree, seed=0):
    rng, count = np.random.default_rng(seed), len(leaf_paths(tree))
    duty = rng.choice([0.0, 2.0, 4.5, 12.0], count).astype(np.float32)
    penalty = rng.gamma(1.0, 6.0, count).astype(np.float32)
    return Stakes(duty, penalty, 0.4, 2.0)


def cost_table(stakes):
    """(filed, true), by definition."""
    d, f = (np.asarray(x, np.float64) for x in (stakes.duty, stakes.penalty))
    table = np.maximum(d[:, None] - d[None], 0) + f[None]
    return np.where(np.eye(len(d), dtype=bool), 0.0, table)


@every_tree
def test_the_cost_of_filing_is_that_of_the_whole_table(name):
    tree, stakes = TREES[name], stakes_of(TREES[name])
    probs = np.exp(leaf_log_probs(random_logits(tree, ROWS, seed=1), tree))
    found = jax.jit(filing_costs)(probs, stakes)
    expected = np.asarray(probs, np.float64) @ cost_table(stakes).T
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@every_tree
def test_the_action_is_the_cheapest_one_also_below_a_prefix(name):
    tree, stakes, paths = TREES[name], stakes_of(TREES[name]), leaf_paths(TREES[name])
    prefix = all_nodes(tree)
    logits = random_logits(tree, len(prefix), seed=2)

    def say(logits, prefix, stakes):
        known = below(logits, tree, prefix)
        return cheapest_action(known, tree, stakes, shown=SHOWN)

    actions, costs, filed = jax.jit(say)(logits, prefix, stakes)
    whole, seen = np.exp(np.asarray(leaf_log_probs(logits, tree), np.float64)), set()
    for row, known in enumerate(prefix):
        here = inside(paths, known)
        probs = np.where(here, whole[row], 0) / whole[row][here].sum()
        filing = np.where(here, cost_table(stakes) @ probs, np.inf)
        rest = 1 - np.sort(probs)[::-1][:SHOWN].sum()
        options = [filing.min(), stakes.ask + stakes.review * rest, stakes.review]
        assert costs[row] == pytest.approx(min(options), abs=5e-5)
        assert options[int(actions[row])] == pytest.approx(min(options), abs=5e-5)
        place = np.flatnonzero((paths == np.asarray(filed[row])).all(axis=1))[0]
        assert filing[place] == pytest.approx(filing.min(), abs=5e-5)
        seen.add(ACTIONS[int(actions[row])])
    assert "file" in seen
