"""Text transformer in BERT's shape: tokens and positions in, a vector per text out."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hsjax.models.layers import (
    TOKEN_INIT,
    LayerNorm,
    TransformerBlock,
    masked_mean,
    pool_tokens,
)


class TextEncoder(nn.Module):
    """f_t of Paper A, eq. 3: (B, T) tokens -> (B, D), or (B, D + bag).

    Tokens outside the mask do not matter.

    Args:
      vocab_size: rows of the embedding table.
      max_length: positions.
      pre_norm: normalise before each branch (trains from scratch) or after it (BERT).
      bag: width of a bag of tokens beside the transformer, which learns from few
        examples what a single word says (Cheng et al., 2016, wide and deep); 0 = none.
      bag_dropout: of the bag, in training.
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
    bag: int
    bag_dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B T"], mask: Bool[Array, "B T"], training: bool
    ) -> Float[Array, "B _"]:
        length = ids.shape[1]
        table = self.param("token_embedding", TOKEN_INIT, (self.vocab_size, self.width))
        position = self.param("position", TOKEN_INIT, (self.max_length, self.width))
        x = table[ids] + position[None, :length]  # (B, T, D)
        x = LayerNorm(name="embedding_norm")(x).astype(self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not training)(x)
        for i in range(self.depth):
            x = TransformerBlock(
                self.heads,
                self.mlp,
                self.dropout,
                self.pre_norm,
                self.dtype,
                name=f"layer{i}",
            )(x, mask, training)
        if self.pre_norm:
            x = LayerNorm(name="final_norm")(x)
        x = pool_tokens(x, mask, self.pool)
        if self.bag:
            words = self.param("bag_embedding", TOKEN_INIT, (self.vocab_size, self.bag))
            words = LayerNorm(name="bag_norm")(masked_mean(words[ids], mask))
            words = nn.Dropout(self.bag_dropout, deterministic=not training)(words)
            x = jnp.concatenate([x, words], axis=-1)
        return x
