"""The path of the least expected cost against brute force in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from test_hierarchy import TREES, by_id
from tiny import random_logits

from hsjax import expected_cost
from hsjax.decodes import least_distance_path
from hsjax.expected_cost import expected_costs, least_cost_path
from hsjax.hierarchy import leaf_paths
from hsjax.tree.costs import PairCosts, answer_costs

ROWS = 13
NONE = PairCosts(np.zeros(0, str), np.zeros(0, str), np.zeros(0))


def ends_of(tree):
    return [tree.decode(path)[-1] for path in leaf_paths(tree)]


@functools.cache
def drawn(name, share, seed=0):
    """So many of all pairs, a few of them of an end with itself."""
    rng, ends = np.random.default_rng(seed), ends_of(TREES[name])
    pairs = [(a, b) for a in ends for b in ends]
    kept = rng.permutation(len(pairs))[: max(1, int(share * len(pairs)))]
    predicted, true = zip(*(pairs[k] for k in kept), strict=True)
    return PairCosts(
        np.array(predicted), np.array(true), rng.gamma(1.0, 8.0, len(kept))
    )


def listed(costs):
    pairs = zip(costs.predicted.tolist(), costs.true.tolist(), strict=True)
    return dict(zip(pairs, costs.cost.tolist(), strict=True))


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("name", TREES)
def test_costs_and_decode_equal_brute_force(name, share, monkeypatch):
    monkeypatch.setattr(expected_cost, "PAIRS", 7)  # several parts, the last one filled
    tree, costs = TREES[name], drawn(name, share)
    logits = random_logits(tree, ROWS, seed=3)
    found = np.asarray(jax.jit(lambda x: expected_costs(x, tree, costs))(logits))
    paths = np.asarray(jax.jit(lambda x: least_cost_path(x, tree, costs))(logits))
    where = {tuple(path): i for i, path in enumerate(leaf_paths(tree).tolist())}
    levels = by_id(tree, logits)
    for row in range(ROWS):
        brute = Brute(tree, [x[row] for x in levels])
        columns = [where[tuple(brute.path(*leaf))] for leaf in brute.leaves]
        expected = brute.expected_costs(listed(costs))
        np.testing.assert_allclose(found[row, columns], expected, rtol=2e-5, atol=2e-5)
        assert paths[row].tolist() == brute.least_cost(listed(costs))


def test_without_pairs_it_is_the_distance_in_the_tree():
    for tree in TREES.values():
        logits = random_logits(tree, ROWS, seed=5)
        np.testing.assert_array_equal(
            least_cost_path(logits, tree, NONE), least_distance_path(logits, tree)
        )


def test_a_dear_mistake_is_avoided_and_an_inner_end_is_an_answer():
    tree = TREES["ragged"]
    stops = [path for path in leaf_paths(tree).tolist() if _stops(tree, path)]
    inner = tree.decode(stops[0])[-1]
    others = [end for end in ends_of(tree) if end != inner]
    logits = random_logits(tree, ROWS, seed=3)
    dear = PairCosts(
        np.array(others), np.array([inner] * len(others)), np.full(len(others), 1e8)
    )
    paths = np.asarray(least_cost_path(logits, tree, dear))
    assert {tree.decode(path)[-1] for path in paths} == {inner}
    assert paths[0].tolist() == stops[0]
    paths = np.asarray(least_cost_path(logits, tree, NONE))
    assert {tree.decode(path)[-1] for path in paths} != {inner}


def _stops(tree, path):
    return any(tree.stop[k][i] for k, i in enumerate(path) if i >= 0)


def test_the_parts_and_the_matrix_give_the_same(monkeypatch):
    tree, costs = TREES["deeper"], drawn("deeper", 0.5, seed=2)
    logits = random_logits(tree, ROWS, seed=3)
    matrix = expected_costs(logits, tree, costs)
    monkeypatch.setattr(expected_cost, "FULL", 0)
    monkeypatch.setattr(expected_cost, "PAIRS", 64)
    parts = expected_costs(logits, tree, costs)
    np.testing.assert_allclose(matrix, parts, rtol=1e-5, atol=1e-5)


def test_answers_cost_what_is_listed_and_else_the_distance():
    costs = PairCosts(np.array(["A > B"]), np.array(["C"]), np.array([50.0]))
    path = np.array([["A", "A > B"]] * 5, object)
    truth = np.array(
        [["C", ""], ["A", "A > B"], ["A", ""], ["A", ""], ["", ""]], object
    )
    complete = np.array([True, True, True, False, True])
    found = answer_costs(path, truth, complete, costs)
    # below A nothing is known of the fourth; the last has no label
    np.testing.assert_array_equal(found, [50.0, 0.0, 1.0, 0.0, np.nan])


def test_a_code_at_which_no_path_ends_is_an_error():
    tree = TREES["deeper"]
    inner = str(tree.codes[0][~tree.leaf[0]][0])
    known = {tree.decode(path)[-1] for path in leaf_paths(tree)}
    wrong = inner if inner not in known else "nowhere"
    costs = PairCosts(np.array([wrong]), np.array([wrong]), np.ones(1))
    with pytest.raises(KeyError):
        expected_costs(random_logits(tree, 2, seed=0), tree, costs)


def test_hs_sized_trees_need_no_matrix_of_leaves():
    """A thousand pairs of 4,000 leaves: the largest array is that of the answers."""
    from hsjax.taxonomy import Taxonomy

    rng = np.random.default_rng(0)
    codes = sorted({f"{rng.integers(1, 97):02d}{k:04d}" for k in range(4000)})
    tree = Taxonomy.from_paths([(c[:2], c[:4], c) for c in codes])
    some = rng.choice(codes, (2, 1000))
    costs = PairCosts(*some, rng.gamma(1.0, 8.0, 1000))
    shapes = [jax.ShapeDtypeStruct((8, c), jnp.float32) for c in tree.sizes]
    program = jax.jit(lambda x: least_cost_path(x, tree, costs)).lower(shapes)
    used = program.compile().memory_analysis().temp_size_in_bytes
    assert used < 12 * 8 * (len(codes) + 1000) * 4 < 4 * len(codes) ** 2 / 10
