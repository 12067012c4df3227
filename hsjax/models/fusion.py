"""From one vector per modality to one per product; chosen by name from `FUSIONS`."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hsjax.models.layers import LayerNorm

OPEN = 3.0  # bias of a gate at the start: sigmoid(3) = 0.95, nearly `concat`


class Concat(nn.Module):
    """Early fusion: (B, E) per modality side by side, (B, F) with F = M * E.

    Args:
      norm: `layer` normalises each first, so that no modality drowns another; `raw`
        does not.
    """

    norm: str

    @nn.compact
    def __call__(
        self,
        parts: Sequence[Float[Array, "B E"]],
        names: Sequence[str],
        kept: Bool[Array, "B M"],
    ) -> Float[Array, "B F"]:
        return jnp.concatenate(_normalised(parts, names, self.norm), axis=-1)


class Gated(nn.Module):
    """Each part times its gate, side by side: (B, F) with F = M * E.

    h_m = sigmoid(W_m [x_1, ..., x_M, presence] + b_m) * x_m, the gated multimodal unit
    (Arevalo et al. 2017, arxiv.org/abs/1702.01992) for any number of modalities, which
    stay side by side as in `concat`. Every gate sees all parts and which of them are
    there: a text that the picture contradicts can count for less than none at all.
    """

    norm: str

    @nn.compact
    def __call__(
        self,
        parts: Sequence[Float[Array, "B E"]],
        names: Sequence[str],
        kept: Bool[Array, "B M"],
    ) -> Float[Array, "B F"]:
        parts = _normalised(parts, names, self.norm)
        seen = jnp.concatenate([*parts, kept.astype(jnp.float32)], axis=-1)
        gates = [
            nn.Dense(
                part.shape[-1],
                kernel_init=nn.initializers.zeros,
                bias_init=nn.initializers.constant(OPEN),
                name=f"{name}_gate",
            )(seen)
            for part, name in zip(parts, names, strict=True)
        ]
        pairs = zip(gates, parts, strict=True)
        return jnp.concatenate([nn.sigmoid(g) * part for g, part in pairs], axis=-1)


class Product(nn.Module):
    """Elementwise product of all parts, (B, F) with F = E (Kim et al. 2017).

    The low-rank form of bilinear pooling, arxiv.org/abs/1610.04325: what agrees is
    strengthened. With `norm` raw the projections multiply as they are.
    """

    norm: str

    @nn.compact
    def __call__(
        self,
        parts: Sequence[Float[Array, "B E"]],
        names: Sequence[str],
        kept: Bool[Array, "B M"],
    ) -> Float[Array, "B F"]:
        return functools.reduce(jnp.multiply, _normalised(parts, names, self.norm))


def _normalised(
    parts: Sequence[Float[Array, "B E"]], names: Sequence[str], norm: str
) -> list[Float[Array, "B E"]]:
    """Modules of the fusion that calls it."""
    if norm == "raw":
        return list(parts)
    pairs = zip(parts, names, strict=True)
    return [LayerNorm(name=f"{name}_norm")(part) for part, name in pairs]


FUSIONS = {"concat": Concat, "gated": Gated, "product": Product}
