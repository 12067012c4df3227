"""Vision transformer (ViT): patches in, one vector per picture out."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hsjax.models.layers import TOKEN_INIT, LayerNorm, TransformerBlock, pool_tokens


class VisionTransformer(nn.Module):
    """f_v of Paper A, eq. 4, by patches: (B, H, W, 3) -> (B, D).

    Dosovitskiy et al., 2021.

    Args:
      patch: side of a patch; must divide both sides of the picture.
      pool: cls adds a class token and answers with it; mean averages the patches.
    """

    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    dropout: float
    pool: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, image: Float[Array, "B H W 3"], weight: Float[Array, "B"], training: bool
    ) -> Float[Array, "B D"]:
        del weight  # nothing here looks across the batch
        window = (self.patch, self.patch)
        embed = nn.Conv(
            self.width,
            window,
            window,
            padding="VALID",
            dtype=self.dtype,
            name="patch_embedding",
        )
        x = embed(image)
        x = x.reshape(len(x), -1, self.width)  # (B, P, D)
        if self.pool == "cls":
            cls = self.param("cls_token", TOKEN_INIT, (1, 1, self.width)).astype(
                x.dtype
            )
            x = jnp.concatenate(
                [jnp.broadcast_to(cls, (len(x), 1, self.width)), x], axis=1
            )
        position = self.param("position", TOKEN_INIT, (x.shape[1], self.width))
        x = x + position[None].astype(x.dtype)
        x = nn.Dropout(self.dropout, deterministic=not training)(x)
        for i in range(self.depth):
            x = TransformerBlock(
                self.heads, self.mlp, self.dropout, True, self.dtype, name=f"layer{i}"
            )(x, None, training)
        x = LayerNorm(name="final_norm")(x)
        return pool_tokens(x, jnp.ones(x.shape[:2], bool), self.pool)
