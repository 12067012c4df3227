"""One update. Imports no model: it is handed `apply`, `objective` and `optimizer`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from clu import metrics

from hsjax.train.accumulate import make_accumulated
from hsjax.train.state import TrainState


class Running(NamedTuple):
    """What the device collects between two looks of the host.

    Attributes:
      averages: name -> running mean of a training metric.
      bad_step: () int32, first step whose loss or gradient was not finite; -1 = none.
      seed: () uint32, of dropout. It is data, so that all seeds share one program.
    """

    averages: dict[str, metrics.Average]
    bad_step: jax.Array
    seed: jax.Array

    @classmethod
    def empty(cls, names, *, seed: int = 0) -> "Running":
        # clu counts rows as integers; weights are floats
        zeros = {n: metrics.Average(jnp.zeros(()), jnp.zeros(())) for n in names}
        return cls(zeros, jnp.full((), -1, jnp.int32), jnp.asarray(seed, jnp.uint32))


def make_step(
    apply: Callable,
    objective: Callable,
    optimizer: optax.GradientTransformation,
    *,
    ema: float = 0.0,
    frozen: Any = None,
    micro_batches: int = 1,
) -> Callable[[TrainState, Running, Any], tuple[TrainState, Running]]:
    """`step(state, running, batch)`, to be jitted with donated state.

    The dropout key is folded from (running.seed, step). `ema` is the decay of the
    averaged parameters once (1 + step) / (10 + step) has grown past it. A step with a
    loss or gradient that is not finite changes nothing and is remembered.

    Args:
      frozen: tree of bools like the parameters; None = all are trained. Through what is
        frozen nothing is differentiated: autodiff stops at the lowest trained layer.
      micro_batches: parts that a batch is computed in; the loss is that of the whole
        batch: see `accumulate`.
    """
    gradient = _make_gradient(apply, objective, frozen, micro_batches)

    def step(state: TrainState, running: Running, batch):
        key = jax.random.fold_in(jax.random.key(running.seed), state.step)
        (loss, (stats, measured)), grads = gradient(
            state.params, state.stats, batch, key
        )
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            norm = optax.tree.norm(grads)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        average = _averaged(state, (params, stats), ema, frozen)
        after = state._replace(
            params=params, stats=stats, opt_state=opt_state, ema=average
        )
        after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
        after = after._replace(step=state.step + 1)
        measured = {**measured, "gradient_norm": (norm, jnp.ones(()))}
        averages = _merged(running.averages, measured)
        first = (running.bad_step < 0) & ~finite
        bad = jnp.where(first, state.step, running.bad_step)
        return after, Running(averages, bad, running.seed)

    return step


def _make_gradient(apply, objective, frozen, micro_batches: int) -> Callable:
    """`gradient(params, stats, batch, key) -> ((loss, (stats, metrics)), grads)`."""

    def trained(params, stats, batch, *, dropout_key):
        params = _stopped(params, frozen)
        return apply(params, stats, batch, dropout_key=dropout_key)

    def loss_of(params, stats, batch, key):
        outputs, stats = trained(params, stats, batch, dropout_key=key)
        loss, measured = objective(outputs, batch)
        return loss, (stats, measured)

    if micro_batches > 1:
        return make_accumulated(trained, objective, micro_batches)
    return jax.value_and_grad(loss_of, has_aux=True)


def _merged(averages: dict, measured: dict) -> dict:
    """Running means with (mean, weight) of one more batch."""
    return {
        name: averages[name].merge(metrics.Average(total=mean * weight, count=weight))
        for name, (mean, weight) in measured.items()
    }


def _stopped(params, frozen):
    """The parameters, through those that are frozen without a gradient."""
    if frozen is None:
        return params
    stop = jax.lax.stop_gradient
    return jax.tree.map(lambda f, p: stop(p) if f else p, frozen, params)


def _averaged(state: TrainState, new, ema: float, frozen):
    # early on the average is young: else the initial parameters weigh for long
    steps = state.step.astype(jnp.float32)
    decay = jnp.minimum(ema, (1.0 + steps) / (10.0 + steps))
    average = state.ema and jax.tree.map(
        lambda old, new: old * decay + new * (1.0 - decay), state.ema, new
    )
    if not average or frozen is None:
        return average
    # of what is frozen: a mean of equals would drift by rounding
    kept = jax.tree.map(
        lambda f, old, new: old if f else new, frozen, state.ema[0], average[0]
    )
    return kept, average[1]
