"""Hierarchical head: one fused vector in, raw logits per level out, in slot order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hsjax.hierarchy import node_log_probs
from hsjax.models.layers import BatchNorm, LayerNorm
from hsjax.taxonomy import Taxonomy


class LevelLogits(nn.Module):
    """Linear classifier of one level: (B, D) -> raw logits (B, C), zero at the start.

    Columns are stored by id, so that checkpoints and warm starts know nothing of slots,
    and the kernel is permuted in every step. Measured where it weighs most, 5,612
    classes below the small default encoders on 2 CPU cores: 8 % of a step (1.07 s
    instead of 0.99 s, batch 128). It fades with larger encoders and fewer classes.
    """

    ids: tuple[int, ...]  # slot -> id
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B C"]:
        ids = np.array(self.ids)
        shape = (x.shape[-1], len(ids))
        kernel = self.param("kernel", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        if (ids != np.arange(len(ids))).any():
            kernel, bias = kernel[:, ids], bias[ids]
        logits = jnp.matmul(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )
        return logits + bias[None]


class HierarchicalHead(nn.Module):
    """Paper B's head: (B, F) -> raw logits (B, C) per level, in slot order.

    A shared layer, a layer per level, and coarser predictions fed forward: with `feed =
    probabilities` level l also sees p(node) of level l - 1 from the tree distribution,
    with stopped gradient (B5).
    """

    tree: Taxonomy
    width: int
    level_width: int
    norm: str
    dropout: float
    feed: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F"], weight: Float[Array, "B"], training: bool
    ) -> tuple[Float[Array, "B _"], ...]:
        def layer(x, width, name):
            if not width:
                return x
            x = nn.Dense(width, dtype=self.dtype, name=name)(x).astype(jnp.float32)
            x = nn.relu(x)
            if self.norm == "layer":
                x = LayerNorm(name=f"{name}_norm")(x)
            elif self.norm == "batch":
                x = BatchNorm(name=f"{name}_norm")(x, weight, training)
            return nn.Dropout(self.dropout, deterministic=not training)(x)

        shared = layer(x, self.width, "shared")
        logits: list[jax.Array] = []
        for level, layout in enumerate(self.tree.layout):
            seen = shared
            if level and self.feed == "probabilities":
                coarser = jnp.exp(node_log_probs(logits, self.tree.top(level))[-1])
                # by id, as kernels are stored: rows keep their meaning
                coarser = coarser[:, self.tree.layout[level - 1].slots]
                seen = jnp.concatenate(
                    [shared, jax.lax.stop_gradient(coarser)], axis=-1
                )
            seen = layer(seen, self.level_width, f"level{level + 1}_layer")
            classify = LevelLogits(
                tuple(layout.ids.tolist()), self.dtype, name=f"level{level + 1}"
            )
            logits.append(classify(seen))
        return tuple(logits)
