"""Floating-point operations of a forward pass, by a formula for each kind of layer.

Counted are matrix products and convolutions, a product and a sum as two. Look-ups,
norms, softmaxes, activations, dropout, losses and the optimizer are not, nor is what
`model.remat` computes again: this is what the model asks for, whoever computes it how.
A causal mask halves nothing, and padding counts as the tokens that it stands beside.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn

from hsjax.models.resnet import EXPANSION, STEMS, ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.vgg import VGG
from hsjax.models.vit import VisionTransformer


def dense(rows: int, inner: int, outer: int) -> int:
    """(rows, inner) by (inner, outer).

    >>> dense(2, 3, 5)
    60
    """
    return 2 * rows * inner * outer


def convolution(cells: int, side: int, inner: int, outer: int) -> int:
    """A square kernel at every cell of what comes out, also over the edge."""
    return dense(cells, side * side * inner, outer)


def attention(queries: int, keys: int, width: int) -> int:
    """Of all heads: queries with keys, then their weights with values."""
    return 2 * dense(queries, width, keys)


def transformer_block(tokens: int, width: int, mlp: int) -> int:
    """Queries, keys and values; attention; its output; an MLP of two layers.

    2 T (4 D^2 + 2 D M) + 4 T^2 D for T tokens, width D and hidden width M.

    >>> transformer_block(2, 3, 5)
    312
    """
    projections = dense(tokens, width, 3 * width) + dense(tokens, width, width)
    return (
        projections + attention(tokens, tokens, width) + 2 * dense(tokens, width, mlp)
    )


def attention_pool(tokens: int, width: int, mlp: int) -> int:
    """One learned query, projected as the tokens are, and its MLP."""
    projected = dense(tokens + 1, width, 3 * width) + dense(1, width, width)
    return projected + attention(1, tokens, width) + 2 * dense(1, width, mlp)


def text_encoder(module: TextEncoder, tokens: int) -> int:
    """Of one text of so many tokens."""
    m, inner = module, module.embedding_width
    found = dense(tokens, inner, m.width) if inner else 0
    found += m.depth * transformer_block(tokens, m.width, m.mlp)
    found += attention_pool(tokens, m.width, m.mlp) if m.pool == "map" else 0
    if m.projection and m.pool != "none":
        found += dense(1, m.width + m.bag, m.projection)
    return found


def vision_transformer(module: VisionTransformer, size: tuple[int, int]) -> int:
    """Of one picture of (height, width)."""
    m, patches = module, (size[0] // module.patch) * (size[1] // module.patch)
    lead = m.tokens
    lead = (("cls",) if m.pool == "cls" else ()) if lead is None else lead
    found = convolution(patches, m.patch, 3, m.width)
    found += m.depth * transformer_block(patches + len(lead), m.width, m.mlp)
    found += attention_pool(patches, m.width, m.mlp) if m.pool == "map" else 0
    if m.projection and m.pool != "none":
        found += dense(1, m.width, m.projection)
    return found


def resnet(module: ResNet, size: tuple[int, int]) -> int:
    """Of one picture of (height, width)."""
    m, found, inner = module, 0, 3
    for side, stride in STEMS[m.stem]:
        outer, size = m.stem_width or m.widths[0], _strided(size, stride)
        found += convolution(size[0] * size[1], side, inner, outer)
        inner = outer
    size = _strided(size, 2) if m.stem == "large" else size
    for stage, (blocks, width) in enumerate(zip(m.stages, m.widths, strict=True)):
        for i in range(blocks):
            stride = 2 if stage and i == 0 else 1
            found += _residual(m, size, inner, width, stride)
            size, inner = _strided(size, stride), width * EXPANSION[m.block]
    return found


def _residual(m: ResNet, size, inner: int, width: int, stride: int) -> int:
    """A block of ResNet, with its shortcut where it needs one."""
    after = _strided(size, stride)
    large, small = size[0] * size[1], after[0] * after[1]
    wide = width * EXPANSION[m.block]
    shortcut = stride != 1 or inner != wide
    found = convolution(small, 1, inner, wide) if shortcut else 0
    if m.block == "basic":
        found += convolution(small, 3, inner, width)
        return found + convolution(small, 3, width, wide)
    first = large if m.stride_in == 3 else small
    found += convolution(first, 1, inner, width)
    found += convolution(small, 3, width, width)
    return found + convolution(small, 1, width, wide)


def _strided(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def vgg(module: VGG, size: tuple[int, int]) -> int:
    """Of one picture of (height, width)."""
    m, found, inner = module, 0, 3
    for count, width in zip(m.stages, m.widths, strict=True):
        for _ in range(count):
            found += convolution(size[0] * size[1], 3, inner, width)
            inner = width
        size = size[0] // 2, size[1] // 2
    if m.pool == "fc7":
        found += dense(1, m.grid**2 * inner, m.hidden) + dense(1, m.hidden, m.hidden)
    return found


TOWERS: Mapping[type[nn.Module], Callable] = {
    TextEncoder: text_encoder,
    VisionTransformer: vision_transformer,
    ResNet: resnet,
    VGG: vgg,
}


def tower_flops(module: nn.Module, shape: int | tuple[int, int]) -> int:
    """Of one text of so many tokens, or one picture of (height, width)."""
    return TOWERS[type(module)](module, shape)
