"""What `bench input` measures: whether the loader keeps up with the step."""

import itertools
from collections.abc import Callable, Iterator

import jax

from hsjax.data.batches import prefetched
from hsjax.data.prepare import read_catalogue
from hsjax.sharding import place_batch
from hsjax.tasks.check import make_timed_step
from hsjax.timing import summary
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.start import training_order
from hsjax.train.watch import Stopwatch
from hsjax.trained.opening import resolved
from hsjax.trained.training_data import training_parts

STEPS = 8  # of a round


def bench_input(config, *, rounds: int) -> dict:
    """Examples per second of the loader alone, the step alone, and both together."""
    config, encoders = resolved(config)
    set_up_jax(config)
    data, mesh = config.data, training_mesh(config)
    published = encoders["text"].directory if "text" in encoders else None
    catalogue = read_catalogue(config, published=published)
    order = training_order(config, training_parts(config, catalogue).train)
    step, *carried = make_timed_step(config, catalogue, encoders, mesh)

    def stream() -> Iterator:
        """Batches, after those that were made while nobody waited."""
        options = {"threads": data.threads, "workers": data.workers}
        batches = prefetched(order, start=0, buffer=data.prefetch, **options)
        for _ in range(data.prefetch + 1):
            next(batches)
        return batches

    def train(batch):
        carried[:] = step(*carried, place_batch(batch, mesh))
        return carried

    def timed(batches: Iterator, work: Callable) -> tuple[dict, float]:
        return timed_rounds(batches, work, rows=data.batch_size, rounds=rounds)

    batch = order[0]
    train(batch)  # compiles
    loader, _ = timed(stream(), lambda batch: None)
    alone, _ = timed(itertools.repeat(batch), train)
    together, waiting = timed(stream(), train)
    return {
        "batch_size": data.batch_size,
        "steps_per_round": STEPS,
        "loader_alone_per_second": loader,
        "step_alone_per_second": alone,
        "together_per_second": together,
        "input_wait": waiting,
    }


def timed_rounds(
    batches: Iterator, work: Callable, *, rows: int, rounds: int
) -> tuple[dict, float]:
    """Examples per second of `work(batch)`, and the share of the time spent waiting."""
    rates, waited, total = [], 0.0, 0.0
    for _ in range(rounds):
        watch = Stopwatch()
        for _ in range(STEPS):
            done = work(watch.wait(batches))
        jax.block_until_ready(done)
        seconds = watch.total
        rates.append(STEPS * rows / seconds)
        waited, total = waited + watch.waited, total + seconds
    return summary(rates), waited / total
