"""Three ways to one loss: what is held in memory, and what devices tell each other.

`dense` has all B x B similarities at once. Split over devices, each has all columns of
its own rows. `chunked` has those of `size` columns at a time, and XLA gathers these on
every device. In a `ring`, each device keeps its own rows while the columns of all go
from one to the next: nobody ever holds the pictures of all, and they are on their way
while others are looked at. Values and gradients are the same up to rounding.
"""

from collections.abc import Callable

from jax.sharding import Mesh

from hsjax.losses.blockwise import blockwise
from hsjax.losses.contrastive import CONTRASTS
from hsjax.losses.sweeps import Chunked, Ring


def _ring(kind: str, size: int, mesh: Mesh | None, axes: tuple[str, ...]) -> Callable:
    if mesh is None:
        raise ValueError("a ring needs the mesh that the batch is split over")
    return blockwise(kind, Ring(size, mesh, axes))


FORMS: dict[str, Callable] = {
    "dense": lambda kind, size, mesh, axes: CONTRASTS[kind],
    "chunked": lambda kind, size, mesh, axes: blockwise(kind, Chunked(size)),
    "ring": _ring,
}


def make_contrast(
    kind: str,
    form: str,
    *,
    size: int,
    mesh: Mesh | None = None,
    axes: tuple[str, ...] = (),
) -> Callable:
    """`contrast(text, image, scale, pairs) -> (value, weight)`, as in `CONTRASTS`.

    Args:
      size: pictures of a block at most, which need not divide the batch.
      mesh, axes: of a ring, that the batch is split over; their devices divide it.

    Raises:
      ValueError: a ring without a mesh.
    """
    return FORMS[form](kind, size, mesh, axes)
