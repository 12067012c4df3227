"""Transformer layers: products in `dtype`; norms, softmax and pools in float32."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from hsjax.models.attention import attend
from hsjax.models.layers import TOKEN_INIT, LayerNorm

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
      by: of `attention.ATTENTIONS`.
    """

    heads: int
    dtype: jnp.dtype
    causal: bool = False
    by: str = "auto"

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
        y = attend(q, k, v, mask, causal=self.causal, by=self.by)
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
      by: how attention is computed, of `attention.ATTENTIONS`.
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
    by: str = "auto"

    @nn.compact
    def __call__(
        self,
        x: Shaped[Array, "B T D"],
        mask: Bool[Array, "B T"] | None,
        key: jax.Array | None,
    ) -> Shaped[Array, "B T D"]:
        """`key`: of dropout, None = none."""
        keys = (None, None) if key is None else jax.random.split(key)
        attention = Attention(
            self.heads, self.dtype, self.causal, self.by, name="attention"
        )
        x = self._branch(x, "attention", lambda y: attention(y, mask), keys[0])
        return self._branch(x, "mlp", self._mlp, keys[1])

    def _branch(self, x, name, f, key):
        norm = LayerNorm(self.eps, name=f"{name}_norm")
        drop = functools.partial(dropped, rate=self.dropout, key=key)
        y = f(norm(x)) if self.pre_norm else f(x)
        if self.layer_scale:
            start = nn.initializers.constant(self.layer_scale)
            scale = self.param(f"{name}_scale", start, x.shape[-1:])
            y = y * scale[None, None].astype(y.dtype)
        return x + drop(y) if self.pre_norm else norm(x + drop(y))

    def _mlp(self, x):
        return feed_forward(x, self.mlp, self.activation, self.dtype)


def dropped(
    x: Shaped[Array, "*batch D"], *, rate: float, key: jax.Array | None
) -> Shaped[Array, "*batch D"]:
    """x with a share of its entries zero, the others as much larger; no key: x.

    The share is rounded to 1 / 65536: every word of random bits serves two entries,
    which halves what is by far the dearest part of dropout on a CPU.
    """
    if key is None or not rate:
        return x
    *rows, width = x.shape
    share = round(rate * 2**16)
    words = jax.random.bits(key, (*rows, -(-width // 2)), jnp.uint32)
    halves = jnp.concatenate([words >> 16, words & 0xFFFF], axis=-1)[..., :width]
    return jnp.where(halves >= share, x / (1 - share / 2**16), jnp.zeros_like(x))


def dropout_keys(module: nn.Module, training: bool) -> tuple:
    """(of what goes into the layers, of the layers); None where nothing is dropped."""
    if not (training and module.dropout):
        return None, None
    return tuple(jax.random.split(module.make_rng("dropout")))


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
    by: str = "auto"

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "B T D"], mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B D"]:
        batch, _, width = x.shape
        probe = self.param("probe_token", TOKEN_INIT, (1, 1, width)).astype(x.dtype)
        probe = jnp.broadcast_to(probe, (batch, 1, width))
        attention = Attention(self.heads, self.dtype, by=self.by, name="attention")
        y = attention(x, mask, probe)
        z = LayerNorm(self.eps, name="mlp_norm")(y)
        y = y + feed_forward(z, self.mlp, self.activation, self.dtype)
        return y[:, 0].astype(jnp.float32)
