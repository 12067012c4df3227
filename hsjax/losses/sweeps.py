"""The orders in which the pairs of a batch are visited, block by block.

A sweep is `sweep(visit, rows, columns, of_rows, of_columns, shared)`, with

    visit(rows, columns, of_rows, of_columns, shared) -> (of_rows, of_columns)

`rows` and `columns` are trees of (B, ...) arrays, and so is what is found `of_rows` and
`of_columns`: a visit sees the pairs of some of each, and is given what earlier visits
returned for these. After the sweep every row has met every column once. `shared` are
scalars.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P


class Chunked(NamedTuple):
    """All rows with some of the columns at a time.

    Attributes:
      size: columns of a block at most. Blocks are as even as they come, and what is
        missing in the last ones is filled up with zeros.
    """

    size: int

    def __call__(self, visit: Callable, rows, columns, of_rows, of_columns, shared):
        count = len(jax.tree.leaves(columns)[0])
        blocks = -(-count // self.size)

        def step(of_rows, block):
            return visit(rows, block[0], of_rows, block[1], shared)

        if blocks == 1:
            return step(of_rows, (columns, of_columns))
        cut = functools.partial(_cut, blocks=blocks)
        xs = jax.tree.map(cut, (columns, of_columns))
        of_rows, found = jax.lax.scan(step, of_rows, xs)
        return of_rows, jax.tree.map(lambda x: _joined(x)[:count], found)


class Ring(NamedTuple):
    """Each device with its own rows, while columns go from one to the next.

    What is found of columns goes with them; after one turn they are home again.

    Attributes:
      size: columns of a block at most, of those that are visiting a device.
      axes: of the mesh, that rows and columns are split over.

    Raises:
      ValueError: there are rows that the devices cannot share evenly.
    """

    size: int
    mesh: Mesh
    axes: tuple[str, ...]

    def __call__(self, visit: Callable, rows, columns, of_rows, of_columns, shared):
        visit_chunks = functools.partial(Chunked(self.size), visit)
        count = len(jax.tree.leaves(columns)[0])
        devices = math.prod(self.mesh.shape[axis] for axis in self.axes)
        if count % devices:
            raise ValueError(f"{count} rows cannot go around {devices} devices")
        ring = [(i, (i + 1) % devices) for i in range(devices)]

        def around(rows, columns, of_rows, of_columns, shared):
            def passed_on(tree):
                return jax.tree.map(
                    lambda x: jax.lax.ppermute(x, self.axes, ring), tree
                )

            def step(carry, _):
                columns, of_rows, of_columns = carry
                arriving = passed_on(columns)  # while these are being visited
                found = visit_chunks(rows, columns, of_rows, of_columns, shared)
                return (arriving, found[0], passed_on(found[1])), None

            carry = columns, of_rows, of_columns
            (_, *found), _ = jax.lax.scan(step, carry, length=devices)
            return tuple(found)

        split = P(self.axes)
        return jax.shard_map(
            around,
            mesh=self.mesh,
            in_specs=(*(split,) * 4, P()),
            out_specs=(split, split),
        )(rows, columns, of_rows, of_columns, shared)


def _cut(x, blocks: int):
    """(B, ...) -> (blocks, B / blocks, ...), rows j, j + blocks, ... in block j.

    So each device that holds a piece of the batch has its share of every block.
    """
    missing = -len(x) % blocks
    x = jnp.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(-1, blocks, *x.shape[1:]).swapaxes(0, 1)


def _joined(x):
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
