"""The objective: a term of weight 0 is not there at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import bitwise_equal, ragged_tree, tiny_config, tiny_model

from configs.base import get_config
from hsjax.losses import CONTRASTS, Pairs, kin_of, weighted_mean
from hsjax.train.objective import make_objective

TREE = ragged_tree(0)
SMALLER = {"model__image__stages": (1,), "model__image__widths": (8,)}
PAIR = ("title", "image")


@pytest.mark.parametrize("gone", ["contrastive", "classification"])
def test_weight_0_removes_a_term_exactly(gone):
    config = tiny_config(objective__temperature=0.5, **SMALLER)
    left = {"contrastive": "classification", "classification": "contrastive"}[gone]
    model, params, stats, batch = tiny_model(config, TREE)
    off = config.objective.copy_and_resolve_references()
    off[gone] = 0.0
    among, alone = (make_objective(c, TREE, PAIR) for c in (config.objective, off))
    # a term that is traced would miss what it works on
    hidden = {"contrastive": {"text": None}, "classification": {"logits": ()}}[gone]

    def one_of_both(params, batch):
        outputs, _ = model.apply(params, stats, batch)
        return among(outputs, batch)[1][left][0]

    def only(params, batch):
        outputs, _ = model.apply(params, stats, batch)
        loss, metrics = alone(outputs._replace(**hidden), batch)
        assert gone not in metrics
        return loss

    a, b = (jax.jit(jax.value_and_grad(f))(params, batch) for f in (one_of_both, only))
    assert bitwise_equal(a, b)


def test_objectives_that_cannot_work_are_refused():
    config = get_config().objective
    with pytest.raises(ValueError, match="needs text and image"):
        make_objective(config, TREE, ("title", "brand"))
    config.update(contrastive=0.0, classification=0.0)
    with pytest.raises(ValueError, match="all weights are 0"):
        make_objective(config, TREE, ("title", "image"))


@pytest.mark.parametrize("kind", CONTRASTS)
def test_each_kind_of_contrast_is_reached_by_config(kind):
    """Value of the config's loss = the loss itself; the gradient reaches its bias."""
    options = {"contrastive_kind": kind, "negatives": "branch", "tree_softness": 0.3}
    changes = {f"objective__{k}": v for k, v in options.items()}
    config = tiny_config(objective__classification=0.0, **changes, **SMALLER)
    config.objective.contrastive_bias = -2.0
    model, params, stats, batch = tiny_model(config, TREE, rows=7)
    batch["has_title"] = np.arange(7) > 0
    objective = make_objective(config.objective, TREE, PAIR)

    def loss(params, batch):
        outputs, _ = model.apply(params, stats, batch)
        return objective(outputs, batch)[0], outputs

    (value, outputs), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        params, batch
    )
    pairs = Pairs(
        group=jnp.asarray(batch["group"]),
        weight=jnp.asarray(batch["has_title"], jnp.float32),
        kin=kin_of(jnp.asarray(batch["labels"]), TREE),
        branch=True,
        softness=0.3,
        bias=outputs.bias,
    )
    found = CONTRASTS[kind](outputs.text, outputs.image, outputs.scale, pairs)
    assert float(value) == pytest.approx(float(weighted_mean(*found)), rel=1e-5)
    assert float(value) > 0
    assert ("contrastive_bias" in params) == (kind == "sigmoid")
    if kind == "sigmoid":
        assert abs(float(grads["contrastive_bias"])) > 1e-4


def test_duplicates_are_negatives_only_where_every_row_is_one():
    """One product listed twice: masked by default, an ablation by `every`."""
    changes = {"objective__classification": 0.0, **SMALLER}
    config = tiny_config(**changes)
    model, params, stats, batch = tiny_model(config, TREE, rows=6)
    batch = {name: jnp.asarray(values) for name, values in batch.items()}
    outputs, _ = jax.jit(model.apply)(params, stats, batch)

    def loss(negatives, group):
        config.objective.negatives = negatives
        objective = make_objective(config.objective, TREE, PAIR)
        rows = batch | {"group": jnp.asarray(group, batch["group"].dtype)}
        return float(objective(outputs, rows)[0])

    twice, apart = [0, 0, 1, 2, 3, 3], range(6)
    assert loss("every", twice) == loss("every", apart) == loss("all", apart)
    assert loss("all", twice) < loss("every", twice) - 0.01
    # the same row, drawn twice, is no pair of products
    batch["index"] = jnp.asarray(twice, batch["index"].dtype)
    assert loss("every", twice) == loss("all", twice)
