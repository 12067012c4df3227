"""Paper A's classifier: the tree distribution of the flat head is one softmax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from test_model_laws import mixed
from tiny import (
    bitwise_equal,
    ragged_tree,
    tiny_batch,
    tiny_config,
    tiny_model,
    tiny_spec,
)

from hsjax.decodes import DECODES, topk_paths
from hsjax.hierarchy import leaf_log_probs, leaf_paths, node_log_probs
from hsjax.losses import hierarchical_cross_entropy, weighted_mean
from hsjax.models.head import leaf_ids, sum_leaves
from hsjax.taxonomy import Taxonomy
from hsjax.train.warmstart import warm_start
from hsjax.train.workdir import ConfigError

TREES = {
    "ragged": ragged_tree(0),
    "another": ragged_tree(3),
    "one level": Taxonomy.from_paths([("a",), ("b",), ("c",)]),
}
every_tree = pytest.mark.parametrize("tree", TREES.values(), ids=list(TREES))
ROWS = 6


def random_leaves(tree, scale=3.0):
    shape = ROWS, len(leaf_paths(tree))
    x = np.random.default_rng(1).normal(0, scale, shape)
    return jnp.asarray(x, jnp.float32)


@every_tree
def test_the_tree_distribution_is_the_flat_softmax_summed(tree):
    leaves = random_leaves(tree)
    levels = sum_leaves(leaves, tree)
    expected = np.asarray(jax.nn.log_softmax(leaves.astype(jnp.float32), axis=1))
    np.testing.assert_allclose(leaf_log_probs(levels, tree), expected, atol=1e-5)
    probs, paths = np.exp(expected), leaf_paths(tree)
    for level, found in enumerate(node_log_probs(levels, tree)):
        for slot, node in enumerate(tree.layout[level].ids):
            below = paths[:, level] == node
            total = probs[:, below].sum(axis=1)
            np.testing.assert_allclose(np.exp(found[:, slot]), total, atol=1e-6)


@every_tree
def test_loss_and_gradient_are_those_of_a_flat_cross_entropy(tree):
    """Labels that end early are scored by the sum over the leaves below."""
    leaves, paths = random_leaves(tree), leaf_paths(tree)
    labels = paths[np.random.default_rng(2).integers(0, len(paths), ROWS)].copy()
    labels[ROWS // 2 :, 1:] = -1
    labels[-1] = -1

    def through_the_tree(leaves):
        pair = hierarchical_cross_entropy(
            sum_leaves(leaves, tree), jnp.asarray(labels), tree, weight=jnp.ones(ROWS)
        )
        return weighted_mean(*pair)

    # the leaves below each label: all of those whose path begins with it
    below = ((labels[:, None] == paths[None]) | (labels[:, None] < 0)).all(axis=2)

    def plain(leaves):
        log_probs = jax.nn.log_softmax(leaves, axis=1)
        found = jax.nn.logsumexp(log_probs, axis=1, where=jnp.asarray(below))
        return -found[:-1].mean()  # the last one has no label

    found, expected = (
        jax.jit(jax.value_and_grad(f))(leaves) for f in (through_the_tree, plain)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


def test_huge_logits_stay_finite():
    tree = TREES["ragged"]
    leaves = random_leaves(tree, scale=1e4)

    def loss(leaves):
        paths = jnp.asarray(leaf_paths(tree)[:ROWS])
        pair = hierarchical_cross_entropy(
            sum_leaves(leaves, tree), paths, tree, weight=jnp.ones(ROWS)
        )
        return weighted_mean(*pair)

    for x in jax.jit(jax.value_and_grad(loss))(leaves):
        assert np.isfinite(x).all()


@functools.cache
def world():
    tree = TREES["ragged"]
    config = tiny_config(("title",), model__head__kind="flat")
    model, params, stats, batch = tiny_model(config, tree, ROWS)
    outputs, _ = jax.jit(model.apply)(params, stats, batch)
    return config, model, params, batch, outputs


def test_every_decode_and_the_top_k_are_of_the_flat_distribution():
    tree, (*_, outputs) = TREES["ragged"], world()
    for row in range(ROWS):
        levels = [
            np.asarray(x, np.float64)[row][layout.slots]
            for x, layout in zip(outputs.logits, tree.layout, strict=True)
        ]
        brute = Brute(tree, levels)
        best = brute.best_leaf(brute.log_prob)
        for name in ("path", "flat"):  # one and the same here
            assert DECODES[name](outputs.logits, tree)[row].tolist() == best
        paths, log_probs = topk_paths(outputs.logits, tree, 3)
        expected = brute.topk(3)
        assert paths[row].tolist() == expected[0]
        np.testing.assert_allclose(log_probs[row], expected[1], atol=1e-5)


def test_parameters_are_one_kernel_over_leaves_by_id():
    tree, (_, _, params, *_) = TREES["ragged"], world()
    assert set(params["head"]) == {"leaves", "shared", "shared_norm"}
    count = len(leaf_paths(tree))
    assert params["head"]["leaves"]["kernel"].shape == (17, count)
    order = leaf_ids(tree)
    assert sorted(order.tolist()) == list(range(count))
    # by id: level by level, and within a level as the ids count
    codes = [
        (level, i)
        for level, leaf in enumerate(tree.leaf)
        for i in np.flatnonzero(leaf).tolist()
    ]
    for path, place in zip(leaf_paths(tree), order.tolist(), strict=True):
        level = int((path >= 0).sum()) - 1
        assert codes[place] == (level, path[level])


def test_without_training_every_leaf_is_as_likely():
    tree, (_, model, _, batch, _) = TREES["ragged"], world()
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    outputs, _ = jax.jit(model.apply)(params, stats, batch)
    count = len(leaf_paths(tree))
    found = leaf_log_probs(outputs.logits, tree)
    np.testing.assert_allclose(found, -np.log(count), rtol=1e-5)


def test_a_row_does_not_depend_on_its_batch():
    tree, (config, model, params, batch, outputs) = TREES["ragged"], world()
    other = tiny_batch(tiny_spec(config, tree), tree, ROWS, seed=9)
    again, _ = jax.jit(model.apply)(params, {}, mixed(batch, other, 2))
    for a, b in zip(outputs.logits, again.logits, strict=True):
        assert bitwise_equal(a[:2], b[:2])


OLD = ("392410", "420211", "420212", "610910")
NEW = ("392410", "420212", "420221", "610910", "620342")


def test_leaves_move_by_code_to_another_tree():
    trees = [Taxonomy.from_paths([(c[:2], c[:4], c) for c in x]) for x in (OLD, NEW)]
    config = tiny_config(("title",), model__head__kind="flat")
    source, fresh = (
        jax.tree.map(np.asarray, tiny_model(config, tree)[1]) for tree in trees
    )
    fresh = jax.tree.map(lambda x: np.full_like(x, 7.0), fresh)
    heads, rules = (config.model.head,) * 2, ((".*", "load"),)
    begin = warm_start((source, {}), *trees, heads=heads, rules=rules)
    found = begin(fresh)["head"]["leaves"]
    for name in ("kernel", "bias"):
        for column, code in enumerate(NEW):
            old = source["head"]["leaves"][name]
            value = old[..., OLD.index(code)] if code in OLD else 7.0
            assert (found[name][..., column] == value).all()
    wider = {"head": {"leaves": {"kernel": np.zeros((5, 5), np.float32)}}}
    with pytest.raises(ConfigError, match=r"head/leaves/kernel is \(17, 4\)"):
        begin(wider)
