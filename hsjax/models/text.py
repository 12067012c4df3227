"""Text transformer in BERT's shape: tokens and positions in, a vector per text out."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from hsjax.models.depth import Execution, run_layers
from hsjax.models.layers import TOKEN_INIT, LayerNorm, masked_mean, pool_tokens
from hsjax.models.transformer import (
    AttentionPool,
    TransformerBlock,
    dropout_keys,
    dropped,
)


class TextEncoder(nn.Module):
    """f_t of Paper A, eq. 3: (B, T) tokens -> (B, D), or (B, D + bag).

    Tokens outside the mask do not matter. The options after `dtype` are what published
    families do otherwise; `text_families` sets them from a config.json.

    Args:
      vocab_size: rows of the embedding table.
      max_length: positions.
      pool: cls, mean, max, eot (end of text), map (attention pooling), or none: the
        states (B, T, D) before projection, zero outside the mask.
      pre_norm: normalise before each branch (trains from scratch) or after it (BERT).
      bag: width of a bag of tokens beside the transformer, which learns from few
        examples what a single word says (Cheng et al., 2016, wide and deep); 0 = none.
      bag_dropout: of the bag, in training.
      eps: of all norms.
      activation: of the MLPs, a name of ACTIVATIONS.
      position_offset: rows of the position table before the first position (RoBERTa).
      token_types: rows of a table whose first is added to every token; 0 = none.
      embedding_width: of tables, projected up to `width`; 0 = `width` (not ALBERT).
      shared: distinct layers, each used `depth / shared` times in a row; 0 = `depth`.
      causal: a token sees itself and what is before it (CLIP).
      embedding_norm: normalise embeddings (not CLIP).
      projection: width of a last linear map without bias; 0 = none.
      how: layers are computed, see `depth`.
    """

    vocab_size: int
    max_length: int
    width: int
    depth: int
    heads: int
    mlp: int
    dropout: float
    pool: str
    pre_norm: bool
    dtype: jnp.dtype
    bag: int = 0
    bag_dropout: float = 0.0
    eps: float = 1e-6
    activation: str = "gelu"
    position_offset: int = 0
    token_types: int = 0
    embedding_width: int = 0
    shared: int = 0
    causal: bool = False
    embedding_norm: bool = True
    projection: int = 0
    how: Execution = Execution()

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B T"], mask: Bool[Array, "B T"], training: bool
    ) -> Float[Array, "B _"] | Float[Array, "B T _"]:
        first, rest = dropout_keys(self, training)
        x = self._embed(ids, first)
        distinct = self.shared or self.depth
        names = [f"layer{i * distinct // self.depth}" for i in range(self.depth)]
        x = run_layers(self, self._block, names, x, mask, rest)
        if self.pre_norm:
            x = LayerNorm(self.eps, name="final_norm")(x)
        if self.pool == "none":
            return jnp.where(mask[:, :, None], x.astype(jnp.float32), 0.0)
        x = self._pool(x, mask)
        if self.bag:
            x = jnp.concatenate([x, self._words(ids, mask, training)], axis=-1)
        if self.projection:
            up = nn.Dense(
                self.projection, use_bias=False, dtype=self.dtype, name="projection"
            )
            x = up(x).astype(jnp.float32)
        return x

    def _embed(self, ids, key) -> Shaped[Array, "B T D"]:
        length, width = ids.shape[1], self.embedding_width or self.width
        if length > self.max_length:
            raise ValueError(
                f"texts of {length} tokens; the encoder has {self.max_length} positions"
            )
        first, last = self.position_offset, self.position_offset + length
        rows = self.position_offset + self.max_length
        table = self.param("token_embedding", TOKEN_INIT, (self.vocab_size, width))
        position = self.param("position", TOKEN_INIT, (rows, width))
        x = table[ids] + position[None, first:last]  # (B, T, D)
        if self.token_types:
            kinds = self.param("type_embedding", TOKEN_INIT, (self.token_types, width))
            x = x + kinds[None, :1]
        if self.embedding_norm:
            x = LayerNorm(self.eps, name="embedding_norm")(x)
        x = dropped(x.astype(self.dtype), rate=self.dropout, key=key)
        if self.embedding_width:
            x = nn.Dense(self.width, dtype=self.dtype, name="embedding_projection")(x)
        return x

    def _words(self, ids, mask, training) -> Float[Array, "B _"]:
        table = self.param("bag_embedding", TOKEN_INIT, (self.vocab_size, self.bag))
        x = LayerNorm(name="bag_norm")(masked_mean(table[ids], mask))
        return nn.Dropout(self.bag_dropout, deterministic=not training)(x)

    def _block(self, **place) -> TransformerBlock:
        return TransformerBlock(
            self.heads,
            self.mlp,
            self.dropout,
            self.pre_norm,
            self.dtype,
            self.eps,
            self.activation,
            self.causal,
            by=self.how.attention,
            **place,
        )

    def _pool(self, x, mask) -> Float[Array, "B D"]:
        if self.pool != "map":
            return pool_tokens(x, mask, self.pool)
        shape = self.heads, self.mlp, self.dtype, self.eps, self.activation
        return AttentionPool(*shape, self.how.attention, name="pool")(x, mask)
