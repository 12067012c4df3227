"""K-means on the accelerator, free or with some rows of known classes.

Seeds, Lloyd's iterations and restarts are one compiled program over blocks of rows:
beside one shifted copy of the rows, nothing larger than block x K or N is held.

Seeds are drawn by greedy k-means++ (see `seeding`). Lloyd's iterations follow until the
squared moves of all centres sum to `tolerance` x the mean variance of a column, as in
scikit-learn. A cluster without a row starts again at the free row that is farthest from
its centre, several of them at the next farthest. Where there are fewer different rows
than clusters, some stay empty.

The same seed gives the same clusters on one machine. Another size of the blocks sums in
another order: last bits differ, and with them, rarely, a seed that was as good.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from hsjax.features.row_blocks import (
    Rows,
    class_sums,
    in_blocks,
    nearest,
    runner_up,
)
from hsjax.features.seeding import seed_centres

BLOCK = 8192  # rows whose distances to all centres are held at once


class KMeans(NamedTuple):
    """Clusters of rows.

    Attributes:
      centres: (K, D) means.
      assignment: (N,) int32 cluster of each row, -1 of rows of weight 0.
      distance: (N,) Euclidean, to the row's own centre; 0 of rows of weight 0.
      inertia: sum of weight x distance squared.
      iterations: updates of the centres, in the best of the restarts.
    """

    centres: Float[np.ndarray, "K D"]
    assignment: Integer[np.ndarray, "N"]
    distance: Float[np.ndarray, "N"]
    inertia: float
    iterations: int


class _Run(NamedTuple):
    """One restart; arrays as `Rows` has them."""

    centres: Float[Array, "K D"]
    assignment: Integer[Array, "blocks block"]
    squared: Float[Array, "blocks block"]
    inertia: Float[Array, ""]
    iterations: Integer[Array, ""]


def k_means(
    x: Float[np.ndarray | Array, "N D"],
    clusters: int,
    *,
    labels: Integer[np.ndarray, "N"] | None = None,
    weight: Float[np.ndarray, "N"] | None = None,
    seed: int = 0,
    restarts: int = 1,
    iterations: int = 300,
    tolerance: float = 1e-4,
    block: int = BLOCK,
) -> KMeans:
    """K clusters of rows near their mean: a small sum of squared distances.

    With `labels` it is semi-supervised (Vaze et al. 2022, section 3.2,
    https://arxiv.org/abs/2201.02609): a row of known class c stays in cluster c, whose
    centre starts at the mean of class c; the other centres are seeded among the rows
    without a class, and these are free to join any cluster.

    Args:
      labels: known classes 0, 1, ..., -1 where none is known.
      weight: 0 = padding, whose content does not matter.
      restarts: of other seeds; the least inertia is kept.
      iterations: at most; 0 leaves the seeds.
      block: rows at a time; memory is O(block x K) beside two copies of the rows.

    Raises:
      ValueError: more clusters than known classes and free rows, fewer than known
        classes, a class number without a row below one that has some, or values that
        are not finite.
    """
    count = len(x)
    weight = np.ones(count, np.float32) if weight is None else np.float32(weight)
    labels = np.full(count, -1, np.int32) if labels is None else np.int32(labels)
    known = known_classes(labels[weight > 0], clusters)
    x = jnp.asarray(x, jnp.float32)
    rows, mean = in_blocks(x, weight, labels, block=min(block, count))
    keys = jax.random.split(jax.random.key(seed), restarts)
    limits = jnp.int32(iterations), jnp.float32(tolerance)
    run = _best_run(rows, keys, *limits, clusters=clusters, known=known)
    if not np.isfinite(run.inertia):
        raise ValueError("values are not finite, or too large for their squares to be")
    assignment, squared = (np.asarray(a).reshape(-1)[:count] for a in run[1:3])
    return KMeans(
        np.asarray(run.centres + mean[None]),
        np.where(weight > 0, assignment, -1),
        np.sqrt(squared),
        float((squared.astype(np.float64) * weight).sum()),
        int(run.iterations),
    )


class Assigned(NamedTuple):
    """Rows beside centres that are given.

    Attributes:
      cluster: (N,) the nearest centre of each row, the first of equals.
      distance: (N,) Euclidean, to it; second: (N,) to the nearest other one, inf where
        there is none.
    """

    cluster: Integer[np.ndarray, "N"]
    distance: Float[np.ndarray, "N"]
    second: Float[np.ndarray, "N"]


def assign(
    centres: Float[np.ndarray | Array, "K D"],
    x: Float[np.ndarray | Array, "N D"],
    *,
    block: int = BLOCK,
) -> Assigned:
    """The nearest centre of each row, and how far it and the next one are."""
    count = len(x)
    weight, free = np.ones(count, np.float32), np.full(count, -1, np.int32)
    x, block = jnp.asarray(x, jnp.float32), max(1, min(block, count))
    rows, mean = in_blocks(x, weight, free, block=block)
    parts = _beside(rows, jnp.asarray(centres, jnp.float32) - mean[None])
    found, *squared = (np.asarray(a).reshape(-1)[:count] for a in parts)
    return Assigned(found, *map(np.sqrt, squared))


def known_classes(labels: Integer[np.ndarray, "N"], clusters: int) -> int:
    """How many classes have a label: 0, 1, ..., each with a row; -1 is none.

    Raises:
      ValueError: a number without a row, or clusters that are fewer than the classes or
        too many for the rows.
    """
    rows = np.bincount(labels[labels >= 0])
    known, free = len(rows), int((labels < 0).sum())
    if not max(1, known) <= clusters <= known + free:
        raise ValueError(f"{clusters} clusters: {known} classes, {free} other rows")
    if not rows.all():
        raise ValueError(f"class {rows.argmin()} of 0..{known - 1} has no row")
    return known


@jax.jit
def _assigned(rows: Rows, centres: Float[Array, "K D"]):
    return jax.lax.map(lambda part: nearest(part, centres), rows)


@jax.jit
def _beside(rows: Rows, centres: Float[Array, "K D"]):
    def visit(part):
        found, squared = nearest(part, centres)
        return found, squared, runner_up(part, centres, found)

    return jax.lax.map(visit, rows)


@partial(jax.jit, static_argnames=("clusters", "known"))
def _best_run(rows: Rows, keys, iterations, tolerance, *, clusters: int, known: int):
    """The run of the least inertia, one for each key; the first of equals."""

    def run_of(key) -> _Run:
        centres = seed_centres(rows, key, clusters=clusters, known=known)
        return _lloyd(rows, centres, iterations, tolerance)

    def better(best: _Run, key) -> tuple[_Run, None]:
        run = run_of(key)
        # one that is not finite is taken, so that it is seen
        taken = ~(run.inertia >= best.inertia)
        return jax.tree.map(partial(jnp.where, taken), run, best), None

    shapes = jax.eval_shape(run_of, keys[0])
    none = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    none = none._replace(inertia=jnp.float32(jnp.inf))
    return jax.lax.scan(better, none, keys)[0]


def _lloyd(rows: Rows, centres, iterations, tolerance) -> _Run:
    """Means of the nearest rows, until they rest."""
    total = rows.weight.sum() * rows.x.shape[-1]
    spread = ((rows.x**2).sum(axis=-1) * rows.weight).sum() / total

    def moving(state):
        _, moved, done = state
        return (done < iterations) & (moved > tolerance * spread)

    def move(state):
        centres, _, done = state
        new = _new_centres(rows, centres)
        return new, ((new - centres) ** 2).sum(), done + 1

    start = centres, jnp.float32(jnp.inf), jnp.int32(0)
    centres, _, done = jax.lax.while_loop(moving, move, start)
    found, squared = _assigned(rows, centres)
    squared = jnp.where(rows.weight > 0, squared, 0.0)
    return _Run(centres, found, squared, (squared * rows.weight).sum(), done)


def _new_centres(rows: Rows, centres: Float[Array, "K D"]) -> Float[Array, "K D"]:
    def visit(sums, part):
        found, squared = nearest(part, centres)
        new = jax.tree.map(jnp.add, sums, class_sums(part, found, len(centres)))
        return new, squared

    start = jnp.zeros_like(centres), jnp.zeros(len(centres))
    (sums, weight), squared = jax.lax.scan(visit, start, rows)
    empty = weight <= 0
    means = sums / jnp.where(empty, 1.0, weight)[:, None]

    def restarted():
        free = (rows.weight > 0) & (rows.pinned < 0)
        far, row = jax.lax.top_k(jnp.where(free, squared, 0.0).reshape(-1), len(empty))
        rank = jnp.cumsum(empty) - 1  # the first empty one takes the farthest row
        rows_at = rows.x.reshape(-1, rows.x.shape[-1])[row[rank]]
        instead = jnp.where((far[rank] > 0)[:, None], rows_at, centres)
        return jnp.where(empty[:, None], instead, means)

    return jax.lax.cond(empty.any(), restarted, lambda: means)
