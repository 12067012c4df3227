"""Everything that a training step changes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class TrainState(NamedTuple):
    """One pytree, saved and restored as a whole.

    Attributes:
      step: () int32, updates done.
      params, stats, opt_state: of the model and the optimizer.
      ema: averaged (params, stats), an empty tuple where averaging is off.
      best: () float32, best monitored value so far, larger = better.
      stale: () int32, evaluations since then.
    """

    step: jax.Array
    params: Any
    stats: Any
    opt_state: Any
    ema: Any
    best: jax.Array
    stale: jax.Array

    @property
    def evaluated(self) -> tuple[Any, Any]:
        """(params, stats) that answer: the averaged ones where there are any."""
        return self.ema or (self.params, self.stats)


def make_state(params, stats, optimizer, *, ema: bool) -> TrainState:
    """The state before the first step."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        opt_state = optimizer.init(params)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=opt_state,
        ema=jax.tree.map(jnp.copy, (params, stats)) if ema else (),
        best=jnp.full((), -jnp.inf, jnp.float32),
        stale=jnp.zeros((), jnp.int32),
    )
