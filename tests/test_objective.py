"""The objective: a term of weight 0 is not there at all."""

import jax
import pytest
from tiny import bitwise_equal, ragged_tree, tiny_config, tiny_model

from configs.base import get_config
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
    with pytest.raises(ValueError, match="both weights are 0"):
        make_objective(config, TREE, ("title", "image"))
