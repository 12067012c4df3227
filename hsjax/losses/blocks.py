"""What a block of pairs adds to a contrastive loss, and how the loss falls back on it.

Of every anchor, a text among pictures or a picture among texts, a loss needs sums over
all others j of the batch, which may be taken block by block. With s_ij = scale * text_i
. image_j, targets t_ij and pushes w_ij (1 but for `tree_negatives`):

    mass_i   = log sum of w_ij exp(s_ij)     over negatives and targets (softmax losses)
             = sum of log(1 + exp(s_ij + b))  over negatives (`sigmoid`)
    pulled_i = sum of t_ij s_ij               total_i = sum of t_ij

Their slopes need nothing of other blocks but the finished mass_i:

    d mass_i / d s_ij = w_ij exp(s_ij - mass_i), or 1 / (1 + exp(-s_ij - b))
    d pulled_i / d s_ij = t_ij

The pair (i, i) is in none of them. It is added at the end, outside of blocks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hsjax.losses.contrastive import LABEL_AWARE
from hsjax.losses.pairs import Kin, similarity


class Asked(NamedTuple):
    """What is the same for all blocks: see `Pairs`.

    Attributes:
      kind: of `CONTRASTS`.
    """

    kind: str
    direction: str
    branch: bool
    hardest: int
    softness: float

    @property
    def ways(self) -> tuple[bool, bool]:
        """Are texts anchors, are pictures?"""
        return self.direction != "i2t", self.direction != "t2i"

    @property
    def targets(self) -> bool:
        """Are there other targets than the own pair?"""
        return self.kind in ("supervised", "tree_positives")

    @property
    def reads_kin(self) -> bool:
        return self.branch or self.kind in LABEL_AWARE


class Facts(NamedTuple):
    """What is known of rows, alike of their texts and of their pictures.

    Attributes:
      number: (B,) place in the batch, from 1; 0 = none, a row that fills up a block.
      group: (B,) as in `Pairs`.
      there: (B,) are they somebody's candidates?
      kin: where labels are looked at.
    """

    number: Int[Array, "B"]
    group: Int[Array, "B"]
    there: Bool[Array, "B"]
    kin: Kin | None


class Known(NamedTuple):
    """What is known of the pairs of a block, from whichever side.

    Attributes:
      own: (R, C) one row's text and picture.
      other: (R, C) texts and pictures of different groups.
      near: (R, C) similarity of their labels, where a loss looks at them.
    """

    own: Bool[Array, "R C"]
    other: Bool[Array, "R C"]
    near: Float[Array, "R C"] | None


class Part(NamedTuple):
    """How the pairs of a block take part in the loss of the anchors of one side.

    Attributes:
      negative: (R, C) those that push.
      some: (R, C) those without any of which an anchor has no weight.
      push: (R, C) w of the negatives, None = 1.
      target: (R, C) t, None = 0.
    """

    negative: Bool[Array, "R C"]
    some: Bool[Array, "R C"]
    push: Float[Array, "R C"] | None = None
    target: Float[Array, "R C"] | None = None


class Sums(NamedTuple):
    """(B,) of the anchors of one side: see above.

    Attributes:
      some: is there any negative?
      pulled, total: None without targets.
    """

    mass: Float[Array, "B"]
    some: Bool[Array, "B"]
    pulled: Float[Array, "B"] | None
    total: Float[Array, "B"] | None


def known_of(asked: Asked, rows: Facts, columns: Facts) -> Known:
    """Of the texts of `rows` and the pictures of `columns`."""
    return Known(
        own=rows.number[:, None] == columns.number[None],
        other=rows.group[:, None] != columns.group[None],
        near=similarity(rows.kin, columns.kin) if asked.reads_kin else None,
    )


def part_of(asked: Asked, known: Known, there: Bool[Array, "#R #C"]) -> Part:
    """The masks of `contrastive`, for a block.

    Args:
      there: of the candidates, along their axis.
    """
    other = known.other & there
    negative = other & (known.near > 0) if asked.branch else other
    if asked.kind == "supervised":
        positive = (known.near == 1) & there & ~known.own
        negative &= ~positive
        return Part(negative, negative, target=positive.astype(jnp.float32))
    if asked.kind == "tree_positives":
        target = jnp.where(other, asked.softness * known.near, 0.0)
        return Part(negative & ~(target > 0), negative, target=target)
    if asked.kind == "tree_negatives":
        push = 1.0 - asked.softness * known.near
        negative &= push > 0
        return Part(negative, negative, push=push)
    return Part(negative, negative)


def no_sums(asked: Asked, like: Float[Array, "B"]) -> Sums:
    """Of no pairs at all."""
    none = jnp.zeros_like(like)
    mass = none if asked.kind == "sigmoid" else jnp.full_like(like, -jnp.inf)
    targets = (none, none) if asked.targets else (None, None)
    return Sums(mass, jnp.zeros_like(like, bool), *targets)


def with_block(
    asked: Asked, sums: Sums, part: Part, s: Float[Array, "R C"], bias, *, axis: int
) -> Sums:
    """The sums with those of one more block.

    Args:
      axis: along which the candidates are.
    """
    some = sums.some | part.some.any(axis=axis)
    if asked.kind == "sigmoid":
        pushed = jnp.where(part.negative, jax.nn.softplus(s + bias), 0.0)
        return Sums(sums.mass + pushed.sum(axis=axis), some, None, None)
    kept, z = _softmax(part, s)
    mass = jnp.logaddexp(sums.mass, jax.nn.logsumexp(z, axis=axis, where=kept))
    if part.target is None:
        return Sums(mass, some, None, None)
    pulled = jnp.where(part.target > 0, part.target * s, 0.0).sum(axis=axis)
    total = sums.total + part.target.sum(axis=axis)
    return Sums(mass, some, sums.pulled + pulled, total)


def slopes(
    asked: Asked,
    part: Part,
    s: Float[Array, "R C"],
    bias,
    mass: Float[Array, "B"],
    by: Sums,
    *,
    axis: int,
) -> Float[Array, "R C"]:
    """d loss / d s of a block, of the anchors of one side.

    Args:
      mass: of the whole batch.
      by: d loss / d sums.
    """
    by_mass = jnp.expand_dims(by.mass, axis)
    if asked.kind == "sigmoid":
        return jnp.where(part.negative, by_mass * jax.nn.sigmoid(s + bias), 0.0)
    kept, z = _softmax(part, s)
    found = jnp.where(kept, by_mass * jnp.exp(z - jnp.expand_dims(mass, axis)), 0.0)
    if part.target is None:
        return found
    return found + jnp.expand_dims(by.pulled, axis) * part.target


def _softmax(part: Part, s: Float[Array, "R C"]):
    """(pairs in the sum of exponentials, their exponents)."""
    kept = part.negative
    if part.target is not None:
        kept |= part.target > 0
    if part.push is not None:
        s = s + jnp.log(jnp.where(kept, part.push, 1.0))
    return kept, s
