"""What `bench loader` measures: does the loader keep up, and with whom.

The peer is torch's DataLoader with two worker processes, over the same examples, made
by the same code one at a time: the same tokens, pictures decoded alike, nothing random.
"""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np

from hsjax.benchmarks.decoder import decoders
from hsjax.benchmarks.peers import check_torch
from hsjax.data.batches import WINDOW, prefetched, training_batches
from hsjax.data.examples import Augmentation, Examples, assemble
from hsjax.data.prepare import read_catalogue
from hsjax.sharding import place_batch
from hsjax.timing import THREADS, compared, headline, summary
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.start import training_order
from hsjax.train.watch import Stopwatch
from hsjax.train.workdir import ConfigError
from hsjax.trained.opening import resolved
from hsjax.trained.timed_step import make_timed_step
from hsjax.trained.training_data import training_parts

STEPS = 8  # of a round
TURN = 128  # batches that both loaders make in turn


def bench_loader(config, *, rounds: int) -> dict:
    """Examples per second of the loader alone, the step alone, and both together.

    `ours`, `peer`, `ratio` and `spread` are of the loader beside torch's DataLoader,
    started before the clock; `of_decoder` is its share of what processes decode
    that do nothing else.

    Raises:
      ConfigError: PyTorch is not installed.
      CatalogueError: whatever a user can mend, in words.
    """
    check_torch("loader", "PyTorch's DataLoader")
    config, encoders = resolved(config)
    set_up_jax(config)
    data, mesh, text = config.data, training_mesh(config), encoders.get("text")
    catalogue = read_catalogue(config, published=text and text.directory)
    examples = training_parts(config, catalogue).train
    _check_batch(examples, data.batch_size)
    order = training_order(config, examples)
    step, *carried = make_timed_step(config, catalogue, encoders, mesh)[:3]

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

    for each in _of_every_length(config, order):
        train(each)  # compiles
    loader, _ = timed(stream(), lambda batch: None)
    alone, _ = timed(itertools.repeat(order[0]), train)
    together, waiting = timed(stream(), train)
    return {
        **_beside_torch(config, examples, rounds=rounds),
        "batch_size": data.batch_size,
        "steps_per_round": STEPS,
        "loader_alone_per_second": loader,
        "step_alone_per_second": alone,
        "together_per_second": together,
        "input_wait": waiting,
    }


def _check_batch(examples: Examples, size: int) -> None:
    if len(examples) < size:  # of which the peer would make none, again and again
        raise ConfigError(
            f"{len(examples)} training rows are less than a batch of {size}: lower"
            " data.batch_size"
        )


def _beside_torch(config, examples: Examples, *, rounds: int) -> dict:
    """The headline: both loaders without augmentation, in turn."""
    data = config.data
    plain = training_batches(
        examples,
        batch_size=data.batch_size,
        seed=config.seed,
        augmentation=Augmentation(seed=config.seed),
    )
    options = {"threads": data.threads, "workers": data.workers}
    loader = torch_loader(examples, data.batch_size)
    sides = (
        prefetched(plain, start=0, buffer=data.prefetch, **options),
        itertools.chain.from_iterable(itertools.repeat(loader)),
    )
    # what either side has made ahead while the other one was at work
    ahead = data.prefetch + 2 * data.workers + 2 * THREADS
    times, limits, items = ([], []), [], TURN * data.batch_size
    seen = decoders(examples, pictures=items) if examples.spec.image else None
    with seen or contextlib.nullcontext(lambda: np.nan) as decode:
        for turn in range(rounds + 1):  # the first warms up
            for side, seconds in zip(sides, times, strict=True):
                deque(itertools.islice(side, ahead), maxlen=0)
                start = time.perf_counter()
                deque(itertools.islice(side, TURN), maxlen=0)
                if turn:
                    seconds.append(time.perf_counter() - start)
            limits.append(decode())
    found, told = compared(*times), f"torch's DataLoader, {THREADS} workers"
    first = headline("loader", items, found, peer_is=told)
    first |= {"batches_per_turn": TURN, "beside_torch": found}
    if seen:
        shares = np.divide(items, times[0]) / limits[1:]
        first |= {"decoder": summary(limits[1:]), "of_decoder": summary(shares)}
    return first


def torch_loader(examples: Examples, batch_size: int):
    """Shuffled batches of a DataLoader, as {name: tensor}."""
    from torch.utils.data import DataLoader

    return DataLoader(
        Single(examples),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=THREADS,
        persistent_workers=True,
        multiprocessing_context="spawn",  # jax has threads, which no fork survives
    )


class Single:
    """Examples one at a time, as a DataLoader asks for them."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        here = np.array([i])
        return {name: x[0] for name, x in assemble(self.examples, here, here).items()}


def _of_every_length(config, order) -> list:
    """A batch of each length of texts that comes soon."""
    near = range(WINDOW if config.data.text.buckets else 1)
    found = {}
    for batch in (order[k] for k in near):
        shapes = tuple(x.shape for _, x in sorted(batch.items()))
        found.setdefault(shapes, batch)
    return list(found.values())


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
