"""Text transformer in BERT's shape: tokens and positions in, a vector per text out."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hsjax.models.layers import TOKEN_INIT, LayerNorm, TransformerBlock, pool_tokens


class TextEncoder(nn.Module):
    """f_t of Paper A, eq. 3: (B, T) tokens -> (B, D).

    Tokens outside the mask do not matter.

    Args:
      vocab_size: rows of the embedding table.
      max_length: positions.
      pre_norm: normalise before each branch (trains from scratch) or after it (BERT).
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

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B T"], mask: Bool[Array, "B T"], training: bool
    ) -> Float[Array, "B D"]:
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
        return pool_tokens(x, mask, self.pool)
