"""The mask in training against a plain loop over rows and levels, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from tiny import ragged_tree, random_labels, random_logits

from hsjax.hierarchy import label_log_probs
from hsjax.losses.masks import FLOOR, MASKED, MASKS, masked_log_probs

TREE = ragged_tree(1, depth=4)
ROWS = 23
LOGITS = random_logits(TREE, ROWS, seed=5)
LABELS = random_labels(TREE, ROWS, seed=6)
CASES = [(mask, on) for mask in MASKS for on in MASKED]


def said(mask, on, logits=LOGITS):
    return masked_log_probs(logits, jnp.asarray(LABELS), TREE, mask=mask, on=on)


def expected(mask, on):
    """By definition; the floor where the mask hides the label."""
    levels = [
        np.asarray(x, np.float64)[:, o.slots]
        for x, o in zip(LOGITS, TREE.layout, strict=True)
    ]
    found = np.zeros(LABELS.shape)
    for row, labels in enumerate(LABELS):
        greedy = Brute(TREE, [x[row] for x in levels]).greedy()
        above = np.ones(1)  # what the level above gives to its nodes
        for level, label in enumerate(labels):
            x, parents = np.exp(levels[level][row]), TREE.parents[level]
            if mask == "soft":
                x = x / x.sum() * above[parents]
                above = p = x / (x.sum() if on == "logits" else 1.0)
            else:
                parent = {"true": labels, "predicted": greedy}.get(mask)
                inside = np.ones(len(x), bool)
                if parent is not None and level:
                    inside = parents == parent[level - 1]
                whole = x[inside].sum() if on == "logits" else x.sum()
                p = np.where(inside, x / (whole or 1.0), FLOOR)
            if label >= 0:
                found[row, level] = np.log(p[label])
    return found


@pytest.mark.parametrize(("mask", "on"), CASES)
def test_every_mask_is_what_its_words_say(mask, on):
    np.testing.assert_allclose(said(mask, on), expected(mask, on), rtol=1e-4, atol=1e-5)


def test_the_default_is_the_tree_distribution_and_the_masks_differ():
    default = said("true", "logits")
    same = label_log_probs(LOGITS, jnp.asarray(LABELS), TREE)
    np.testing.assert_array_equal(default, same)
    np.testing.assert_array_equal(said("true", "softmax"), said("none", "logits"))
    values = {np.asarray(said(mask, on)).tobytes() for mask, on in CASES}
    assert len(values) == len(CASES) - 2  # `none` twice, and `true` after the softmax


@pytest.mark.parametrize("on", MASKED)
def test_a_hidden_label_teaches_nothing(on):
    """Where the greedy answer leaves the true path, the levels below are constant."""
    hidden = np.isclose(expected("predicted", on), np.log(FLOOR))
    assert hidden.any()
    for level in range(1, TREE.num_levels):
        gradient = jax.grad(lambda x, k=level: said("predicted", on, x)[:, k].sum())
        for x in gradient(LOGITS):
            assert not np.asarray(x)[hidden[:, level]].any()


@pytest.mark.parametrize(("mask", "on"), CASES)
def test_gradients_are_finite_for_huge_logits(mask, on):
    def total(x):
        return said(mask, on, x).sum()

    for x in jax.grad(total)([1e4 * x for x in LOGITS]):
        assert np.isfinite(x).all()
