"""Every loss against a plain loop; weight 0 and duplicates leave no trace."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from tiny import ragged_tree, random_labels, random_logits

from hsjax.losses import Pairs, hierarchical_cross_entropy, info_nce, weighted_mean

TREE = ragged_tree(0)
ROWS, WIDTH, SCALE = 7, 5, 3.0
# rows 0, 1 and 4 are one product; rows 3 and 6 weigh nothing
GROUP = jnp.array([5, 5, 2, 3, 5, 1, 0], jnp.int32)
WEIGHT = jnp.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 0.0], jnp.float32)
KEPT = np.flatnonzero(np.asarray(WEIGHT))
DIRECTIONS = ("t2i", "i2t", "both")


def unit(seed, rows=ROWS, width=WIDTH):
    x = np.random.default_rng(seed).normal(size=(rows, width))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


TEXT, IMAGE = jnp.asarray(unit(1), jnp.float32), jnp.asarray(unit(2), jnp.float32)
LOGITS = random_logits(TREE, ROWS, seed=3)
LABELS = jnp.asarray(random_labels(TREE, ROWS, seed=4))


@functools.partial(jax.jit, static_argnames="direction")
def contrast(text, image, scale=SCALE, group=GROUP, weight=WEIGHT, direction="both"):
    scale = jnp.asarray(scale, jnp.float32)
    return info_nce(text, image, scale, Pairs(group, weight, direction))


@functools.partial(jax.jit, static_argnames="reduction")
def classify(logits, labels=LABELS, weight=WEIGHT, reduction="sum"):
    return hierarchical_cross_entropy(
        logits, labels, TREE, weight=weight, reduction=reduction
    )


def loop_info_nce(text, image, scale, group, weight, direction):
    """(value, weight) by definition, in float64."""
    text, image = np.asarray(text, np.float64), np.asarray(image, np.float64)
    values, weights = [], []
    for i in range(len(text)):
        pairs = [
            j for j in range(len(text)) if group[j] != group[i] and float(weight[j]) > 0
        ]
        one_way = {
            "t2i": lambda j, i=i: np.exp(scale * text[i] @ image[j]),
            "i2t": lambda j, i=i: np.exp(scale * image[i] @ text[j]),
        }
        ways = ("t2i", "i2t") if direction == "both" else (direction,)
        value = 0.0
        for way in ways:
            s = one_way[way]
            value -= np.log(s(i) / (s(i) + sum(s(j) for j in pairs))) / len(ways)
        values.append(value)
        weights.append(float(weight[i]) if pairs else 0.0)
    return np.array(values), np.array(weights)


def loop_cross_entropy(logits, labels, reduction):
    """Sum or mean of -log p(label | parent) by definition, in float64."""
    values = []
    for row, path in enumerate(np.asarray(labels)):
        parts = []
        for level, label in enumerate(path):
            if label >= 0:
                slots, parents = TREE.layout[level].slots, TREE.parents[level]
                x = np.asarray(logits[level], np.float64)[row][slots]
                siblings = x[parents == parents[label]]
                parts.append(np.log(np.exp(siblings).sum()) - x[label])
        total = sum(parts)
        values.append(total / len(parts) if reduction == "mean" and parts else total)
    return np.array(values)


def numeric_gradient(f, x, eps=1e-5):
    """Central differences in float64."""
    x, gradient = np.asarray(x, np.float64), np.zeros(np.shape(x))
    for place in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[place] = eps
        gradient[place] = (f(x + step) - f(x - step)) / (2 * eps)
    return gradient


def mean(value, weight):
    return (value * weight).sum() / weight.sum()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_info_nce_equals_a_plain_loop(direction):
    value, weight = contrast(TEXT, IMAGE, direction=direction)
    expected = loop_info_nce(TEXT, IMAGE, SCALE, GROUP, WEIGHT, direction)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(weight, expected[1])
    np.testing.assert_allclose(weighted_mean(value, weight), mean(*expected), rtol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_gradient_of_info_nce_is_that_of_the_loop(direction):
    def loss(text, image, scale):
        return weighted_mean(*contrast(text, image, scale, direction=direction))

    def loop(text, image, scale):
        return mean(*loop_info_nce(text, image, scale, GROUP, WEIGHT, direction))

    args = (TEXT, IMAGE, jnp.float32(SCALE))
    found = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*args)
    t, i = np.asarray(TEXT, np.float64), np.asarray(IMAGE, np.float64)
    expected = (
        numeric_gradient(lambda x: loop(x, i, SCALE), TEXT),
        numeric_gradient(lambda x: loop(t, x, SCALE), IMAGE),
        numeric_gradient(lambda x: loop(t, i, x), SCALE),
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    check_grads(jax.jit(loss), args, order=1)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_hierarchical_cross_entropy_equals_a_plain_loop(reduction):
    value, weight = classify(LOGITS, reduction=reduction)
    expected = loop_cross_entropy(LOGITS, LABELS, reduction)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    labelled = np.asarray(LABELS >= 0).any(axis=1)
    np.testing.assert_array_equal(weight, np.where(labelled, WEIGHT, 0))
    assert not labelled.all()
    deepest = int((np.asarray(LABELS[0]) >= 0).sum()) - 1
    assert TREE.stop[deepest][LABELS[0, deepest]], "the case has a STOP label"


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_gradient_of_the_cross_entropy_is_that_of_the_loop(reduction):
    def loss(logits):
        return weighted_mean(*classify(logits, reduction=reduction))

    weight = np.asarray(classify(LOGITS)[1], np.float64)

    def loop(x, level):
        logits = [*LOGITS[:level], x, *LOGITS[level + 1 :]]
        return mean(loop_cross_entropy(logits, LABELS, reduction), weight)

    for level, gradient in enumerate(jax.jit(jax.grad(loss))(LOGITS)):
        f = functools.partial(loop, level=level)
        columns = np.random.default_rng(level).choice(gradient.shape[1], 5)
        for column in columns if gradient.shape[1] > 5 else range(gradient.shape[1]):

            def one(x, f=f, level=level, column=column):
                whole = np.asarray(LOGITS[level], np.float64).copy()
                whole[:, column] = x
                return f(whole)

            expected = numeric_gradient(one, LOGITS[level][:, column])
            np.testing.assert_allclose(
                gradient[:, column], expected, rtol=1e-5, atol=1e-5
            )
    check_grads(jax.jit(loss), (LOGITS,), order=1)


def test_rows_of_weight_0_are_as_good_as_dropped():
    def contrastive(text, image, group, weight):
        return weighted_mean(*contrast(text, image, SCALE, group, weight))

    def classification(logits, labels, weight):
        return weighted_mean(*classify(logits, labels, weight))

    gradient = jax.jit(jax.value_and_grad(contrastive, argnums=(0, 1)))
    whole = gradient(TEXT, IMAGE, GROUP, WEIGHT)
    rest = gradient(*(x[KEPT] for x in (TEXT, IMAGE, GROUP, WEIGHT)))
    gradient = jax.jit(jax.value_and_grad(classification))
    whole2 = gradient(LOGITS, LABELS, WEIGHT)
    rest2 = gradient([x[KEPT] for x in LOGITS], LABELS[KEPT], WEIGHT[KEPT])
    dropped = np.flatnonzero(np.asarray(WEIGHT) == 0)
    for (value, grads), (value_, grads_) in ((whole, rest), (whole2, rest2)):
        assert float(value) == pytest.approx(float(value_), abs=1e-5)
        for a, b in zip(grads, grads_, strict=True):
            np.testing.assert_allclose(a[KEPT], b, rtol=1e-5, atol=1e-5)
            assert not a[dropped].any()


def test_a_row_of_weight_0_may_hold_anything():
    junk = TEXT.at[3].set(jnp.inf), IMAGE.at[6].set(jnp.nan)
    assert float(weighted_mean(junk[0][3], jnp.zeros(WIDTH))) == 0.0
    value = weighted_mean(*contrast(*junk))
    assert float(value) == pytest.approx(float(weighted_mean(*contrast(TEXT, IMAGE))))
    logits = [x.at[3].set(jnp.nan) for x in LOGITS]
    np.testing.assert_array_equal(
        weighted_mean(*classify(logits)), weighted_mean(*classify(LOGITS))
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_duplicates_are_never_negatives(direction):
    def values(text, image):
        return contrast(text, image, direction=direction)[0]

    for jacobian in jax.jit(jax.jacrev(values, argnums=(0, 1)))(TEXT, IMAGE):
        reached = np.abs(np.asarray(jacobian)).max(axis=2) > 0  # value i, row j
        same = np.asarray(GROUP[:, None] == GROUP[None, :])
        assert not reached[same & ~np.eye(ROWS, dtype=bool)].any()
        assert reached.diagonal().all()


def test_an_anchor_without_negatives_has_weight_0():
    value, weight = contrast(TEXT, IMAGE, group=jnp.zeros_like(GROUP))
    assert not weight.any()
    # one other product remains, but it weighs nothing
    alone = jnp.zeros_like(GROUP).at[3].set(1)
    _, weight = contrast(TEXT, IMAGE, group=alone)
    assert not weight.any()

    def loss(text):
        return weighted_mean(*contrast(text, IMAGE, group=alone))

    value, gradient = jax.value_and_grad(loss)(TEXT)
    assert float(value) == 0.0
    assert not gradient.any()


def test_losses_are_finite_and_float32_in_bfloat16():
    half = [x.astype(jnp.bfloat16) for x in (TEXT, IMAGE)]
    value, _ = contrast(*half, scale=100.0)
    exact, _ = contrast(*(x.astype(jnp.float32) for x in half), scale=100.0)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-5)
    logits = [(100 * x).astype(jnp.bfloat16) for x in LOGITS]
    value, _ = classify(logits)
    assert value.dtype == jnp.float32
    gradients = (
        jax.grad(lambda t: weighted_mean(*contrast(t, half[1], 100.0)))(half[0]),
        *jax.grad(lambda x: weighted_mean(*classify(x)))(logits),
    )
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in gradients)
    assert np.isfinite(value).all()


def test_swapped_texts_cost_more():
    group, weight = jnp.arange(ROWS, dtype=jnp.int32), jnp.ones(ROWS)
    matched = contrast(IMAGE, IMAGE, SCALE, group, weight)
    swapped = contrast(jnp.roll(IMAGE, 1, axis=0), IMAGE, SCALE, group, weight)
    assert float(weighted_mean(*swapped)) > float(weighted_mean(*matched)) + 0.1
