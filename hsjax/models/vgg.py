"""VGG: plain 3x3 convolutions; the last hidden layer or an average of the last map."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped


class VGG(nn.Module):
    """f_v of Paper A, eq. 4, by 3x3 convolutions: (B, H, W, 3) -> (B, D).

    Simonyan and Zisserman, 2015; VGG16 is stages (2, 2, 3, 3, 3), widths (64, 128,
    256, 512, 512), hidden 4096, grid 7.

    Args:
      stages: convolutions per stage; each stage ends with 2x2 max pooling.
      widths: channels per stage.
      hidden: width of the two dense layers.
      grid: side to which the last map is averaged before the dense layers.
      pool: fc7 answers with the second dense layer after its ReLU, D = hidden; mean
        with the average of the last stage, D = the last width, without dense layers;
        none with its cells, row by row, (B, P, D).
      dropout: after each dense layer, or after the average.
    """

    stages: Sequence[int]
    widths: Sequence[int]
    hidden: int
    grid: int
    pool: str
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, image: Float[Array, "B H W 3"], weight: Float[Array, "B"], training: bool
    ) -> Float[Array, "B D"] | Float[Array, "B P D"]:
        del weight  # nothing here looks across the batch
        x = image
        for stage, (count, width) in enumerate(
            zip(self.stages, self.widths, strict=True)
        ):
            for i in range(count):
                name = f"stage{stage}_conv{i}"
                pad = [(1, 1)] * 2
                conv = nn.Conv(width, (3, 3), padding=pad, dtype=self.dtype, name=name)
                x = nn.relu(conv(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        drop = nn.Dropout(self.dropout, deterministic=not training)
        if self.pool == "none":
            return x.reshape(len(x), -1, x.shape[-1]).astype(jnp.float32)
        if self.pool == "mean":
            return drop(x.astype(jnp.float32).mean(axis=(1, 2)))
        x = average_to(x, self.grid)
        # channels first, as the published dense layers count their inputs
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        for name in ("fc6", "fc7"):
            x = drop(nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name=name)(x)))
        return x.astype(jnp.float32)


def average_to(x: Shaped[Array, "B H W D"], side: int) -> Shaped[Array, "B _ _ D"]:
    """Averages of `side` x `side` cells, which overlap where the sides do not divide.

    Cell i of n covers floor(i * H / n) to ceil((i + 1) * H / n).
    """
    if x.shape[1:3] == (side, side):
        return x
    down, across = (
        jnp.asarray(_cell_weights(old, side), x.dtype) for old in x.shape[1:3]
    )
    return jnp.einsum("ah,nhwd,bw->nabd", down, x, across, precision="highest")


def _cell_weights(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Row i averages the samples of cell i."""
    weights = np.zeros((new, old), np.float32)
    for i in range(new):
        first, last = i * old // new, -((-(i + 1) * old) // new)
        weights[i, first:last] = 1 / (last - first)
    return weights
