"""What a finer level of the hierarchical head sees of the coarser one (Paper B, B5)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from tiny import drawn, ragged_tree, tiny_config

from hsjax.hierarchy import node_log_probs
from hsjax.models.head import FEEDS, HierarchicalHead

TREE, ROWS, WIDTH = ragged_tree(0), 7, 5
X = jax.random.normal(jax.random.key(1), (ROWS, WIDTH))
LEARNS = ("probabilities", "softmax", "logits")


def head_of(feed, gradient=False):
    config = tiny_config(model__head__feed=feed, model__head__feed_gradient=gradient)
    config.model.head.update({"norm": "none", "width": 0})
    c = FrozenConfigDict(config.model.head)
    return HierarchicalHead(TREE, c, jnp.dtype("float32"))


def start(head):
    return drawn(head.init(jax.random.key(0), X, jnp.ones(ROWS), False))


def by_id(x, level):
    return np.asarray(x)[:, TREE.layout[level].slots]


@pytest.mark.parametrize("feed", FEEDS)
def test_the_second_level_sees_what_the_word_says(feed):
    head = head_of(feed)
    params = start(head)
    logits = head.apply(params, X, jnp.ones(ROWS), False)
    first = np.asarray(logits[0])
    marginal = np.exp(np.asarray(node_log_probs(logits, TREE)[0]))
    fed = {
        "probabilities": marginal,
        "softmax": np.exp(first) / np.exp(first).sum(axis=1, keepdims=True),
        "logits": first,
        "one_hot": (marginal == marginal.max(axis=1, keepdims=True)).astype(float),
        "none": np.zeros((ROWS, 0)),
    }[feed]
    seen = [np.asarray(X), by_id(fed, 0) if feed != "none" else fed]
    level2 = params["params"]["level2"]
    found = np.concatenate(seen, axis=1) @ np.asarray(level2["kernel"])
    expected = found + np.asarray(level2["bias"])
    np.testing.assert_allclose(by_id(logits[1], 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("gradient", [False, True])
def test_gradients_go_back_only_where_they_are_let_through(feed, gradient):
    head = head_of(feed, gradient)

    def finer(params):
        return (head.apply(params, X, jnp.ones(ROWS), False)[1] ** 2).sum()

    coarser = jax.grad(finer)(start(head))["params"]["level1"]
    moved = np.abs(np.asarray(coarser["kernel"])).max() > 1e-6
    assert moved == (gradient and feed in LEARNS)
