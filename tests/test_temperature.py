"""Tempered logits are one distribution, and the likeliest temperature is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from test_flat_head import random_leaves
from test_hierarchy import TREES, by_id
from tiny import random_labels, random_logits

from hsjax.hierarchy import (
    label_log_probs,
    leaf_log_probs,
    leaf_paths,
    node_log_probs,
    sibling_log_probs,
)
from hsjax.models.head import sum_leaves
from hsjax.temperature import sibling_margins, tempered

ROWS = 9
every_tree = pytest.mark.parametrize("name", TREES)


@every_tree
def test_children_still_sum_to_their_parent(name):
    tree, logits = TREES[name], random_logits(TREES[name], ROWS, seed=1)
    temperatures = np.linspace(0.5, 3.0, tree.num_levels).astype(np.float32)
    if tree.num_levels == 1:
        temperatures = np.array([2.0], np.float32)
    soft = jax.jit(lambda x, t: tempered(x, tree, t))(logits, temperatures)
    nodes = by_id(tree, node_log_probs(soft, tree))
    siblings = by_id(tree, sibling_log_probs(soft, tree))
    for level, parents in enumerate(tree.parents):
        raw = by_id(tree, logits)[level] / temperatures[level]
        for p in np.unique(parents):
            expected = softmax(raw[:, parents == p], axis=1)
            found = np.exp(siblings[level][:, parents == p])
            np.testing.assert_allclose(found, expected, atol=1e-5)
            above = np.exp(nodes[level - 1][:, p]) if level else 1.0
            total = np.exp(nodes[level][:, parents == p]).sum(axis=1)
            np.testing.assert_allclose(total, above, atol=1e-5)


def test_a_temperature_of_1_changes_no_bit():
    tree = TREES["ragged"]
    logits = random_logits(tree, ROWS, seed=1)
    for x, same in zip(logits, tempered(logits, tree, jnp.ones(3)), strict=True):
        np.testing.assert_array_equal(x, same)


@pytest.mark.parametrize("name", ["ragged", "deeper", "chain"])
def test_one_temperature_is_of_the_leaves_of_a_flat_head(name):
    """Not of the sums of leaves: it is the plain softmax over leaves that softens."""
    tree = TREES[name]
    leaves = random_leaves(tree)
    soft = tempered(sum_leaves(leaves, tree), tree, jnp.array([2.5]))
    expected = softmax(np.asarray(leaves, np.float64) / 2.5, axis=1)
    np.testing.assert_allclose(np.exp(leaf_log_probs(soft, tree)), expected, atol=1e-6)
    paths = leaf_paths(tree)
    for level, found in enumerate(by_id(tree, node_log_probs(soft, tree))):
        for node in range(tree.sizes[level]):
            total = expected[:, paths[:, level] == node].sum(axis=1)
            np.testing.assert_allclose(np.exp(found[:, node]), total, atol=1e-6)


@every_tree
def test_margins_are_the_likelihood_of_the_label_at_any_temperature(name):
    tree, logits = TREES[name], random_logits(TREES[name], ROWS, seed=2)
    labels = random_labels(tree, ROWS, seed=3)
    margins = jax.jit(lambda x, y: sibling_margins(x, y, tree))(logits, labels)
    for t in (0.4, 1.0, 3.0):
        soft = [x / t for x in logits]
        expected = np.asarray(label_log_probs(soft, jnp.asarray(labels), tree))
        for level, x in enumerate(margins):
            known = labels[:, level] >= 0
            found = -logsumexp(np.asarray(x, np.float64)[known] / t, axis=1)
            np.testing.assert_allclose(found, expected[known, level], atol=1e-4)
