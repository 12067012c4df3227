"""Decodes below a known node against brute force over the leaves that lie there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_expected_cost import drawn, ends_of, listed
from test_hierarchy import TREES, by_id
from tiny import random_logits

from hsjax.decodes import (
    confident_path,
    exact_path,
    flat_path,
    greedy_path,
    independent_levels,
    least_distance_path,
    topk_paths,
)
from hsjax.expected_cost import least_cost_path
from hsjax.hierarchy import leaf_log_probs, leaf_paths, node_log_probs
from hsjax.prefix import below
from hsjax.tree.costs import path_distance

TOPK, CONFIDENCE = 4, 0.6
every_tree = pytest.mark.parametrize("name", TREES)


def all_nodes(tree):
    """Paths to every node, STOP children too, and one that says nothing."""
    nodes = [path for table in tree.ancestors for path in table]
    return np.array([*nodes, np.full(tree.num_levels, -1)], np.int32)


@functools.cache
def case(name):
    """Prefixes, logits, and what the decodes say below them, all in one program."""
    tree, costs = TREES[name], drawn(name, 0.3)
    prefix = all_nodes(tree)
    logits = random_logits(tree, len(prefix), seed=8)

    def say(logits, prefix):
        known = below(logits, tree, prefix)
        return {
            "nodes": node_log_probs(known, tree),
            "leaves": leaf_log_probs(known, tree),
            "path": exact_path(known, tree),
            "greedy": greedy_path(known, tree),
            "flat": flat_path(known, tree),
            "independent": independent_levels(known, tree),
            "distance": least_distance_path(known, tree),
            "cost": least_cost_path(known, tree, costs),
            "topk": topk_paths(known, tree, TOPK),
            "confident": confident_path(known, tree, CONFIDENCE),
        }

    whole = leaf_log_probs(logits, tree)
    return prefix, logits, whole, jax.jit(say)(logits, jnp.asarray(prefix))


def inside(paths, prefix):
    """Which paths begin with the prefix."""
    return ((paths == prefix) | (prefix < 0)).all(axis=1)


def given(name):
    """Of each row: its prefix, the leaves below it and their conditional shares."""
    prefix, _, whole, said = case(name)
    paths = leaf_paths(TREES[name])
    for row, known in enumerate(prefix):
        here = inside(paths, known)
        probs = np.where(here, np.exp(np.asarray(whole[row], np.float64)), 0.0)
        yield row, known, here, probs / probs.sum(), paths, said


@every_tree
def test_it_is_the_conditional_distribution(name):
    tree = TREES[name]
    nodes = by_id(tree, case(name)[3]["nodes"])
    for row, _, _, probs, paths, said in given(name):
        leaves = np.exp(np.asarray(said["leaves"][row], np.float64))
        np.testing.assert_allclose(leaves, probs, atol=2e-6)
        for level, x in enumerate(nodes):
            for node in range(tree.sizes[level]):
                total = probs[paths[:, level] == node].sum()
                assert np.exp(x[row][node]) == pytest.approx(total, abs=2e-6)


@every_tree
def test_best_paths_are_the_best_below(name):
    for row, known, here, probs, paths, said in given(name):
        order = np.argsort(-probs, kind="stable")
        assert said["path"][row].tolist() == paths[order[0]].tolist()
        kept = min(TOPK, here.sum())
        found, log_probs = (np.asarray(x[row]) for x in said["topk"])
        assert found[:kept].tolist() == paths[order[:kept]].tolist()
        shares = np.exp(log_probs[:kept].astype(np.float64))
        np.testing.assert_allclose(shares, probs[order[:kept]], atol=2e-6)
        assert (np.exp(log_probs[kept:]) == 0).all(), "the others cannot be"
        for decode in ("greedy", "flat", "distance", "cost"):
            answer = np.asarray(said[decode][row])
            assert inside(answer[None], known)[0], decode
        levels = np.asarray(said["independent"][row])
        assert (levels[known >= 0] == known[known >= 0]).all()


@every_tree
def test_the_deepest_sure_node_lies_below_or_is_the_prefix(name):
    tree = TREES[name]
    for row, _, _, probs, paths, said in given(name):
        expected = np.full(tree.num_levels, -1)
        for level, table in enumerate(tree.ancestors):
            mass = [probs[paths[:, level] == i].sum() for i in range(len(table))]
            if max(mass) >= CONFIDENCE:
                expected = table[int(np.argmax(mass))]
        assert said["confident"][row].tolist() == expected.tolist()


def tables(name):
    """(answered leaf, true leaf): edges between them, and what a mistake costs."""
    tree, pairs = TREES[name], listed(drawn(name, 0.3))
    ends, paths = ends_of(tree), leaf_paths(tree)
    stops = [np.append(x, False) for x in tree.stop]  # [-1] is False
    stopped = np.stack([s[i] for s, i in zip(stops, paths.T, strict=True)], axis=1)
    real, count = np.where(stopped, -1, paths), len(paths)
    steps = path_distance(np.repeat(real, count, 0), np.tile(real, (count, 1)), none=-1)
    steps = steps.reshape(count, count)
    costs = steps.astype(float)
    for i, one in enumerate(ends):
        for j, other in enumerate(ends):
            costs[i, j] = pairs.get((one, other), costs[i, j])
    return {"distance": steps, "cost": costs}


@every_tree
def test_least_distance_and_least_cost_are_of_the_leaves_below(name):
    known = tables(name)
    for row, _, here, probs, paths, said in given(name):
        for decode, table in known.items():
            expected = np.where(here, table @ probs, np.inf)
            same = (paths == np.asarray(said[decode][row])).all(axis=1)
            answer = np.flatnonzero(same)[0]
            assert expected[answer] == pytest.approx(expected.min(), abs=2e-5)


@every_tree
def test_without_a_prefix_nothing_changes(name):
    tree, logits = TREES[name], case(name)[1]
    nothing = jnp.full((len(logits[0]), tree.num_levels), -1, jnp.int32)
    for x, kept in zip(logits, below(logits, tree, nothing), strict=True):
        np.testing.assert_array_equal(x, kept)
