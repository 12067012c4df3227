"""Towers of the classifier that begin with random parameters."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from hsjax.models.resnet import ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.vit import VisionTransformer

SCRATCH_POOL = "mean"  # of a tower that is not told another one
IMAGE_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "resnet": lambda c, **kw: ResNet(
        c.stem, c.block, tuple(c.stages), tuple(c.widths), c.norm, c.dropout, **kw
    ),
    "vit": lambda c, **kw: VisionTransformer(
        *(c.patch, c.width, c.depth, c.heads, c.mlp, c.dropout),
        c.pool or SCRATCH_POOL,
        **kw,
    ),
}


def image_tower(c, *, dtype: jnp.dtype, name: str) -> nn.Module:
    """Of a config's `model.image`."""
    return IMAGE_ENCODERS[c.family](c, dtype=dtype, name=name)


def text_tower(
    c, *, vocab_size: int, max_length: int, dtype: jnp.dtype, name: str
) -> TextEncoder:
    """Of a config's `model.text`, or of a stream's own settings there."""
    return TextEncoder(
        vocab_size,
        max_length,
        c.width,
        c.depth,
        c.heads,
        c.mlp,
        c.dropout,
        c.pool or SCRATCH_POOL,
        c.pre_norm,
        dtype,
        bag=c.bag,
        bag_dropout=c.bag_dropout,
        name=name,
    )
