"""How every evaluation is fed: the same batches, of one shape, on all devices."""

from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from hsjax.data.batches import evaluation_batches, prefetched
from hsjax.data.examples import Examples
from hsjax.sharding import batch_pieces, place_batch, process_rows


class Feed:
    """Every example once, in order, as batches that lie split over the mesh.

    Iterates anew each time. The last batch is filled up with rows of weight 0.

    Attributes:
      size: rows of a batch, of all processes: `eval.batch_size`, rounded up so that
        every device has equally many.
    """

    def __init__(self, config, examples: Examples, mesh: Mesh):
        self.data, self.mesh = config.data, mesh
        pieces = batch_pieces(mesh)
        self.size = -(-config.eval.batch_size // pieces) * pieces
        self.batches = evaluation_batches(
            examples, batch_size=self.size, rows=process_rows(mesh, self.size)
        )

    def __iter__(self) -> Iterator[dict[str, jax.Array]]:
        # no worker processes: they would start anew for each evaluation
        ahead = prefetched(
            self.batches,
            start=0,
            threads=self.data.threads,
            workers=0,
            buffer=self.data.prefetch,
        )
        return (place_batch(batch, self.mesh) for batch in ahead)

    def first(self) -> list[dict[str, jax.Array]]:
        """The first batch alone."""
        return [place_batch(self.batches[0], self.mesh)]
