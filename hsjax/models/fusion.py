"""From one vector per modality to one per product; chosen by name from `FUSIONS`."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hsjax.models.layers import LayerNorm


class Concat(nn.Module):
    """Early fusion: (B, E) per modality side by side, (B, F) with F = M * E.

    Args:
      norm: `layer` normalises each first, so that no modality drowns another; `raw`
        does not.
    """

    norm: str

    @nn.compact
    def __call__(
        self, parts: Sequence[Float[Array, "B E"]], names: Sequence[str]
    ) -> Float[Array, "B F"]:
        if self.norm == "layer":
            pairs = zip(parts, names, strict=True)
            parts = [LayerNorm(name=f"{name}_norm")(x) for x, name in pairs]
        return jnp.concatenate(parts, axis=-1)


FUSIONS = {"concat": Concat}
