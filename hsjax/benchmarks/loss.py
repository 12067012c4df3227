"""What `bench loss` measures: contrastive losses in blocks, against the dense one.

Each side gives the value and all gradients of one batch, on all devices that there are:
one device goes through the blocks by itself, several make a ring. What the compiler
says that a program needs beside its arguments and results is told for this batch, and
for one as large as SigLIP's, which is compiled and not run.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hsjax.losses import Pairs, make_contrast, weighted_mean
from hsjax.sharding import BATCH, make_mesh
from hsjax.timing import headline, times_faster
from hsjax.train.workdir import ConfigError

KINDS = ("info_nce", "sigmoid")
WIDTH = 512  # E
LARGE = 32_768  # rows of the batch that is compiled alone
SCALE, BIAS = 1 / 0.07, -10.0  # as training starts
MIB = 2**20


def bench_loss(*, rows: int, chunk: int, rounds: int) -> dict:
    """Rows per second of both losses, and the temporary memory of a device.

    `ours`, `peer`, `ratio` and `spread` are of InfoNCE: above 1 = ours is faster.

    Args:
      rows: of the batch that is timed.
      chunk: columns of a block at most.

    Raises:
      ConfigError: rows that the devices cannot share evenly.
    """
    mesh = make_mesh()
    if rows % mesh.size:
        raise ConfigError(
            f"--pairs is {rows}, no multiple of {mesh.size} devices; change it"
        )
    form = "ring" if mesh.size > 1 else "chunked"
    batch, found = make_batch(rows, mesh), {}
    for kind in KINDS:
        ours, peer = (compiled(kind, x, rows, chunk, mesh) for x in (form, "dense"))
        gaps = jax.tree.map(_gap, ours(*batch), peer(*batch))
        found[kind] = {
            **times_faster(
                lambda ours=ours: jax.block_until_ready(ours(*batch)),
                lambda peer=peer: jax.block_until_ready(peer(*batch)),
                rounds=rounds,
            ),
            "largest_difference": max(jax.tree.leaves(gaps)),
            "temporary_mib": {
                f"{name} at {n}": temporary_mib(compiled(kind, x, n, chunk, mesh))
                for n in (rows, LARGE)
                for name, x in (("ours", form), ("peer", "dense"))
            },
        }
    first = found[KINDS[0]]
    return {
        **headline("loss", rows, first, peer_is="the dense loss on the same devices"),
        "form": form,
        "devices": mesh.size,
        "rows": rows,
        "width": WIDTH,
        "chunk": chunk,
        **found,
    }


def compiled(kind: str, form: str, rows: int, chunk: int, mesh: Mesh) -> Callable:
    """`program(text, image, scale, bias, group, weight) -> (loss, gradients)`.

    Compiled ahead of time for a batch that is split over the mesh; nothing is held.
    """
    contrast = make_contrast(kind, form, size=chunk, mesh=mesh, axes=BATCH[0])

    def loss(text, image, scale, bias, group, weight):
        pairs = Pairs(group, weight, bias=bias)
        return weighted_mean(*contrast(text, image, scale, pairs))

    split, whole = NamedSharding(mesh, BATCH), NamedSharding(mesh, P())
    x = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32, sharding=split)
    one = jax.ShapeDtypeStruct((), jnp.float32, sharding=whole)
    group = jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=split)
    weight = jax.ShapeDtypeStruct((rows,), jnp.float32, sharding=split)
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    return both.lower(x, x, one, one, group, weight).compile()


def temporary_mib(program) -> float:
    """Of one device, beside arguments and results, as the compiler plans it."""
    return program.memory_analysis().temp_size_in_bytes / MIB


def make_batch(rows: int, mesh: Mesh, *, seed: int = 0) -> tuple[jax.Array, ...]:
    """What `compiled` takes: an eighth listed twice, an eighth without a picture."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, rows, WIDTH), dtype=np.float32)
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    group = rng.integers(0, 4 * rows, rows).astype(np.int32)
    group[: rows // 8] = group[rows // 8 : rows // 8 * 2]
    weight = (rng.random(rows) > 1 / 8).astype(np.float32)
    split, whole = NamedSharding(mesh, BATCH), NamedSharding(mesh, P())
    scalars = (jax.device_put(np.float32(v), whole) for v in (SCALE, BIAS))
    text, image, group, weight = (jax.device_put(v, split) for v in (*x, group, weight))
    return text, image, *scalars, group, weight


def _gap(ours, peer) -> float:
    return float(jnp.abs(ours - peer).max())
