"""The layers of a tower one after the other: in which program, and what it keeps.

Whatever is chosen here, parameters, values and gradients are the same. A scan stacks
the parameters of equal layers where they are used, so that checkpoints, rules on names
and published files know nothing of it; the copy is small beside a step's activations.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Shaped

# what the backward pass finds of a layer; the rest is computed again
REMATS: dict[str, Callable | None] = {
    "none": None,  # everything
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Execution(NamedTuple):
    """How a tower of equal layers is computed.

    Attributes:
      attention: of `attention.ATTENTIONS`.
      scan: one layer is compiled and repeated, in place of all of them in a row.
      remat: of REMATS.
    """

    attention: str = "auto"
    scan: bool = False
    remat: str = "none"


AS_EVER = Execution()


def run_layers(
    tower: nn.Module,
    make: Callable[..., nn.Module],
    names: Sequence[str],
    x: Shaped[Array, "B T D"],
    mask: Bool[Array, "B T"] | None,
    key: jax.Array | None,
) -> Shaped[Array, "B T D"]:
    """x through the layers of these names, of which one may come several times.

    Args:
      tower: that has the layers and is told by its `how`, an `Execution`.
      make: `make(name=...)`, `make(parent=None)` -> a layer, (x, mask, key) -> x.
      key: of dropout, None = none.

    Raises:
      ValueError: a `remat` that is not known.
    """
    how = tower.how
    if how.remat not in REMATS:
        raise ValueError(f"remat is {how.remat!r}; known: {', '.join(REMATS)}")
    keys = None if key is None else jax.random.split(key, len(names))
    plain = not how.scan and how.remat == "none"
    if plain or not names or tower.is_initializing():
        layers = {name: make(name=name) for name in dict.fromkeys(names)}
        for i, name in enumerate(names):
            x = layers[name](x, mask, None if keys is None else keys[i])
        return x
    alone = make(parent=None)  # a function of its parameters

    def layer(x, params, key):
        return alone.apply({"params": params}, x, mask, key)

    if how.remat != "none":
        policy = REMATS[how.remat]
        layer = jax.checkpoint(layer, policy=policy, prevent_cse=not how.scan)
    params = [tower.variables["params"][name] for name in names]
    if how.scan:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        step = lambda x, given: (layer(x, *given), None)  # noqa: E731
        return jax.lax.scan(step, x, (stacked, keys))[0]
    for i, own in enumerate(params):
        x = layer(x, own, None if keys is None else keys[i])
    return x
