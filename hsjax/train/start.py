"""Where a run begins: data, mesh, number of steps, the state before the first one."""

import math
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from hsjax.data.batches import training_batches
from hsjax.data.examples import Augmentation, Examples
from hsjax.evaluation.collect import Rows
from hsjax.models.build import Model
from hsjax.sharding import make_mesh, state_specs
from hsjax.taxonomy import Taxonomy
from hsjax.train.optim import make_optimizer
from hsjax.train.state import TrainState, make_state
from hsjax.train.workdir import ConfigError


class Task(NamedTuple):
    """What a run trains on and is watched by.

    Attributes:
      train, val: examples; val_rows: what is known of the rows of val.
      train_row: row numbers of the training examples, for messages.
      manifest: hash of the data, kept in every checkpoint.
    """

    tree: Taxonomy
    train: Examples
    val: Examples
    val_rows: Rows
    train_row: np.ndarray
    manifest: str


def training_order(config, examples: Examples):
    """This process's endless batches; `[k]` is its part of the k-th global batch."""
    data, image = config.data, config.data.image
    return training_batches(
        examples,
        batch_size=data.batch_size,
        seed=config.seed,
        augmentation=Augmentation(
            seed=config.seed,
            crop=image.crop,
            flip=image.flip,
            word_drop=data.text.word_drop,
        ),
        weighted_sampling=data.weighted_sampling,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


def set_up_jax(config) -> None:
    """Before the first computation."""
    if config.train.compile_cache:
        jax.config.update("jax_compilation_cache_dir", config.train.compile_cache)
    flags = os.environ.get("XLA_FLAGS", "")
    if config.train.deterministic and "xla_gpu_deterministic" not in flags:
        # no effect on CPU; on GPU scatters and convolutions repeat bit for bit
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"


def training_mesh(config) -> Mesh:
    """The mesh of `config.train`.

    Raises:
      ConfigError: there are too few devices, or they do not divide the batch.
    """
    train, rows = config.train, config.data.batch_size
    try:
        mesh = make_mesh(train.data_devices, train.fsdp_devices)
    except ValueError as error:
        raise ConfigError(
            f"{error}; lower train.data_devices or train.fsdp_devices"
        ) from None
    if rows % mesh.size:
        raise ConfigError(
            f"data.batch_size is {rows}, no multiple of {mesh.size} devices; change it,"
            " or lower train.data_devices"
        )
    return mesh


def total_steps(config, examples: int) -> int:
    """Steps of the run: `train.steps`, or as many as the epochs take."""
    return config.train.steps or max(
        1, math.ceil(config.train.epochs * examples / config.data.batch_size)
    )


def initial_state(
    config,
    model: Model,
    spec,
    mesh: Mesh,
    *,
    steps: int,
    warm_start: Callable | None = None,
) -> tuple[TrainState, object, object]:
    """(state, its shardings, optimizer); the state is made where it stays."""
    dummy = spec.padding(max(2, mesh.size))
    key = jax.random.key(config.seed)
    shapes, _ = jax.eval_shape(model.init, key, dummy)
    optimizer = make_optimizer(config.optim, shapes, steps)

    def make(key, batch):
        params, stats = model.init(key, batch)
        return make_state(params, stats, optimizer, ema=config.train.ema > 0)

    specs = state_specs(jax.eval_shape(make, key, dummy), config.train.sharding, mesh)
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), specs)
    state = jax.jit(make, out_shardings=shardings)(key, dummy)
    if warm_start is not None:
        params = jax.device_put(warm_start(state.params), shardings.params)
        averaged = (jax.tree.map(np.asarray, params), state.stats) if state.ema else ()
        ema = jax.device_put(averaged, shardings.ema)
        state = state._replace(params=params, ema=ema)
    return state, shardings, optimizer
