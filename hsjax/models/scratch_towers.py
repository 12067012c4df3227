"""Towers of the classifier that begin with random parameters."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from hsjax.models.depth import AS_EVER, Execution
from hsjax.models.resnet import ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.vit import VisionTransformer

SCRATCH_POOL = "mean"  # of a tower that is not told another one
STATES = "none"  # the pool that keeps every token, patch or cell
IMAGE_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    # no tower of equal layers
    "resnet": lambda c, how, **kw: ResNet(
        *(c.stem, c.block, tuple(c.stages), tuple(c.widths), c.norm, c.dropout), **kw
    ),
    "vit": lambda c, how, **kw: VisionTransformer(
        *(c.patch, c.width, c.depth, c.heads, c.mlp, c.dropout),
        **({"pool": c.pool or SCRATCH_POOL, "how": how} | kw),
    ),
}


def image_tower(
    c, *, dtype: jnp.dtype, how: Execution = AS_EVER, name: str, **pool
) -> nn.Module:
    """Of a config's `model.image`; another `pool` may be given."""
    return IMAGE_ENCODERS[c.family](c, how=how, dtype=dtype, name=name, **pool)


def text_tower(
    c,
    *,
    vocab_size: int,
    max_length: int,
    dtype: jnp.dtype,
    how: Execution = AS_EVER,
    name: str,
    pool: str = "",
) -> TextEncoder:
    """Of a config's `model.text`, or of a stream's own settings there.

    Args:
      pool: another one than the config's.
    """
    return TextEncoder(
        vocab_size,
        max_length,
        c.width,
        c.depth,
        c.heads,
        c.mlp,
        c.dropout,
        pool or c.pool or SCRATCH_POOL,
        c.pre_norm,
        dtype,
        bag=c.bag,
        bag_dropout=c.bag_dropout,
        how=how,
        name=name,
    )
