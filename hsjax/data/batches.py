"""The order in which training and evaluation see examples (Grain).

The order of training is a pure function of (seed, global example number): a dataset is
shuffled (or sampled) as a whole and cut into global batches afterwards, without a
filter, of which each process reads its own rows. `ds[k]` is of the k-th batch, so the
position of a run is one number, and any number of workers, processes or devices can go
on from it.
"""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np

from hsjax.data.buckets import (
    WINDOW,
    ByLength,
    InOrder,
    Plan,
    cut_texts,
    evaluation_plans,
    needed_buckets,
)
from hsjax.data.examples import Augmentation, Examples, assemble


def sampling_weights(leaves: np.ndarray, power: float) -> np.ndarray:
    """(N,) weights 1 / frequency(leaf) ** power, normalised to sum to 1.

    Rows without a label are no class: together they keep their share of the rows.
    """
    _, inverse, counts = np.unique(
        leaves, axis=0, return_inverse=True, return_counts=True
    )
    weights = counts[inverse.reshape(-1)].astype(float) ** -power
    known = (leaves >= 0).any(axis=1)
    if known.any() and not known.all():
        weights[known] *= known.sum() / weights[known].sum()
        weights[~known] = 1
    return weights / weights.sum()


def _draw(seed: int, cumulative: np.ndarray, number: int) -> int:
    """With replacement; a pure function of the seed and the example's number."""
    # not the counter of the augmentation: which example is drawn must not fix its crop
    bits = np.random.Philox(key=seed, counter=[0, 0, 1, int(number)])
    point = np.random.Generator(bits).random() * cumulative[-1]
    found = int(np.searchsorted(cumulative, point, side="right"))
    return min(found, len(cumulative) - 1)  # a point rounded up to the last sum


def example_order(
    examples: Examples, *, seed: int, weighted_sampling: float = 0.0
) -> Callable[[int], int]:
    """`order(i)`: the position of the i-th global example of training, endless.

    A plain function, as a worker process is sent it; Grain's shuffles do not travel
    inside of one.

    Args:
      weighted_sampling: power of the inverse leaf frequency; 0 = shuffled epochs.
    """
    if weighted_sampling:
        weights = sampling_weights(examples.labels, weighted_sampling)
        return functools.partial(_draw, seed, np.cumsum(weights))
    return functools.partial(_shuffled, len(examples), seed)


def _shuffled(count: int, seed: int, number: int) -> int:
    return _shuffles(count, seed)[number]


@functools.lru_cache(8)
def _shuffles(count: int, seed: int) -> grain.MapDataset:
    return grain.MapDataset.range(count).seed(seed).shuffle().repeat()


def training_batches(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    weighted_sampling: float = 0.0,
    buckets: Sequence[int] = (),
    rows: np.ndarray | None = None,
) -> grain.MapDataset:
    """Endless batches; `ds[k]` is this process's part of the k-th global batch.

    Args:
      batch_size: global.
      weighted_sampling: see `example_order`.
      buckets: see `batch_plan`.
      rows: of a global batch, those of this process (`sharding.process_rows`); None =
        all.
    """
    rows = np.arange(batch_size) if rows is None else rows
    plan = batch_plan(
        examples,
        batch_size=batch_size,
        seed=seed,
        weighted_sampling=weighted_sampling,
        buckets=buckets,
    )
    make = functools.partial(_batch, examples, plan, augmentation, rows)
    return grain.MapDataset.range(np.iinfo(np.int64).max // batch_size).map(make)


def batch_plan(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    weighted_sampling: float = 0.0,
    buckets: Sequence[int] = (),
) -> Callable[[int], Plan]:
    """`plan(k)`: rows and length of the k-th global batch, of which none is assembled.

    Args:
      buckets: lengths of texts, ascending, by which rows are grouped; () = one length.
    """
    order = example_order(examples, seed=seed, weighted_sampling=weighted_sampling)
    if not buckets:
        return InOrder(order, batch_size)
    needed = needed_buckets(examples.tokens, buckets)
    return ByLength(order, batch_size, seed, tuple(buckets), needed, WINDOW)


def _batch(
    examples, plan, augmentation, rows: np.ndarray, k: int
) -> dict[str, np.ndarray]:
    """These rows of the k-th batch, in which row i is the same for any processes.

    One layer over the order, as each of Grain's costs Python time for every row, and a
    function of the module, which can be sent to a worker.
    """
    numbers, index, length = plan(k)
    batch = assemble(examples, numbers[rows], index[rows], augmentation)
    return cut_texts(batch, examples.spec.streams, length)


def prefetched(
    dataset: grain.MapDataset, *, start: int, threads: int, workers: int, buffer: int
) -> Iterator[dict[str, np.ndarray]]:
    """Batches from the `start`-th on, made ahead of use by threads or processes."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    ahead = dataset[start:].to_iter_dataset(options)
    if not workers:
        return iter(ahead)
    options = grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=2
    )
    batches = iter(ahead.mp_prefetch(options))
    # the parent may hold an accelerator; a worker must not ask for it. Grain starts
    # workers from threads of its own: with a batch of each, all have been started
    with _environment(JAX_PLATFORMS="cpu"):
        first = list(itertools.islice(batches, workers))
    return itertools.chain(first, batches)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """What processes started inside inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def evaluation_batches(
    examples: Examples,
    *,
    batch_size: int,
    rows: np.ndarray | None = None,
    buckets: Sequence[int] = (),
) -> grain.MapDataset:
    """Every example once; batches are filled up with rows of weight 0.

    `ds[k]` is the part of this process, see `training_batches`: `rows` ascend.

    Args:
      buckets: lengths of texts, ascending, whose rows are together; () = all in order,
        and only the last batch is filled up.
    """
    rows = np.arange(batch_size) if rows is None else rows
    needed = needed_buckets(examples.tokens, buckets) if buckets else None
    options = {"needed": needed, "buckets": buckets}
    plans = evaluation_plans(len(examples), batch_size, **options)

    def batch(k: int) -> dict[str, np.ndarray]:
        index = plans[k].index
        index = index[rows[rows < len(index)]]
        parts = assemble(examples, index, index)
        rest = examples.spec.padding(len(rows) - len(index))
        whole = {name: np.concatenate([parts[name], rest[name]]) for name in parts}
        return cut_texts(whole, examples.spec.streams, plans[k].length)

    return grain.MapDataset.range(len(plans)).map(batch)
