"""Rows in blocks of equal size, so that a pass over all of them holds one at a time."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

# fewer digits, as matrix units have by default, move a mean by more than an iteration
dot = partial(jnp.matmul, precision="highest")


class Rows(NamedTuple):
    """The last block is filled with rows of weight 0, whose `x` is 0.

    Attributes:
      x: less the mean of all rows: of long vectors close together, squared distances
        would be differences of large numbers.
      weight: 0 = padding.
      pinned: the cluster of a row that may not move, -1 = free.
    """

    x: Float[Array, "*blocks block D"]
    weight: Float[Array, "*blocks block"]
    pinned: Integer[Array, "*blocks block"]


@partial(jax.jit, static_argnames="block")
def in_blocks(
    x: Float[Array, "N D"],
    weight: Float[Array, "N"],
    pinned: Integer[Array, "N"],
    *,
    block: int,
) -> tuple[Rows, Float[Array, "D"]]:
    """Rows in blocks, and the mean that was taken from each."""
    there, missing = weight[:, None] > 0, -len(x) % block
    rows = jnp.maximum(there.sum(), 1).astype(jnp.float32)
    mean = jnp.where(there, x, 0.0).sum(axis=0) / rows
    x = jnp.pad(jnp.where(there, x - mean[None], 0.0), ((0, missing), (0, 0)))
    weight = jnp.pad(weight, (0, missing))
    pinned = jnp.pad(pinned, (0, missing), constant_values=-1)
    shape = (-1, block)
    x = x.reshape(*shape, x.shape[1])
    return Rows(x, weight.reshape(shape), pinned.reshape(shape)), mean


def nearest(
    part: Rows, centres: Float[Array, "K D"]
) -> tuple[Integer[Array, "block"], Float[Array, "block"]]:
    """Of one block: the nearest centre, a pinned row's own, and its distance squared.

    The first of equals.
    """
    score = (centres**2).sum(axis=1)[None] - 2 * dot(part.x, centres.T)  # (block, K)
    found = jnp.argmin(score, axis=1).astype(jnp.int32)
    found = jnp.where(part.pinned >= 0, part.pinned, found)
    # not from the score, which has lost digits that small distances need
    return found, ((part.x - centres[found]) ** 2).sum(axis=1)


def runner_up(
    part: Rows, centres: Float[Array, "K D"], found: Integer[Array, "block"]
) -> Float[Array, "block"]:
    """Of one block: squared distance to the nearest centre but `found`, inf of none."""
    score = (centres**2).sum(axis=1)[None] - 2 * dot(part.x, centres.T)  # (block, K)
    own = jax.nn.one_hot(found, len(centres), dtype=bool)
    score = jnp.where(own, jnp.inf, score)
    gap = ((part.x - centres[jnp.argmin(score, axis=1)]) ** 2).sum(axis=1)
    return jnp.where(jnp.isinf(score).all(axis=1), jnp.inf, gap)


def class_sums(
    part: Rows, member: Integer[Array, "block"], classes: int
) -> tuple[Float[Array, "K D"], Float[Array, "K"]]:
    """Of one block: weighted sum and weight of each class's rows; -1 is in none.

    By a product of matrices: on a GPU the order of scattered sums changes by the run.
    """
    belongs = jax.nn.one_hot(member, classes) * part.weight[:, None]
    return dot(belongs.T, part.x), belongs.sum(axis=0)
