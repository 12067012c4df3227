"""Residual network (ResNet-18 and -50 shapes, and smaller): one vector per picture."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hsjax.models.layers import BatchNorm, GroupNorm

# name -> (side, stride) of each convolution before the first stage
STEMS = {"small": ((3, 1),), "strided": ((3, 2), (3, 2)), "large": ((7, 2),)}
EXPANSION = {"basic": 1, "bottleneck": 4}


class ResNet(nn.Module):
    """f_v of Paper A, eq. 4, by convolutions: (B, H, W, 3) -> (B, D).

    He et al., 2016, in the v1 order; D is the last width, 4 times it for bottlenecks.

    Args:
      stem: `small` = 3x3 for small pictures, `strided` = two 3x3 of stride 2 (fast on a
        CPU), `large` = 7x7 stride 2 and max pooling (the papers').
      block: basic (18, 34) or bottleneck (50).
      stages: blocks per stage; each stage after the first halves the sides.
      widths: channels per stage before expansion.
      norm: `group` (default from scratch) or `batch`.
      stride_in: side of the convolution of a bottleneck that halves the picture: 3 (as
        most do today) or 1, the first of them (the paper).
      stem_width: channels before the first stage; 0 = the first width.
      frozen_stats: running statistics also in training, never changed (pretrained).
      pool: mean over the last map, or none: its cells, row by row, (B, P, D).
    """

    stem: str
    block: str
    stages: Sequence[int]
    widths: Sequence[int]
    norm: str
    dropout: float
    dtype: jnp.dtype
    stride_in: int = 3
    stem_width: int = 0
    frozen_stats: bool = False
    pool: str = "mean"

    @nn.compact
    def __call__(
        self, image: Float[Array, "B H W 3"], weight: Float[Array, "B"], training: bool
    ) -> Float[Array, "B D"] | Float[Array, "B P D"]:
        def norm(x, name):
            if self.norm == "batch":
                moving = training and not self.frozen_stats
                return BatchNorm(name=name)(x, weight, moving)
            return GroupNorm(name=name)(x)

        def conv(x, width, side, stride, name):
            pad = [(side // 2, side // 2)] * 2
            return nn.Conv(
                width,
                (side, side),
                stride,
                pad,
                use_bias=False,
                dtype=self.dtype,
                name=name,
            )(x)

        def block(x, width, stride, name):
            wide = width * EXPANSION[self.block]
            if self.block == "basic":
                plan = [(width, 3, stride), (wide, 3, 1)]
            else:
                first, second = (1, stride) if self.stride_in == 3 else (stride, 1)
                plan = [(width, 1, first), (width, 3, second), (wide, 1, 1)]
            y = x
            for i, (channels, side, step) in enumerate(plan):
                y = norm(
                    conv(y, channels, side, step, f"{name}_conv{i}"), f"{name}_norm{i}"
                )
                y = nn.relu(y) if i < len(plan) - 1 else y
            if stride != 1 or x.shape[-1] != wide:
                x = conv(x, wide, 1, stride, f"{name}_shortcut")
                x = norm(x, f"{name}_shortcut_norm")
            return nn.relu(x + y)

        x = image
        for i, (side, stride) in enumerate(STEMS[self.stem]):
            width = self.stem_width or self.widths[0]
            x = conv(x, width, side, stride, f"stem{i}")
            x = nn.relu(norm(x, f"stem{i}_norm"))
        if self.stem == "large":
            x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        for stage, (blocks, width) in enumerate(
            zip(self.stages, self.widths, strict=True)
        ):
            for i in range(blocks):
                stride = 2 if stage and i == 0 else 1
                x = block(x, width, stride, f"stage{stage}_block{i}")
        x = x.astype(jnp.float32)
        if self.pool == "none":
            return x.reshape(len(x), -1, x.shape[-1])
        x = x.mean(axis=(1, 2))
        return nn.Dropout(self.dropout, deterministic=not training)(x)
