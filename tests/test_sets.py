"""The loss of a set of nodes: by definition, and where it is an ordinary label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from jax.test_util import check_grads
from tiny import ragged_tree, random_labels, random_logits, tiny_config, tiny_model

from hsjax.hierarchy import leaf_paths
from hsjax.losses import hierarchical_cross_entropy, weighted_mean
from hsjax.losses.classification import balanced_weights, logit_adjustments
from hsjax.losses.sets import set_log_probs
from hsjax.settings.choices import check_choices
from hsjax.train.objective import make_objective
from hsjax.train.workdir import ConfigError

TREES = [ragged_tree(seed) for seed in (0, 1, 2)]
ROWS = 7


def cross_entropy(logits, labels, tree, *, admissible=None, **options):
    sets = {} if admissible is None else {"admissible": jnp.asarray(admissible)}
    labels, logits = jnp.asarray(labels), [jnp.asarray(x) for x in logits]
    return hierarchical_cross_entropy(logits, labels, tree, **sets, **options)


def random_sets(tree, rows, seed, width=4):
    """(labels, admissible, nodes): leaves of several depths, STOP children too."""
    rng = np.random.default_rng(seed)
    first, paths = np.cumsum([0, *tree.sizes]), leaf_paths(tree)
    admissible = np.full((rows, width), -1, np.int32)
    labels = np.full((rows, tree.num_levels), -1, np.int32)
    nodes = []
    for row in range(rows):
        chosen = paths[rng.permutation(len(paths))[: 1 + row % width]]
        depths = (chosen >= 0).sum(axis=1) - 1
        nodes.append([(k, int(p[k])) for k, p in zip(depths, chosen, strict=True)])
        admissible[row, : len(chosen)] = [first[k] + i for k, i in nodes[-1]]
        shared = np.cumprod((chosen == chosen[0]).all(axis=0)).astype(bool)
        labels[row, shared] = chosen[0][shared]
    return labels, admissible, nodes


@pytest.mark.parametrize("tree", TREES)
def test_it_is_the_sum_over_the_nodes(tree):
    logits = random_logits(tree, ROWS, 1)
    labels, admissible, nodes = random_sets(tree, ROWS, 2)
    value, weight = cross_entropy(
        logits, labels, tree, weight=jnp.ones(ROWS), admissible=admissible
    )
    assert (weight == 1).all()
    by_id = [np.zeros((ROWS, c)) for c in tree.sizes]
    for x, y, layout in zip(by_id, logits, tree.layout, strict=True):
        x[:, layout.ids] = np.asarray(y)
    for row in range(ROWS):
        brute = Brute(tree, [x[row] for x in by_id])
        p = sum(np.exp(brute.log_prob[k][i]) for k, i in nodes[row])
        assert float(value[row]) == pytest.approx(-np.log(p), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("tree", TREES)
def test_a_single_node_is_an_ordinary_label(tree, reduction):
    logits, ordinary = random_logits(tree, ROWS, 3), random_labels(tree, ROWS, 4)
    first = np.cumsum([0, *tree.sizes])
    depth = (ordinary >= 0).sum(axis=1) - 1
    ends = ordinary[np.arange(ROWS), depth]
    admissible = np.full((ROWS, 3), -1, np.int32)
    admissible[:, 1] = np.where(depth >= 0, first[depth] + ends, -1)
    options = {"weight": jnp.ones(ROWS), "reduction": reduction}
    expected = cross_entropy(logits, ordinary, tree, **options)
    for labels in (ordinary, np.full_like(ordinary, -1)):  # shared path known or not
        found = cross_entropy(logits, labels, tree, admissible=admissible, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_all_children_are_their_parent_and_all_leaves_are_certain():
    tree = TREES[0]
    logits, first = random_logits(tree, 1, 5), np.cumsum([0, *tree.sizes])
    parent = int(tree.parents[1][0])
    children = first[1] + np.flatnonzero(tree.parents[1] == parent)
    pair = [jnp.asarray(x, jnp.int32)[None] for x in (children, [first[0] + parent])]
    a, b = (set_log_probs(logits, x, tree) for x in pair)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    paths = leaf_paths(tree)
    depth = (paths >= 0).sum(axis=1) - 1
    every = first[depth] + paths[np.arange(len(paths)), depth]
    whole = set_log_probs(logits, jnp.asarray(every, jnp.int32)[None], tree)
    np.testing.assert_allclose(whole, 0.0, atol=1e-5)


@pytest.mark.parametrize("tree", TREES)
def test_gradients_are_those_of_the_sum(tree):
    labels, admissible, _ = random_sets(tree, ROWS, 6)
    admissible[3], labels[4] = -1, -1  # an ordinary row, and one with nothing shared
    admissible[5], labels[5] = -1, -1  # nothing known at all
    weight = jnp.asarray([1.0, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0])

    def loss(*logits):
        found = cross_entropy(
            logits, labels, tree, weight=weight, admissible=admissible
        )
        return weighted_mean(*found)

    logits = random_logits(tree, ROWS, 7, scale=1.0)
    check_grads(loss, logits, order=1, modes=["rev"], atol=2e-2, rtol=2e-2)
    for x in jax.grad(loss, argnums=range(len(logits)))(*logits):
        assert np.isfinite(x).all()
        assert (x[2] == 0).all()  # of weight 0
        assert (x[5] == 0).all()  # without label or set
    extreme = [
        jnp.where(jnp.arange(x.shape[1])[None] == 0, 80.0, -80.0) for x in logits
    ]
    extreme = [
        jnp.broadcast_to(x, y.shape) for x, y in zip(extreme, logits, strict=True)
    ]
    value, grads = jax.value_and_grad(loss, argnums=range(len(logits)))(*extreme)
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in grads)


def test_a_long_tail_is_corrected_where_the_class_is_known():
    """Adjusted logits make another distribution; class weights act on shared levels."""
    tree, logits = TREES[1], random_logits(TREES[1], ROWS, 8)
    labels, admissible, _ = random_sets(tree, ROWS, 9)
    counts = [np.arange(1, c + 1) for c in tree.sizes]
    options = {"weight": jnp.ones(ROWS), "admissible": admissible}
    shift = logit_adjustments(counts, tree, 1.0)
    moved = [
        x + jnp.asarray(s[o.ids])[None]
        for x, s, o in zip(logits, shift, tree.layout, strict=True)
    ]
    a, _ = cross_entropy(logits, labels, tree, adjustments=shift, **options)
    b, _ = cross_entropy(moved, labels, tree, **options)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    weights = balanced_weights(counts, tree, 0.9)
    found, _ = cross_entropy(logits, labels, tree, class_weights=weights, **options)
    plain, _ = cross_entropy(logits, labels, tree, **options)
    free = {"weight": jnp.ones(ROWS)}
    weighed, _ = cross_entropy(logits, labels, tree, class_weights=weights, **free)
    shared, _ = cross_entropy(logits, labels, tree, **free)
    np.testing.assert_allclose(found - plain, weighed - shared, rtol=1e-4, atol=1e-5)


def test_the_objective_takes_sets_from_the_batch_and_nothing_else_changes():
    tree = TREES[0]
    config = tiny_config(("title",), objective__contrastive=0.0)
    model, params, stats, batch = tiny_model(config, tree, rows=ROWS)
    objective = make_objective(config.objective, tree, ("title",))
    outputs, _ = jax.jit(model.apply)(params, stats, batch)
    batch = {name: jnp.asarray(x) for name, x in batch.items()}
    none = jnp.full((ROWS, 2), -1, jnp.int32)
    plain, empty = (
        objective(outputs, batch),
        objective(outputs, batch | {"admissible": none}),
    )
    np.testing.assert_allclose(plain[0], empty[0], rtol=1e-6)
    labels, admissible, _ = random_sets(tree, ROWS, 2)
    sets = {"labels": jnp.asarray(labels), "admissible": jnp.asarray(admissible)}
    value, _ = objective(outputs, batch | sets)
    rows = -set_log_probs(outputs.logits, sets["admissible"], tree)
    np.testing.assert_allclose(value, rows.mean(), rtol=1e-5)


def test_other_masks_are_refused_in_words():
    tree = TREES[0]
    labels, admissible, _ = random_sets(tree, ROWS, 2)
    with pytest.raises(ValueError, match="no probability with mask=soft"):
        cross_entropy(
            random_logits(tree, ROWS, 1),
            labels,
            tree,
            weight=jnp.ones(ROWS),
            mask="soft",
            admissible=admissible,
        )
    tables = {"taxonomy__correlation": ("x.csv",), "taxonomy__path": "t.json"}
    with pytest.raises(ConfigError, match="leave them at 'true' and 'logits'"):
        check_choices(tiny_config(objective__mask="soft", **tables))
    with pytest.raises(ConfigError, match=r"name its tree in taxonomy\.path"):
        check_choices(tiny_config(taxonomy__correlation=("x.csv",)))
    with pytest.raises(ConfigError, match=r"edition is 'year'.*taxonomy\.correlation"):
        check_choices(tiny_config(data__columns__edition="year"))
