"""The tree distribution and every decode against brute force in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from tiny import ragged_tree, random_labels, random_logits

from hsjax.decodes import (
    confident_path,
    exact_path,
    flat_path,
    greedy_path,
    independent_levels,
    least_distance_path,
    level_topk,
    topk_paths,
)
from hsjax.hierarchy import (
    label_log_probs,
    leaf_log_probs,
    leaf_paths,
    node_log_probs,
    sibling_log_probs,
)
from hsjax.taxonomy import Taxonomy

ROWS, TOPK, CONFIDENCES = 11, 5, (0.2, 0.5, 0.9)
TREES = {
    "ragged": ragged_tree(0),
    "deeper": ragged_tree(1, depth=4),
    "flat": Taxonomy.from_paths([("b",), ("a",), ("c",)]),
    "chain": Taxonomy.from_paths([("a", "b", "c"), ("a",)], separator="/"),
}


@functools.cache
def answers(name):
    """Everything that the module says of one batch of logits, in one program."""
    tree = TREES[name]

    def say(logits, labels):
        return {
            "siblings": sibling_log_probs(logits, tree),
            "nodes": node_log_probs(logits, tree),
            "leaves": leaf_log_probs(logits, tree),
            "labels": label_log_probs(logits, labels, tree),
            "path": exact_path(logits, tree),
            "greedy": greedy_path(logits, tree),
            "independent": independent_levels(logits, tree),
            "flat": flat_path(logits, tree),
            "distance": least_distance_path(logits, tree),
            "topk": topk_paths(logits, tree, TOPK),
            "confident": [confident_path(logits, tree, c) for c in CONFIDENCES],
            "levels": level_topk(logits, tree, TOPK),
            "gradient": jax.grad(
                lambda x: label_log_probs(x, labels, tree).sum(),
            )(logits),
        }

    return jax.jit(say)


@functools.cache
def case(name):
    logits = random_logits(TREES[name], ROWS, seed=3)
    labels = random_labels(TREES[name], ROWS, seed=4)
    return logits, labels, answers(name)(logits, jnp.asarray(labels))


def by_id(tree, levels):
    """Slot order -> id order, in float64."""
    pairs = zip(levels, tree.layout, strict=True)
    return [np.asarray(x, np.float64)[:, o.slots] for x, o in pairs]


def brutes(name):
    tree, (logits, _, _) = TREES[name], case(name)
    levels = by_id(tree, logits)
    return [Brute(tree, [x[row] for x in levels]) for row in range(ROWS)]


every_tree = pytest.mark.parametrize("name", TREES)


@every_tree
def test_node_probabilities_equal_brute_force(name):
    found = by_id(TREES[name], case(name)[2]["nodes"])
    for row, brute in enumerate(brutes(name)):
        for x, expected in zip(found, brute.log_prob, strict=True):
            np.testing.assert_allclose(x[row], expected, rtol=1e-5, atol=1e-5)


@every_tree
def test_probabilities_sum_to_1_over_children_and_over_leaves(name):
    tree, (_, _, said) = TREES[name], case(name)
    for x, parents in zip(by_id(tree, said["siblings"]), tree.parents, strict=True):
        sums = [np.exp(x[:, parents == p]).sum(axis=1) for p in np.unique(parents)]
        np.testing.assert_allclose(sums, 1.0, rtol=1e-5)
    leaves = np.exp(np.asarray(said["leaves"], np.float64)).sum(axis=1)
    np.testing.assert_allclose(leaves, 1.0, rtol=1e-5)


@every_tree
def test_leaf_columns_are_the_leaves_of_leaf_paths(name):
    tree, said = TREES[name], case(name)[2]
    paths = leaf_paths(tree).tolist()
    brute = brutes(name)[0]
    assert sorted(paths) == sorted(brute.path(*n) for n in brute.leaves)
    for row, brute in enumerate(brutes(name)):
        value = {
            tuple(brute.path(*n)): brute.log_prob[n[0]][n[1]] for n in brute.leaves
        }
        expected = [value[tuple(p)] for p in paths]
        np.testing.assert_allclose(said["leaves"][row], expected, rtol=1e-5, atol=1e-5)


@every_tree
def test_label_log_probs_sum_to_the_log_probability_of_the_path(name):
    _, labels, said = case(name)
    for row, brute in enumerate(brutes(name)):
        known = np.flatnonzero(labels[row] >= 0)
        deepest = known.max(initial=-1)
        expected = brute.log_prob[deepest][labels[row, deepest]] if len(known) else 0.0
        assert float(said["labels"][row].sum()) == pytest.approx(expected, abs=1e-5)
        assert not np.asarray(said["labels"][row])[labels[row] < 0].any()


@every_tree
def test_gradient_is_exactly_0_outside_the_true_siblings(name):
    tree, (_, labels, said) = TREES[name], case(name)
    levels = by_id(tree, case(name)[0])
    for level, gradient in enumerate(by_id(tree, said["gradient"])):
        for row, label in enumerate(labels[:, level]):
            parents, expected = tree.parents[level], np.zeros(tree.sizes[level])
            inside = parents == parents[label] if label >= 0 else expected > 0
            e = np.exp(levels[level][row][inside])
            expected[inside] = -e / e.sum()
            expected[label] += label >= 0
            assert not gradient[row][~inside].any()
            np.testing.assert_allclose(gradient[row], expected, atol=1e-5)


@every_tree
def test_every_decode_equals_brute_force(name):
    said = jax.tree.map(np.asarray, case(name)[2])
    for row, b in enumerate(brutes(name)):
        assert said["path"][row].tolist() == b.best_leaf(b.log_prob)
        assert said["flat"][row].tolist() == b.best_leaf(b.raw)
        assert said["distance"][row].tolist() == b.least_distance()
        assert said["greedy"][row].tolist() == b.greedy()
        best = [int(np.argmax(x)) for x in b.raw]
        assert said["independent"][row].tolist() == best
        paths, values = b.topk(TOPK)
        assert said["topk"][0][row].tolist() == paths
        np.testing.assert_allclose(said["topk"][1][row], values, rtol=1e-5, atol=1e-5)
        assert said["levels"][row].tolist() == b.level_topk(TOPK)
        for found, least in zip(said["confident"], CONFIDENCES, strict=True):
            assert found[row].tolist() == b.confident(least)


@every_tree
def test_decoded_paths_are_in_the_tree(name):
    tree, said = TREES[name], jax.tree.map(np.asarray, case(name)[2])
    whole = {tuple(p) for p in leaf_paths(tree).tolist()}
    for decode in ("path", "greedy", "flat", "distance"):
        assert {tuple(p) for p in said[decode].tolist()} <= whole
    assert tree.valid(said["topk"][0].reshape(-1, tree.num_levels)).all()
    for paths in said["confident"]:
        assert (tree.valid(paths) | (paths < 0).all(axis=1)).all()


def test_the_cases_tell_the_decodes_apart():
    said = jax.tree.map(np.asarray, case("deeper")[2])
    for other in ("greedy", "independent", "flat", "distance"):
        assert (said["path"] != said[other]).any()
    assert (~TREES["deeper"].valid(said["independent"])).any()
    assert any(stop.any() for stop in TREES["deeper"].stop)
    assert (said["path"] < 0).any()


def test_a_constant_per_sibling_group_changes_nothing():
    tree, (logits, labels, said) = TREES["deeper"], case("deeper")
    rng = np.random.default_rng(5)
    moved = []
    for x, layout, parents in zip(logits, tree.layout, tree.parents, strict=True):
        constant = rng.normal(0, 3, parents.max() + 1)[parents[layout.ids]]
        moved.append(x + jnp.asarray(constant, jnp.float32)[None])
    again = answers("deeper")(moved, jnp.asarray(labels))
    for key in ("nodes", "leaves", "labels", "gradient"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            again[key],
            said[key],
        )
    for key in ("path", "greedy", "distance", "levels", "confident"):
        jax.tree.map(np.testing.assert_array_equal, again[key], said[key])
    np.testing.assert_array_equal(again["topk"][0], said["topk"][0])


def test_bfloat16_logits_are_renormalised_in_float32():
    logits, labels, _ = case("ragged")
    half = [x.astype(jnp.bfloat16) for x in logits]
    exact = [x.astype(jnp.float32) for x in half]
    a = answers("ragged")(half, jnp.asarray(labels))
    b = answers("ragged")(exact, jnp.asarray(labels))
    for key in ("nodes", "leaves", "labels", "path", "topk"):
        jax.tree.map(np.testing.assert_array_equal, a[key], b[key])
        floats = [x for x in jax.tree.leaves(a[key]) if x.dtype.kind == "f"]
        assert all(x.dtype == jnp.float32 for x in floats)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_give_no_nan(size):
    logits, labels, _ = case("deeper")
    said = answers("deeper")([x * size for x in logits], jnp.asarray(labels))
    assert not any(np.isnan(x).any() for x in jax.tree.leaves(said))
    assert np.isfinite(jax.tree.leaves(said["gradient"])[0]).all()
    best = np.exp(np.asarray(said["leaves"])).max(axis=1)
    np.testing.assert_allclose(best, 1.0, atol=1e-5)
