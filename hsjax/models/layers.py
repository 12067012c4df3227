"""Parts that several encoders share: float32 norms and softmax, `dtype` products."""

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


ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_new": nn.gelu,  # by tanh
    "gelu_pytorch_tanh": nn.gelu,
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "relu": nn.relu,
}


class Attention(nn.Module):
    """Multi-head attention with one projection for queries, keys and values.

    Args:
      causal: a token sees itself and what is before it.
    """

    heads: int
    dtype: jnp.dtype
    causal: bool = False

    @nn.compact
    def __call__(
        self,
        x: Shaped[Array, "B T D"],
        mask: Bool[Array, "B T"] | None,
        queries: Shaped[Array, "B Q D"] | None = None,
    ) -> Shaped[Array, "B _ D"]:
        """Of x to itself, or of `queries` to x."""
        batch, length, width = x.shape
        project = nn.Dense(3 * width, dtype=self.dtype, name="qkv")
        shape = 3, self.heads, width // self.heads
        qkv = project(x).reshape(batch, length, *shape)
        q, k, v = (qkv[:, :, i] for i in range(3))  # (B, T, heads, D / heads)
        if queries is not None:
            q = project(queries).reshape(*queries.shape[:2], *shape)[:, :, 0]
        mask = None if mask is None else mask[:, None, None, :]
        # masked attention of jax mixes dtypes in bfloat16; so does its gradient, which
        # is traced outside and needs this round the whole program
        with jax.numpy_dtype_promotion("standard"):
            y = jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=self.causal)
        return nn.Dense(width, dtype=self.dtype, name="out")(
            y.reshape(batch, q.shape[1], width)
        )


class TransformerBlock(nn.Module):
    """Attention and MLP, each in a residual branch.

    Args:
      pre_norm: normalise the branch's input (ViT); otherwise its output (BERT).
      eps: of the norms.
      activation: of the MLP, a name of ACTIVATIONS.
      causal: a token sees itself and what is before it (CLIP's text).
      layer_scale: start of a learned factor per channel on each branch (Touvron et
        al., 2021); 0 = none.
    """

    heads: int
    mlp: int
    dropout: float
    pre_norm: bool
    dtype: jnp.dtype
    eps: float = 1e-6
    activation: str = "gelu"
    causal: bool = False
    layer_scale: float = 0.0

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "B T D"], mask: Bool[Array, "B T"] | None, training: bool
    ) -> Shaped[Array, "B T D"]:
        attention = Attention(self.heads, self.dtype, self.causal, name="attention")
        x = self._branch(x, "attention", lambda y: attention(y, mask), training)
        return self._branch(x, "mlp", self._mlp, training)

    def _branch(self, x, name, f, training):
        norm = LayerNorm(self.eps, name=f"{name}_norm")
        drop = nn.Dropout(self.dropout, deterministic=not training)
        y = f(norm(x)) if self.pre_norm else f(x)
        if self.layer_scale:
            start = nn.initializers.constant(self.layer_scale)
            scale = self.param(f"{name}_scale", start, x.shape[-1:])
            y = y * scale[None, None].astype(y.dtype)
        return x + drop(y) if self.pre_norm else norm(x + drop(y))

    def _mlp(self, x):
        return feed_forward(x, self.mlp, self.activation, self.dtype)


def feed_forward(
    x: Shaped[Array, "B T D"], hidden: int, activation: str, dtype: jnp.dtype
) -> Shaped[Array, "B T D"]:
    """Two dense layers of the module that calls it."""
    y = ACTIVATIONS[activation](nn.Dense(hidden, dtype=dtype, name="mlp_in")(x))
    return nn.Dense(x.shape[-1], dtype=dtype, name="mlp_out")(y)


class AttentionPool(nn.Module):
    """A learned probe that attends to the tokens: (B, T, D) -> (B, D), `map`.

    y = attention(probe, x);  y + MLP(norm(y)). Lee et al., 2019, as in Zhai et al.,
    2022 (and SigLIP).
    """

    heads: int
    mlp: int
    dtype: jnp.dtype
    eps: float = 1e-6
    activation: str = "gelu"

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "B T D"], mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B D"]:
        batch, _, width = x.shape
        probe = self.param("probe_token", TOKEN_INIT, (1, 1, width)).astype(x.dtype)
        probe = jnp.broadcast_to(probe, (batch, 1, width))
        y = Attention(self.heads, self.dtype, name="attention")(x, mask, probe)
        z = LayerNorm(self.eps, name="mlp_norm")(y)
        y = y + feed_forward(z, self.mlp, self.activation, self.dtype)
        return y[:, 0].astype(jnp.float32)
