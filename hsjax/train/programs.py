"""The compiled programs of a step: one for each length of texts, before the first."""

from collections.abc import Callable, Iterator, Mapping

from jax.sharding import Mesh

from hsjax.batch import BatchSpec
from hsjax.data.batches import prefetched
from hsjax.sharding import batch_shapes
from hsjax.train.state import TrainState
from hsjax.train.step import Running
from hsjax.train.termination import interrupts_ignored


class StepPrograms:
    """`programs(state, running, batch)`, never compiled meanwhile.

    Args:
      step: see `training_step`.
      flops: spec of a batch -> operations of a step, which are added up.
      state, running: of which shapes they are.
      spec: of the longest texts.
    """

    def __init__(
        self,
        config,
        step: Callable,
        state: TrainState,
        running: Running,
        spec: BatchSpec,
        mesh: Mesh,
        flops: Callable[[BatchSpec], int],
    ):
        lengths, rows = config.data.text.buckets, config.data.batch_size
        specs = {spec.cut(length) for length in lengths} or {spec}
        self._programs, self._work = {}, 0
        for cut in specs:
            shapes = batch_shapes(cut.shapes(rows), mesh)
            compiled = step.lower(state, running, shapes).compile()
            self._programs[_lengths(shapes)] = compiled, flops(cut)

    def __call__(self, state: TrainState, running: Running, batch):
        program, work = self._programs[_lengths(batch)]
        self._work += work
        return program(state, running, batch)

    @property
    def compiled(self) -> list:
        """Of each length."""
        return [program for program, _ in self._programs.values()]

    def work(self) -> int:
        """Operations of the model since this was last asked."""
        done, self._work = self._work, 0
        return done


def _lengths(batch: Mapping) -> tuple:
    """What tells the batches of a run apart: the shapes of their texts."""
    return tuple(x.shape for name, x in sorted(batch.items()) if name.endswith("_ids"))


def batches_from(config, order, start: int) -> Iterator:
    """Batches from the `start`-th on, made ahead of use as the config says."""
    data = config.data
    with interrupts_ignored():  # by the workers, whose batches are still wanted
        return prefetched(
            order,
            start=start,
            threads=data.threads,
            workers=data.workers,
            buffer=data.prefetch,
        )
