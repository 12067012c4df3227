"""The most that a loader can reach: processes that decode pictures and do no more."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hsjax.data.examples import Examples
from hsjax.timing import THREADS

_examples: Examples | None = None  # of a process of the pool


@contextmanager
def decoders(examples: Examples, *, pictures: int) -> Iterator:
    """A call that returns how many pictures a second all processes together decode.

    Each of the THREADS processes decodes its own share of `pictures` with the loader's
    own code, from memory to uint8 pixels; nothing is collected, sent or waited for.
    """
    # each has one thread for itself, as torch gives its workers
    context = multiprocessing.get_context("spawn")  # jax has threads: no fork
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with context.Pool(THREADS, _keep, (examples,)) as pool:
        shares = np.array_split(np.arange(pictures) % len(examples), THREADS)
        pool.map(_decode, shares, chunksize=1)  # starts all, and imports

        def rate() -> float:
            start = time.perf_counter()
            pool.map(_decode, shares, chunksize=1)
            return pictures / (time.perf_counter() - start)

        yield rate


def _keep(examples: Examples) -> None:
    global _examples
    _examples = examples


def _decode(index: np.ndarray) -> int:
    return sum(picture is not None for picture in _examples.pictures(index))
