"""Greedy k-means++: where the centres of K-means start."""

from math import log

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from hsjax.features.row_blocks import Rows, class_sums, dot, nearest

GROUP = 1024


def seed_centres(
    rows: Rows, key: Key[Array, ""], *, clusters: int, known: int
) -> Float[Array, "K D"]:
    """The means of the known classes' pinned rows, then rows that are free.

    Each next centre is, of 2 + log K rows that are drawn by their squared distance to
    the nearest centre so far, the one that leaves the least sum of them (Arthur and
    Vassilvitskii 2007, https://dl.acm.org/doi/10.5555/1283383.1283494, section 6).
    The very first, where no class is known, is any row.
    """
    free = jnp.where(rows.pinned < 0, rows.weight, 0.0)
    trials = 2 + int(log(clusters))
    every = rows.x.reshape(-1, rows.x.shape[-1])
    first = _class_means(rows, known) if known else every[_draw(key, free, 1)]
    unpinned = rows._replace(pinned=jnp.full_like(rows.pinned, -1))
    gap = jax.lax.map(lambda part: nearest(part, first)[1], unpinned)
    centres = jnp.zeros((clusters, every.shape[1])).at[: len(first)].set(first)

    def add(number, state):
        centres, gap = state
        drawn = _draw(jax.random.fold_in(key, number), gap * free, trials)
        left = _left_by(every[drawn], rows.x, gap, free)
        chosen = every[drawn[jnp.argmin(left)]]

        def nearer(part):
            x, gap = part
            return jnp.minimum(gap, ((x - chosen[None]) ** 2).sum(axis=1))

        return centres.at[number].set(chosen), jax.lax.map(nearer, (rows.x, gap))

    return jax.lax.fori_loop(len(first), clusters, add, (centres, gap))[0]


def _class_means(rows: Rows, known: int) -> Float[Array, "known D"]:
    def visit(sums, part):
        of_part = class_sums(part, part.pinned, known)
        return jax.tree.map(jnp.add, sums, of_part), None

    start = jnp.zeros((known, rows.x.shape[-1])), jnp.zeros(known)
    (total, weight), _ = jax.lax.scan(visit, start, rows)
    return total / weight[:, None]


def _draw(
    key: Key[Array, ""], mass: Float[Array, "blocks block"], count: int
) -> Integer[Array, "count"]:
    """Rows, each with its share of the mass; never one without any.

    First a group of rows, then one of the group: of a million rows summed up, each is
    as small as the rounding of the sum, which would decide, and differ by the block.
    """
    groups = jnp.pad(mass.reshape(-1), (0, -mass.size % GROUP)).reshape(-1, GROUP)
    first, second = jax.random.split(key)
    sums = groups.sum(axis=1)[None]
    group = _draw_columns(first, jnp.broadcast_to(sums, (count, len(groups))))
    return group * GROUP + _draw_columns(second, groups[group])


def _draw_columns(
    key: Key[Array, ""], mass: Float[Array, "count N"]
) -> Integer[Array, "count"]:
    upto = jnp.cumsum(mass, axis=1)
    target = jax.random.uniform(key, (len(mass), 1)) * upto[:, -1:]
    # sums that round may rise at a column of mass 0, too
    hit = (upto > target) & (mass > 0)
    return jnp.where(hit.any(axis=1), jnp.argmax(hit, axis=1), jnp.argmax(mass, axis=1))


def _left_by(
    drawn: Float[Array, "trials D"],
    x: Float[Array, "blocks block D"],
    gap: Float[Array, "blocks block"],
    free: Float[Array, "blocks block"],
) -> Float[Array, "trials"]:
    """The sum of squared distances that each of them would leave as a centre."""

    def visit(total, part):
        x, gap, free = part
        squared = (x**2).sum(axis=1)[:, None] + (drawn**2).sum(axis=1)[None]
        squared = squared - 2 * dot(x, drawn.T)  # (block, trials)
        left = jnp.minimum(gap[:, None], jnp.maximum(squared, 0.0))
        return total + (left * free[:, None]).sum(axis=0), None

    return jax.lax.scan(visit, jnp.zeros(len(drawn)), (x, gap, free))[0]
