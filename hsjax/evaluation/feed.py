"""How every evaluation is fed: the same batches, of few shapes, on all devices."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from hsjax.data.batches import evaluation_batches, prefetched
from hsjax.data.examples import Examples
from hsjax.sharding import batch_pieces, place_batch, process_rows


class Feed:
    """Every example once, as batches that lie split over the mesh.

    Iterates anew each time. Batches are filled up with rows of weight 0.

    Attributes:
      size: rows of a batch, of all processes: `eval.batch_size`, rounded up so that
        every device has equally many.

    Args:
      beside: name -> (N, ...) ids of each example that go with its batch; -1 fills up.
      buckets: of `evaluation_batches`; () = all in order.
    """

    def __init__(
        self,
        config,
        examples: Examples,
        mesh: Mesh,
        *,
        beside: Mapping[str, Int[np.ndarray, "N ..."]] = MappingProxyType({}),
        buckets: Sequence[int] = (),
    ):
        self.data, self.mesh = config.data, mesh
        # behind the last one what fills up: an index of -1 finds it
        self.beside = {
            name: np.concatenate([ids, np.full((1, *ids.shape[1:]), -1, ids.dtype)])
            for name, ids in beside.items()
        }
        pieces = batch_pieces(mesh)
        self.size = -(-config.eval.batch_size // pieces) * pieces
        self.rows = process_rows(mesh, self.size)
        self.batches = evaluation_batches(
            examples, batch_size=self.size, rows=self.rows, buckets=buckets
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
        return map(self._placed, ahead)

    def first(self) -> list[dict[str, jax.Array]]:
        """The first batch alone."""
        return [self._placed(self.batches[0])]

    def _placed(self, batch) -> dict[str, jax.Array]:
        own = {name: ids[batch["index"]] for name, ids in self.beside.items()}
        return place_batch({**batch, **own}, self.mesh)
