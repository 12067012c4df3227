"""Norms and pools that several encoders share, in float32 whatever comes in."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

# of every array that stands for tokens: embeddings, positions, what is absent
TOKEN_INIT = nn.initializers.normal(0.02)


class LayerNorm(nn.Module):
    """y = (x - mean) / sqrt(var + eps) * scale + bias of the last axis, in float32."""

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Shaped[Array, "*batch D"]) -> Shaped[Array, "*batch D"]:
        width, f = x.shape[-1:], x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        mean = f.mean(axis=-1, keepdims=True)
        var = jnp.square(f - mean).mean(axis=-1, keepdims=True)
        y = (f - mean) * jax.lax.rsqrt(var + self.eps)
        shape = (1,) * (x.ndim - 1) + width
        return (y * scale.reshape(shape) + bias.reshape(shape)).astype(x.dtype)


class GroupNorm(nn.Module):
    """Normalises each example over space and groups of channels; knows no batch."""

    groups: int = 8
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Shaped[Array, "B H W D"]) -> Shaped[Array, "B H W D"]:
        batch, height, space, width = x.shape
        scale = self.param("scale", nn.initializers.ones, (width,))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        groups = self.groups if width % self.groups == 0 else 1
        f = x.astype(jnp.float32)
        f = f.reshape(batch, height * space, groups, width // groups)
        # one pass over the picture: E[x^2] - E[x]^2, in float32 on normalised input
        mean = f.mean(axis=(1, 3), keepdims=True)
        var = jnp.square(f).mean(axis=(1, 3), keepdims=True) - jnp.square(mean)
        gain = jax.lax.rsqrt(jnp.maximum(var, 0.0) + self.eps)
        gain = gain * scale.reshape(1, 1, groups, -1)
        y = f * gain + (bias.reshape(1, 1, groups, -1) - mean * gain)
        return y.reshape(x.shape).astype(x.dtype)


class BatchNorm(nn.Module):
    """Normalises over the weighted rows of the whole batch; else by running statistics.

    Statistics live in the collection `stats`. Rows of weight 0 (padding, an absent
    modality) do not count, and a batch without any weight changes no statistics.
    """

    momentum: float = 0.9
    eps: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "B *rest D"], weight: Float[Array, "B"], training: bool
    ) -> Shaped[Array, "B *rest D"]:
        width, f = x.shape[-1:], x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        mean_ = self.variable("stats", "mean", jnp.zeros, width)
        var_ = self.variable("stats", "var", jnp.ones, width)
        mean, var = mean_.value, var_.value
        lift = (1,) * (x.ndim - 1) + width
        if training and not self.is_initializing():
            axes = tuple(range(x.ndim - 1))
            w = jnp.broadcast_to(
                weight.reshape(-1, *(1,) * (x.ndim - 1)), (*x.shape[:-1], 1)
            )
            total = w.sum()
            safe = jnp.where(total > 0, total, 1.0)
            mean = (f * w).sum(axis=axes) / safe
            var = (jnp.square(f - mean.reshape(lift)) * w).sum(axis=axes) / safe
            # without any weight their gain of 1 / sqrt(eps) a layer has no finite
            # gradient
            mean = jnp.where(total > 0, mean, mean_.value)
            var = jnp.where(total > 0, var, var_.value)
            rate = jnp.where(total > 0, 1.0 - self.momentum, 0.0)
            mean_.value = mean_.value * (1.0 - rate) + mean * rate
            var_.value = var_.value * (1.0 - rate) + var * rate
        gain = scale * jax.lax.rsqrt(var + self.eps)
        y = f * gain.reshape(lift) + (bias - mean * gain).reshape(lift)
        return y.astype(x.dtype)


def masked_mean(
    x: Shaped[Array, "B T D"], mask: Bool[Array, "B T"]
) -> Float[Array, "B D"]:
    """Mean over the tokens that count, in float32; 0 where none does."""
    kept = mask[:, :, None].astype(jnp.float32)
    return (x.astype(jnp.float32) * kept).sum(axis=1) / jnp.maximum(
        kept.sum(axis=1), 1.0
    )


def pool_tokens(
    x: Shaped[Array, "B T D"], mask: Bool[Array, "B T"], kind: str
) -> Float[Array, "B D"]:
    """One vector per sequence, in float32: cls (the first token), mean or max over the
    mask, eot (the last token of the mask, where a causal text has seen all of itself).

    `map`, which has parameters, is `AttentionPool`.
    """
    if kind == "cls":
        return x[:, 0].astype(jnp.float32)
    if kind == "max":
        x = jnp.where(mask[:, :, None], x.astype(jnp.float32), -jnp.inf).max(axis=1)
        return jnp.where(jnp.isfinite(x), x, 0.0)
    if kind == "mean":
        return masked_mean(x, mask)
    if kind == "eot":
        last = jnp.argmax(jnp.where(mask, jnp.arange(mask.shape[1])[None], -1), axis=1)
        return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0].astype(
            jnp.float32
        )
    raise ValueError(f"pool is {kind!r}; known: cls, mean, max, eot, map")
