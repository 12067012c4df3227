"""Vision transformer (ViT): patches in, one vector per picture out."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from hsjax.models.depth import Execution, run_layers
from hsjax.models.layers import TOKEN_INIT, LayerNorm, pool_tokens
from hsjax.models.transformer import (
    AttentionPool,
    TransformerBlock,
    dropout_keys,
    dropped,
)


class VisionTransformer(nn.Module):
    """f_v of Paper A, eq. 4, by patches: (B, H, W, 3) -> (B, D).

    Dosovitskiy et al., 2021. The options after `dtype` are what published families do
    otherwise; `image_families` sets them from a config.json.

    Args:
      patch: side of a patch; what is left over at the lower and right edge is not seen.
      pool: cls answers with the first token; mean, max and map (attention pooling)
        with the patches, without the tokens before them; none gives the states of the
        patches, (B, P, D), before projection.
      eps: of all norms.
      activation: of the MLPs, a name of ACTIVATIONS.
      layer_scale: start of a learned factor per channel on each branch; 0 = none.
      tokens: learned tokens before the patches, by name; None = `cls_token` where
        `pool` is cls. (DeiT: cls_token, distillation_token.)
      grid: (rows, columns) of patches that the position table holds, interpolated to
        other pictures; None = those of the picture that it was initialised with.
      patch_bias: of the patch embedding (not CLIP).
      embedding_norm: normalise the tokens before the first layer (CLIP).
      projection: width of a last linear map without bias; 0 = none.
      how: layers are computed, see `depth`.
    """

    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    dropout: float
    pool: str
    dtype: jnp.dtype
    eps: float = 1e-6
    activation: str = "gelu"
    layer_scale: float = 0.0
    tokens: Sequence[str] | None = None
    grid: tuple[int, int] | None = None
    patch_bias: bool = True
    embedding_norm: bool = False
    projection: int = 0
    how: Execution = Execution()

    @nn.compact
    def __call__(
        self, image: Float[Array, "B H W 3"], weight: Float[Array, "B"], training: bool
    ) -> Float[Array, "B _"] | Float[Array, "B _ _"]:
        del weight  # nothing here looks across the batch
        tokens = self.tokens
        if tokens is None:
            tokens = ("cls_token",) if self.pool == "cls" else ()
        first, rest = dropout_keys(self, training)
        x = self._embed(image, tokens, first)
        names = [f"layer{i}" for i in range(self.depth)]
        x = run_layers(self, self._block, names, x, None, rest)
        x = LayerNorm(self.eps, name="final_norm")(x)
        if self.pool == "none":
            return x[:, len(tokens) :].astype(jnp.float32)
        x = self._pool(x, len(tokens))
        if self.projection:
            up = nn.Dense(
                self.projection, use_bias=False, dtype=self.dtype, name="projection"
            )
            x = up(x).astype(jnp.float32)
        return x

    def _embed(self, image, tokens, key) -> Shaped[Array, "B T D"]:
        window = (self.patch, self.patch)
        x = nn.Conv(
            self.width,
            window,
            window,
            padding="VALID",
            use_bias=self.patch_bias,
            dtype=self.dtype,
            name="patch_embedding",
        )(image)
        size = x.shape[1:3]
        x = x.reshape(len(x), -1, self.width)  # (B, P, D)
        shape = (1, 1, self.width)
        learned = [self.param(name, TOKEN_INIT, shape) for name in tokens]
        lead = [
            jnp.broadcast_to(token.astype(x.dtype), (len(x), *shape[1:]))
            for token in learned
        ]
        x = jnp.concatenate([*lead, x], axis=1) if lead else x
        x = x + self._positions(size, len(tokens))[None].astype(x.dtype)
        if self.embedding_norm:
            x = LayerNorm(self.eps, name="embedding_norm")(x)
        return dropped(x, rate=self.dropout, key=key)

    def _positions(self, size, lead) -> Float[Array, "T D"]:
        """The table, its patches resampled to `size` where that is another grid."""
        grid = size if self.grid is None else self.grid
        rows = lead + grid[0] * grid[1]
        table = self.param("position", TOKEN_INIT, (rows, self.width))
        if tuple(size) == tuple(grid):
            return table
        patches = table[lead:].reshape(*grid, self.width)
        patches = resize_bicubic(patches, size).reshape(-1, self.width)
        return jnp.concatenate([table[:lead], patches])

    def _block(self, **place) -> TransformerBlock:
        return TransformerBlock(
            self.heads,
            self.mlp,
            self.dropout,
            True,
            self.dtype,
            self.eps,
            self.activation,
            layer_scale=self.layer_scale,
            by=self.how.attention,
            **place,
        )

    def _pool(self, x, lead) -> Float[Array, "B D"]:
        if self.pool == "map":
            shape = self.heads, self.mlp, self.dtype, self.eps, self.activation
            pool = AttentionPool(*shape, self.how.attention, name="pool")
            return pool(x[:, lead:], None)
        x = x if self.pool == "cls" else x[:, lead:]
        return pool_tokens(x, jnp.ones(x.shape[:2], bool), self.pool)


def resize_bicubic(
    table: Float[Array, "H W D"], size: tuple[int, int]
) -> Float[Array, "_ _ D"]:
    """A grid of vectors at another (height, width), by cubic convolution.

    Keys, 1981, with a = -0.75, pixel centres at half (align_corners=False), the edge
    repeated, and no blur where it shrinks (antialias=False): the variant by which
    the published families move their position embeddings, and not that of
    jax.image.resize (a = -0.5, weights beyond the edge dropped).
    """
    down, across = (
        jnp.asarray(_cubic_weights(old, new))
        for old, new in zip(table.shape, size, strict=False)
    )
    return jnp.einsum("ah,hwd,bw->abd", down, table, across, precision="highest")


def _cubic_weights(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Row i holds what each of `old` samples gives to sample i of `new`."""
    a, weights = -0.75, np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        first = int(np.floor(centre)) - 1
        for j in range(first, first + 4):
            x = abs(centre - j)
            near = ((a + 2) * x - (a + 3)) * x * x + 1
            far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
            weights[i, min(max(j, 0), old - 1)] += near if x <= 1 else far
    return weights.astype(np.float32)
