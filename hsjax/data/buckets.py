"""Batches of texts of like length, so that short ones are not padded to the longest.

Where nothing is learnt, rows are sorted by length as a whole, see `evaluation_plans`.
The order of training stays a pure function of (seed, global example number). Its rows
change places within a window of batches alone, sorted by the bucket that they need; and
a window lies within an epoch, so that an epoch has the rows that it had. The window of
the k-th batch follows from k: workers, processes and resumed runs agree without a word.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from hsjax.batch import BatchSpec
from hsjax.data.text import StoredTokens
from hsjax.data.tokens import Tokens

WINDOW = 64  # batches; of each, one a bucket at most holds texts of two
# tokens that a text is padded to where nothing is learnt: little is wasted, and few
# shapes are compiled
LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
FEW_LENGTHS = LENGTHS[1::2]  # where each is one more program of a whole model


class Plan(NamedTuple):
    """A global batch before it is assembled.

    Attributes:
      numbers: (B,) global example numbers, for random draws.
      index: (B,) positions in the examples.
      length: tokens at most of any text, None = as long as the stream.
    """

    numbers: np.ndarray
    index: np.ndarray
    length: int | None


@dataclass(frozen=True, eq=False)
class InOrder:
    """Plans batches as the examples come.

    Attributes:
      order: example number -> position.
      batch_size: global.
    """

    order: Callable[[int], int]
    batch_size: int

    def __call__(self, k: int) -> Plan:
        numbers = np.arange(k * self.batch_size, (k + 1) * self.batch_size)
        return Plan(numbers, _positions(self.order, numbers), None)


@dataclass(frozen=True, eq=False)
class ByLength:
    """Plans batches whose texts have about the same length.

    Attributes:
      order, batch_size: as of `InOrder`.
      seed: of the order of batches within a window.
      buckets: lengths, ascending.
      needed: (N,) the bucket of each example, as its number.
      width: batches of a window at most.
    """

    order: Callable[[int], int]
    batch_size: int
    seed: int
    buckets: tuple[int, ...]
    needed: np.ndarray
    width: int = WINDOW

    def __call__(self, k: int) -> Plan:
        start, stop = self.window(k)
        numbers, index, buckets = _window(self, start, stop)
        rows = slice((k - start) * self.batch_size, (k - start + 1) * self.batch_size)
        return Plan(numbers[rows], index[rows], self.buckets[buckets[k - start]])

    def window(self, k: int) -> tuple[int, int]:
        """First batch of k's window, and the first behind it."""
        size, rows = self.batch_size, len(self.needed)
        epoch = k * size // rows  # of its first example
        first, behind = (-(-e * rows // size) for e in (epoch, epoch + 1))
        start = first + (k - first) // self.width * self.width
        return start, min(start + self.width, behind)


@functools.lru_cache(8)
def _window(plan: ByLength, start: int, stop: int):
    """(numbers, positions, bucket of each batch) of a window, batch after batch."""
    size, count = plan.batch_size, stop - start
    numbers = np.arange(start * size, stop * size)
    index = _positions(plan.order, numbers)
    needed = plan.needed[index]
    rows = np.argsort(needed, kind="stable").reshape(count, size)
    # not the counters of augmentation and sampling
    bits = np.random.Philox(key=plan.seed, counter=[0, 0, 2, start])
    rows = rows[np.random.Generator(bits).permutation(count)]
    return numbers[rows.reshape(-1)], index[rows.reshape(-1)], needed[rows].max(axis=1)


def _positions(order: Callable[[int], int], numbers: np.ndarray) -> np.ndarray:
    return np.array([order(number) for number in numbers.tolist()])


def needed_buckets(
    tokens: Mapping[str, Tokens | StoredTokens], buckets: Sequence[int]
) -> np.ndarray:
    """(N,) number of the smallest bucket that holds all texts of a row.

    Args:
      tokens: by stream, before words are dropped; one at least.
      buckets: lengths, ascending; the last holds any text.
    """
    longest = np.max([x.lengths() for x in tokens.values()], axis=0)
    return np.searchsorted(buckets, longest)


def lengths_up_to(longest: int) -> tuple[int, ...]:
    """`LENGTHS` of texts of at most so many tokens, which is the last of them."""
    return *(length for length in LENGTHS if length < longest), longest


def answered_lengths(spec: BatchSpec) -> tuple[int, ...]:
    """Of texts that a model of such batches answers together; () = all as they come.

    Decided by the model alone, so that no answer hangs on other products. Beside a
    picture a text costs little, and every length is one more program.
    """
    lengths = dict(spec.lengths).values()
    if spec.image or not lengths:
        return ()
    longest = max(lengths)
    worth = [length for length in FEW_LENGTHS if 2 * length <= longest]
    return *worth, longest


def evaluation_plans(
    count: int,
    batch_size: int,
    *,
    needed: Integer[np.ndarray, "N"] | None = None,
    buckets: Sequence[int] = (),
) -> list[Plan]:
    """Every example once; the last batch, or the last of a bucket, may have fewer rows.

    With buckets, what a text is padded to follows from the row alone. The longest are
    first: what does not fit into memory fails at once.

    Args:
      needed: see `needed_buckets`; None = in order, all as long as the stream.
    """
    groups = [(np.arange(count), None)]
    if needed is not None:
        numbers = np.unique(needed)[::-1].tolist()
        groups = [(np.flatnonzero(needed == b), buckets[b]) for b in numbers]
    return [
        Plan(some, some, length)
        for members, length in groups
        for some in np.split(members, range(batch_size, len(members), batch_size))
    ]


def cut_texts(batch: dict, streams: Sequence[str], length: int | None) -> dict:
    """A batch whose texts end after so many tokens; there is only padding behind."""
    if length is None:
        return batch
    names = [f"{stream}_{part}" for stream in streams for part in ("ids", "mask")]
    return batch | {n: np.ascontiguousarray(batch[n][:, :length]) for n in names}
