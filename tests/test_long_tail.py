"""Corrections for a long tail: by definition, and gone at their default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    bitwise_equal,
    largest_difference,
    ragged_tree,
    random_labels,
    random_logits,
    tiny_config,
    tiny_model,
)

from hsjax.losses import hierarchical_cross_entropy, weighted_mean
from hsjax.losses.classification import (
    balanced_weights,
    label_counts,
    logit_adjustments,
)
from hsjax.train.objective import make_objective

TREE, ROWS = ragged_tree(0), 9
LOGITS = random_logits(TREE, ROWS, seed=3)
LABELS = jnp.asarray(random_labels(TREE, ROWS, seed=4))
TRAINING = random_labels(TREE, 200, seed=5)
TRAINING = TRAINING[TRAINING[:, 1] != 2]  # a node that training never sees
COUNTS = label_counts(TRAINING, TREE)


def siblings(level, node):
    return np.flatnonzero(TREE.parents[level] == TREE.parents[level][node])


def test_counts_are_those_of_the_rows():
    for level, counts in enumerate(COUNTS):
        for node, count in enumerate(counts):
            assert count == (TRAINING[:, level] == node).sum()
    assert any((c[s] > 0).any() for c, s in zip(COUNTS, TREE.stop, strict=True))
    assert any((counts == 0).any() for counts in COUNTS), "some nodes have no row"


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_balanced_weights_are_those_of_the_effective_number(beta):
    for level, found in enumerate(balanced_weights(COUNTS, TREE, beta)):
        assert found.dtype == np.float32
        for node, weight in enumerate(found):
            # the effective number by its meaning: 1 + beta + ... + beta^(n - 1)
            effective = [
                sum(beta**k for k in range(max(COUNTS[level][i], 1)))
                for i in (node, *siblings(level, node))
            ]
            own, *others = [1 / e for e in effective]
            rows = COUNTS[level][siblings(level, node)]
            mean = np.average(others, weights=rows) if rows.any() else 1.0
            assert weight == pytest.approx(own / mean, rel=1e-5)
        for parent in np.unique(TREE.parents[level]):
            among = TREE.parents[level] == parent
            if (rows := COUNTS[level][among]).any():
                assert np.average(found[among], weights=rows) == pytest.approx(1)
        if beta == 0:
            assert (found == 1).all()


def test_adjustments_are_log_shares_among_siblings():
    for level, found in enumerate(logit_adjustments(COUNTS, TREE, 0.5)):
        for node, shift in enumerate(found):
            rows = np.maximum(COUNTS[level][siblings(level, node)], 1)
            share = max(COUNTS[level][node], 1) / rows.sum()
            assert shift == pytest.approx(0.5 * np.log(share), rel=1e-5)


def loop(logits, labels, weights, shifts):
    """Sum over levels of weight * -log softmax of shifted siblings, in float64."""
    values = []
    for row, path in enumerate(np.asarray(labels)):
        total = 0.0
        for level, label in enumerate(path):
            if label >= 0:
                slots = TREE.layout[level].slots
                x = np.asarray(logits[level], np.float64)[row][slots] + shifts[level]
                around = x[siblings(level, label)]
                nll = np.log(np.exp(around).sum()) - x[label]
                total += weights[level][label] * nll
        values.append(total)
    return np.array(values)


@pytest.mark.parametrize("beta", [0.0, 0.99])
@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_the_corrected_cross_entropy_equals_a_plain_loop(beta, tau):
    weights = balanced_weights(COUNTS, TREE, beta)
    shifts = logit_adjustments(COUNTS, TREE, tau)

    def loss(logits):
        value, weight = hierarchical_cross_entropy(
            logits,
            LABELS,
            TREE,
            weight=jnp.ones(ROWS),
            class_weights=weights,
            adjustments=shifts,
        )
        return weighted_mean(value, weight), value

    (_, value), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(LOGITS)
    expected = loop(LOGITS, LABELS, weights, shifts)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    assert all(np.isfinite(g).all() for g in grads)
    labelled = (np.asarray(LABELS) >= 0).any(axis=1).sum()
    row, level = 0, 0
    slot = TREE.layout[level].slots[LABELS[row, level]]
    moved = [np.asarray(x, np.float64) for x in LOGITS]
    sides = []
    for step in (1e-5, -1e-5):
        moved[level][row, slot] += step
        sides.append(loop(moved, LABELS, weights, shifts).sum() / labelled)
        moved[level][row, slot] -= step
    slope = (sides[0] - sides[1]) / 2e-5
    assert float(grads[level][row, slot]) == pytest.approx(slope, abs=1e-5)


def test_plain_logits_answer_as_if_siblings_were_equally_frequent():
    """At the optimum of the adjusted loss plain logits hold p(text | class)."""
    tree = type(TREE).from_paths([("a",), ("b",)])
    counts = (np.array([90, 10]),)
    (shift,) = logit_adjustments(counts, tree, 1.0)
    likelihood = np.array([0.2, 0.8])  # of one title under a and under b
    posterior = likelihood * counts[0] / (likelihood * counts[0]).sum()
    plain = np.log(likelihood)[tree.layout[0].ids]
    value, _ = hierarchical_cross_entropy(
        [jnp.asarray(np.stack([plain, plain]), jnp.float32)],
        jnp.array([[0], [1]], jnp.int32),
        tree,
        weight=jnp.ones(2),
        adjustments=(shift,),
    )
    np.testing.assert_allclose(np.exp(-np.asarray(value)), posterior, rtol=1e-5)


def test_the_objective_corrects_only_where_it_is_asked_to():
    config = tiny_config(("title",), objective__contrastive=0.0)
    model, params, stats, batch = tiny_model(config, TREE)

    def loss(**changes):
        settings = config.objective.copy_and_resolve_references()
        settings.update(changes)
        objective = make_objective(settings, TREE, ("title",), train_labels=TRAINING)

        def value(params, batch):
            outputs, _ = model.apply(params, stats, batch)
            return objective(outputs, batch)[0]

        return jax.jit(jax.value_and_grad(value))(params, batch)

    plain = loss()
    objective = make_objective(config.objective, TREE, ("title",))  # without labels

    def value(params, batch):
        return objective(model.apply(params, stats, batch)[0], batch)[0]

    assert bitwise_equal(plain, jax.jit(jax.value_and_grad(value))(params, batch))
    for changes in ({"class_balance": 0.99}, {"logit_adjustment": 1.0}):
        assert largest_difference(plain, loss(**changes)) > 1e-3
    settings = config.objective.copy_and_resolve_references()
    settings.logit_adjustment = 1.0
    with pytest.raises(ValueError, match="need the training labels"):
        make_objective(settings, TREE, ("title",))
