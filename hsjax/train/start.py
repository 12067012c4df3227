"""Where a run begins: data, mesh, number of steps, the state before the first one."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from hsjax.data.batches import batch_plan, training_batches
from hsjax.data.examples import Augmentation, Examples
from hsjax.evaluation.collect import Rows
from hsjax.models.build import Model
from hsjax.sharding import copied, jit_whole, process_rows, replicated
from hsjax.taxonomy import Taxonomy
from hsjax.train.objective import training_metrics
from hsjax.train.optim import frozen_leaves, idle_rules
from hsjax.train.plan import planned_state
from hsjax.train.state import TrainState
from hsjax.train.step import Running, make_step
from hsjax.train.workdir import WorkdirError

log = logging.getLogger("hsjax")

FEW_STEPS = 200


class TrainingParts(NamedTuple):
    """What a run trains on and is watched by.

    Attributes:
      train, val: examples; val_rows: what is known of the rows of val.
      train_records: of the training examples, for messages: each has its `row` and
        `id`.
      manifest: hash of the data, kept in every checkpoint.
    """

    tree: Taxonomy
    train: Examples
    val: Examples
    val_rows: Rows
    train_records: Sequence
    manifest: str


def training_order(config, examples: Examples, mesh: Mesh | None = None):
    """This process's endless batches; `[k]` is its part of the k-th global batch.

    Args:
      mesh: that batches are split over; None = whole batches.
    """
    text, image = config.data.text, config.data.image
    augmentation = Augmentation(
        seed=config.seed,
        crop=image.crop,
        flip=image.flip,
        word_drop=text.word_drop,
        name_drop=text.name_drop,
    )
    rows = None if mesh is None else process_rows(mesh, config.data.batch_size)
    return training_batches(
        examples, augmentation=augmentation, rows=rows, **_plan_of(config)
    )


def _plan_of(config) -> dict:
    """What decides which rows a batch has."""
    return {
        "batch_size": config.data.batch_size,
        "seed": config.seed,
        "weighted_sampling": config.data.weighted_sampling,
        "buckets": tuple(config.data.text.buckets),
    }


def rows_of_batch(config, examples: Examples, number: int) -> np.ndarray:
    """(B,) positions in `examples` of the `number`-th global batch, of all processes.

    No example is assembled.
    """
    return batch_plan(examples, **_plan_of(config))(number).index


def total_steps(config, examples: int) -> int:
    """Steps of the run: `train.steps`, or as many as the epochs take."""
    return config.train.steps or max(
        1, math.ceil(config.train.epochs * examples / config.data.batch_size)
    )


def few_steps_told(config, examples: int) -> str:
    """The sentence where so few steps teach next to nothing, '' otherwise."""
    steps = total_steps(config, examples)
    if steps >= FEW_STEPS or config.train.steps:
        return ""
    return (
        f"only {steps} steps in all, as there are {examples} examples: a model from"
        " scratch needs some hundred; raise train.epochs, or lower data.batch_size"
    )


def tell_rules(config, params) -> None:
    """Log lines of what `optim.rules` freeze, and of rules that act on nothing.

    Args:
      config: the `optim` section.
      params: dict of arrays, or of their shapes.
    """
    frozen = frozen_leaves(config, params)

    def size(tree, frozen):
        sizes = jax.tree.map(lambda leaf, f: leaf.size * f, tree, frozen)
        return sum(jax.tree.leaves(sizes))

    still = {name: size(part, frozen[name]) for name, part in params.items()}
    if any(still.values()):
        whole = sum(leaf.size for leaf in jax.tree.leaves(params))
        log.info(
            "optim.rules train %s of %s parameters; frozen: %s",
            f"{whole - sum(still.values()):,}",
            f"{whole:,}",
            ", ".join(f"{name} {n:,}" for name, n in still.items() if n),
        )
    for sentence in idle_rules(config, params):
        log.warning("%s", sentence)


def check_length(before, config, examples: int) -> None:
    """A run that goes on may be made longer than its config `before` said.

    Raises:
      WorkdirError: fewer steps than before are asked for.
    """
    old, new = (total_steps(c, examples) for c in (before, config))
    if new < old:
        raise WorkdirError(
            f"the run has {old:,} steps, {new:,} are asked for: it may become longer,"
            " not shorter; raise train.steps or train.epochs, or take a new workdir"
        )
    if new > old and (config.optim.schedule != "constant" or config.optim.warmup):
        log.warning(
            "%d steps instead of %d: from here on the learning rate follows the"
            " schedule of the longer run, so this is not what %d steps from the start"
            " would give",
            new,
            old,
            new,
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
    """(state, its shardings, optimizer); the state is made where it stays.

    Args:
      warm_start: see `warmstart.warm_start`; is given parameters, then statistics.

    Raises:
      ConfigError: rules that leave a parameter without a match.
    """
    plan = planned_state(config, model, spec, mesh, steps=steps)
    shardings, optimizer = plan.shardings, plan.optimizer
    key, dummy = jax.random.key(config.seed), spec.padding(max(2, mesh.size))
    state = jax.jit(plan.make, out_shardings=shardings)(key, dummy)
    if warm_start is not None:
        fresh = jit_whole(lambda x: x, mesh)((state.params, state.stats))
        started = tuple(map(warm_start, fresh))
        params, stats = copied(started, (shardings.params, shardings.stats))
        ema = copied(started, shardings.ema) if state.ema else ()
        state = state._replace(params=params, stats=stats, ema=ema)
    return state, shardings, optimizer


def training_step(config, model: Model, objective, optimizer, shardings, mesh: Mesh):
    """`make_step` of a config, jitted; state and running means are donated.

    Args:
      shardings: of the state, before and after.
    """
    step = make_step(
        model.apply,
        objective,
        optimizer,
        ema=config.train.ema,
        frozen=frozen_leaves(config.optim, shardings.params),
        micro_batches=config.train.micro_batches,
    )
    out = (shardings, replicated(mesh))
    return jax.jit(step, donate_argnums=(0, 1), out_shardings=out)


def empty_running(config, mesh: Mesh) -> Running:
    """The running means before a look of the host, where the step wants them."""
    running = Running.empty(training_metrics(config.objective), seed=config.seed)
    return jax.device_put(running, replicated(mesh))
