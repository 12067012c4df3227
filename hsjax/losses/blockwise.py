"""The contrastive family without its (B, B) matrices, in blocks that pass by.

The loss is that of the whole batch, with all its masks. What is kept of the pairs are
sums of (B,) and gradients of (B, E): softmax losses add up their partition as the
online softmax does (Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867).

The gradient is written down, not traced. With g_ij = d loss / d s_ij, which a block has
from the finished sums (see `blocks`),

    d loss / d text_i = scale * sum over j of g_ij image_j, the picture's likewise
    d loss / d scale = sum of g_ij (text_i . image_j)      d loss / d b = sum of g_ij

so a second sweep makes every block once more, in place of keeping it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hsjax.losses.blocks import (
    Asked,
    Facts,
    Part,
    Sums,
    known_of,
    no_sums,
    part_of,
    slopes,
    with_block,
)
from hsjax.losses.pairs import Pairs, exact_product
from hsjax.losses.sweeps import Chunked, Ring

# of cosines: a block that is made again is the same but for it, and the last of the
# hardest negatives must be found again
ROUNDING = 1e-6


class Side(NamedTuple):
    """The texts, or the pictures.

    Attributes:
      x: (B, E) unit length.
      bar: (B,) similarity of the last of the hardest negatives.
      mass: (B,) finished, where slopes are asked for.
      by: d loss / d sums, likewise.
    """

    x: Float[Array, "B E"]
    facts: Facts
    bar: Float[Array, "B"] | None = None
    mass: Float[Array, "B"] | None = None
    by: Sums | None = None


def blockwise(kind: str, sweep: Chunked | Ring) -> Callable:
    """A loss of `CONTRASTS` with the same arguments and values, in blocks.

    Of `hardest`, negatives whose cosines differ by less than 1e-6 are equally hard.
    """

    def loss(text, image, scale, pairs: Pairs):
        number = jnp.arange(1, len(text) + 1, dtype=jnp.int32)
        asked = Asked(
            kind, pairs.direction, pairs.branch, pairs.hardest, pairs.softness
        )
        kin = pairs.kin if asked.reads_kin else None
        facts = Facts(number, pairs.group, pairs.weight > 0, kin)
        bias = pairs.bias if kind == "sigmoid" else None
        found = _all_sums(asked, sweep, text, image, scale, bias, facts)
        told = text.astype(jnp.float32) * image.astype(jnp.float32)
        own = scale * told.sum(axis=1)
        values = [_value(asked, sums, own, bias) for sums in found if sums is not None]
        some = next(sums.some for sums in found if sums is not None)
        return sum(values) / len(values), jnp.where(some, pairs.weight, 0.0)

    return loss


def _value(asked: Asked, sums: Sums, own: Float[Array, "B"], bias):
    """(B,) the loss of each anchor, its own pair included."""
    if asked.kind == "sigmoid":
        return jax.nn.softplus(-own - bias) + sums.mass
    partition = jnp.logaddexp(sums.mass, own)
    if not asked.targets:
        return partition - own
    return partition - (sums.pulled + own) / (sums.total + 1.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _all_sums(asked: Asked, sweep, text, image, scale, bias, facts: Facts):
    """(sums of texts, sums of pictures), None where they are no anchors."""
    return _forward(asked, sweep, text, image, scale, bias, facts)[0]


def _forward(asked: Asked, sweep, text, image, scale, bias, facts: Facts):
    sides = Side(text, facts), Side(image, facts)
    like = jnp.zeros(len(text))
    if asked.hardest:
        best = jnp.full((len(text), min(asked.hardest, len(text))), -jnp.inf)
        start = [best if way else None for way in asked.ways]
        found = sweep(_visit_for_bars(asked), *sides, *start, (scale, bias))
        bars = [None if best is None else best[:, -1] for best in found]
        sides = [side._replace(bar=bar) for side, bar in zip(sides, bars, strict=True)]
    start = [no_sums(asked, like) if way else None for way in asked.ways]
    found = sweep(_visit_for_sums(asked), *sides, *start, (scale, bias))
    sides = [
        side._replace(mass=None if sums is None else sums.mass)
        for side, sums in zip(sides, found, strict=True)
    ]
    return found, (*sides, scale, bias)


def _backward(asked: Asked, sweep, kept, by):
    texts, images, scale, bias = kept
    sides = [
        side._replace(by=None if x is None else x._replace(some=None, total=None))
        for side, x in zip((texts, images), by, strict=True)
    ]
    like = [jnp.zeros(side.x.shape) for side in sides]
    start = (like[0], jnp.zeros(len(like[0]))), like[1]
    (text, total), image = sweep(
        _visit_for_slopes(asked), *sides, *start, (scale, bias)
    )
    by_scale = (texts.x.astype(jnp.float32) * text).sum()
    by_text = (scale * text).astype(texts.x.dtype)
    by_image = (scale * image).astype(images.x.dtype)
    by_bias = None if bias is None else total.sum()
    return by_text, by_image, by_scale, by_bias, None


_all_sums.defvjp(_forward, _backward)


def _parts(
    asked: Asked, rows: Side, columns: Side, scale
) -> tuple[Float[Array, "R C"], list[Part | None]]:
    """Similarities of a block, and how its pairs take part from either side."""
    s = scale * exact_product(rows.x, columns.x.T)
    known = known_of(asked, rows.facts, columns.facts)
    sides = (
        (columns.facts.there[None], rows.bar),
        (rows.facts.there[:, None], columns.bar),
    )
    parts = []
    for axis, way, (there, bar) in zip((1, 0), asked.ways, sides, strict=True):
        part = part_of(asked, known, there) if way else None
        if part is not None and bar is not None:
            hard = s >= jnp.expand_dims(bar, axis) - ROUNDING * scale
            part = part._replace(negative=part.negative & hard)
        parts.append(part)
    return s, parts


def _visit_for_bars(asked: Asked) -> Callable:
    """Collects the most similar negatives of every anchor, the least similar last."""

    def visit(rows, columns, of_rows, of_columns, shared):
        s, parts = _parts(asked, rows, columns, shared[0])
        found = []
        for axis, part, best in zip((1, 0), parts, (of_rows, of_columns), strict=True):
            if part is not None:
                pushing = jnp.where(part.negative, s, -jnp.inf)
                pushing = pushing if axis else pushing.T  # anchors first
                every = jnp.concatenate([best, pushing], axis=1)
                best, _ = jax.lax.top_k(every, best.shape[1])
            found.append(best)
        return tuple(found)

    return visit


def _visit_for_sums(asked: Asked) -> Callable:
    def visit(rows, columns, of_rows, of_columns, shared):
        scale, bias = shared
        s, parts = _parts(asked, rows, columns, scale)
        sides = zip((1, 0), parts, (of_rows, of_columns), strict=True)
        return tuple(
            None if part is None else with_block(asked, sums, part, s, bias, axis=axis)
            for axis, part, sums in sides
        )

    return visit


def _visit_for_slopes(asked: Asked) -> Callable:
    """Adds up d loss / d x, without the factor of the scale, and the sum of slopes."""

    def visit(rows, columns, of_rows, of_columns, shared):
        scale, bias = shared
        s, parts = _parts(asked, rows, columns, scale)
        slope = sum(
            slopes(asked, part, s, bias, side.mass, side.by, axis=axis)
            for axis, part, side in zip((1, 0), parts, (rows, columns), strict=True)
            if part is not None
        )
        (text, total), image = of_rows, of_columns
        text += exact_product(slope, columns.x.astype(jnp.float32))
        image += exact_product(slope.T, rows.x.astype(jnp.float32))
        return (text, total + slope.sum(axis=1)), image

    return visit
