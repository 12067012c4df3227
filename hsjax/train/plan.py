"""A training state before it is made: its shapes, and where each of them will lie."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax
from jax.sharding import Mesh, NamedSharding

from hsjax.models.build import Model
from hsjax.sharding import state_specs
from hsjax.train.optim import make_optimizer
from hsjax.train.state import TrainState, make_state
from hsjax.train.workdir import blamed_on


class PlannedState(NamedTuple):
    """A training state that nobody has allocated yet.

    Attributes:
      shapes: of a state; shardings: a tree like it.
      make: (key, batch) -> state.
    """

    shapes: TrainState
    shardings: TrainState
    optimizer: optax.GradientTransformation
    make: Callable


def planned_state(config, model: Model, spec, mesh: Mesh, *, steps: int):
    """The `PlannedState` of a config.

    Raises:
      ConfigError: rules that leave a parameter without a match.
    """
    key, dummy = jax.random.key(config.seed), spec.padding(2)
    shapes, _ = jax.eval_shape(model.init, key, dummy)
    optimizer = make_optimizer(config.optim, shapes, steps)

    def make(key, batch):
        params, stats = model.init(key, batch)
        return make_state(params, stats, optimizer, ema=config.train.ema > 0)

    shapes = jax.eval_shape(make, key, dummy)
    with blamed_on("train.sharding"):
        specs = state_specs(shapes, config.train.sharding, mesh)
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), specs)
    return PlannedState(shapes, shardings, optimizer, make)
