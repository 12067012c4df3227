"""What a catalogue is like (Paper B, III-A): depth, imbalance, texts, pictures."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from hsjax.data.records import Record

RING = 0.06  # width of the border of a picture, as a share of each side
NEAR = 24  # of 255: pixels that differ by less have the colour of the background
CLEAN = 0.6  # share of the border of one colour: a person may be cut off by it
MOST = 10  # frequent words, brands, and classes


class Imbalance(NamedTuple):
    """How rows are spread over the classes of a level.

    Attributes:
      rows: with a class there; classes: that have rows.
      largest, two: share of the largest class, and of the two largest.
      rare: classes with fewer than 10 rows.
      effective: exp of the entropy: so many classes of equal size are as uncertain.
    """

    rows: int
    classes: int
    largest: float
    two: float
    rare: int
    effective: float


def depths(records: Sequence[Record]) -> dict[int, int]:
    """Levels of the label -> rows, in order."""
    return dict(sorted(Counter(len(r.path) for r in records).items()))


def imbalance(records: Sequence[Record], level: int) -> Imbalance:
    """Of the nodes at a level, 0 = coarsest."""
    counts = class_counts(records, level)
    share = counts / max(1, counts.sum())
    return Imbalance(
        int(counts.sum()),
        len(counts),
        float(share[:1].sum()),
        float(share[:2].sum()),
        int((counts < 10).sum()),
        float(np.exp(-(share * np.log(share)).sum())) if len(counts) else 0.0,
    )


def class_counts(records: Sequence[Record], level: int) -> np.ndarray:
    """(C,) rows of each class of a level, most first."""
    found = Counter(r.path[level] for r in records if len(r.path) > level)
    return np.array(sorted(found.values(), reverse=True), np.int64)


def lengths(texts: Sequence[str]) -> Float[np.ndarray, "N"]:
    """Characters of the texts that are there."""
    return np.array([len(text) for text in texts if text], np.float64)


def frequent_words(texts: Sequence[str]) -> list[tuple[str, float]]:
    """(word, share of the texts that are there with it), most frequent first."""
    found, count = Counter(), 0
    for text in texts:
        words = set(text.lower().split())
        found.update(words)
        count += bool(words)
    return [(word, n / count) for word, n in found.most_common(MOST)]


class Skew(NamedTuple):
    """What a text column with few values says of the class of level 1.

    No row is answered by itself: a text that nobody else has would always be right.

    Attributes:
      values: different ones; top: share of rows with one of the 10 most frequent.
      alone: of rows whose value others have, too, the share whose value occurs with a
        single class; nan = no value occurs twice.
      majority: accuracy of naming the commonest class of the value's other rows, and
        the commonest of all where the value is the row's alone.
      base: accuracy of naming the commonest class of all. A value that says nothing has
        a `majority` of about this at most: where it has few rows, they mislead, and it
        is lower. Where no value occurs twice both are equal.
    """

    values: int
    top: float
    alone: float
    majority: float
    base: float


def skew(records: Sequence[Record], column: str) -> Skew:
    """Of the rows that have the text; nan where there are no labels to go by."""
    rows = [r for r in records if r.texts.get(column)]
    sizes = Counter(r.texts[column].lower() for r in rows)
    by_value: dict[str, Counter] = {}
    for r in rows:
        if r.path:
            by_value.setdefault(r.texts[column].lower(), Counter())[r.path[0]] += 1
    whole = sum(by_value.values(), Counter())
    # of classes that are equally common with a value, the one that is commoner at all
    order = sorted(whole, key=lambda name: (whole[name], name))
    repeated = [of for of in by_value.values() if of.total() > 1]
    single = sum(of.total() for of in repeated if len(of) == 1)
    right = sum(_right_by_others(of, order) for of in by_value.values())
    return Skew(
        len(sizes),
        _share(sum(n for _, n in sizes.most_common(MOST)), len(rows)),
        _share(single, sum(of.total() for of in repeated)),
        _share(right, whole.total()),
        _share(max(whole.values(), default=0), whole.total()),
    )


def _right_by_others(of: Counter, order: Sequence[str]) -> int:
    """Rows of a value whose class is the commonest of the value's other rows.

    Args:
      of: class -> rows; order: all classes, the commonest last.
    """
    right = 0
    for name, count in of.items():
        left = of - Counter([name])
        said = max(left, key=lambda x: (left[x], order.index(x)), default=order[-1])
        right += count * (said == name)
    return right


def _share(part: int, of: int) -> float:
    return part / of if of else math.nan


def cleanliness(picture: UInt8[np.ndarray, "H W 3"]) -> float:
    """Share of the border whose colour is the border's own, channel by channel.

    A product on a plain ground has nearly 1, a photograph in a street far less. A
    product that is cut off by the edge lowers it.

    >>> cleanliness(np.full((50, 40, 3), 250, np.uint8))
    1.0
    """
    height, width = picture.shape[:2]
    down, across = (max(1, round(RING * side)) for side in (height, width))
    ring = np.ones((height, width), bool)
    ring[down : height - down, across : width - across] = False
    border = picture[ring].astype(np.int16)
    far = np.abs(border - np.median(border, axis=0)).max(axis=1)
    return float((far < NEAR).mean())


def clean_shares(
    values: Mapping[str, Sequence[float]],
) -> dict[str, tuple[int, float, float]]:
    """Name -> (pictures, share that are clean, median cleanliness), most first."""
    order = sorted(values, key=lambda name: -len(values[name]))
    return {
        name: (
            len(values[name]),
            float(np.mean(np.array(values[name]) >= CLEAN)),
            float(np.median(values[name])),
        )
        for name in order
        if len(values[name])
    }
