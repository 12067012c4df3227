"""The training step of a config, to be timed: what `train` runs, and nothing around."""

from collections.abc import Callable
from typing import NamedTuple

from jax.sharding import Mesh

from hsjax.data.prepare import Catalogue
from hsjax.models.build import Model
from hsjax.models.placed import placed
from hsjax.sharding import activation_placer
from hsjax.train.objective import make_objective
from hsjax.train.start import (
    empty_running,
    initial_state,
    total_steps,
    training_step,
)
from hsjax.train.state import TrainState
from hsjax.train.step import Running
from hsjax.trained.opening import Encoders, model_of


class TimedStep(NamedTuple):
    """`step(state, running, batch) -> state, running`, jitted, and what it starts from.

    Attributes:
      model: that is trained; shardings: of its state.
    """

    step: Callable
    state: TrainState
    running: Running
    model: Model
    shardings: TrainState


def make_timed_step(
    config, catalogue: Catalogue, encoders: Encoders, mesh: Mesh
) -> TimedStep:
    """The step of `config` on these rows.

    Args:
      config, encoders: of `resolved`.
    """
    model = model_of(config, catalogue, encoders)
    rows = catalogue.rows("train")
    state, shardings, optimizer = initial_state(
        config, model, catalogue.spec, mesh, steps=total_steps(config, len(rows))
    )
    objective = make_objective(
        config.objective,
        catalogue.tree,
        tuple(config.model.modalities),
        train_labels=catalogue.labels[rows],
        mesh=mesh,
    )
    model = placed(model, activation_placer(config.train.activations, mesh))
    step = training_step(config, model, objective, optimizer, shardings, mesh)
    return TimedStep(step, state, empty_running(config, mesh), model, shardings)
