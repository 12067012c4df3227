"""The order of a tree's nodes in which siblings lie side by side.

Ids are append-only and stand in labels, heads and JSON. *Slots* are the same nodes in
another order: siblings are contiguous and parents of equal fan-out follow each other,
so that a softmax among siblings is a reshape. Only `hierarchy` and the head know slots.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Block(NamedTuple):
    """Neighbouring slots whose parents all have the same number of children."""

    start: int
    fan_out: int
    parents: np.ndarray  # slots of the parents, one level up

    @property
    def stop(self) -> int:
        return self.start + self.fan_out * len(self.parents)


class Layout(NamedTuple):
    """Order of one level in which siblings are contiguous."""

    ids: np.ndarray  # (C,) slot -> id
    slots: np.ndarray  # (C,) id -> slot
    blocks: tuple[Block, ...]


def make_layout(all_parents: Sequence[np.ndarray]) -> tuple[Layout, ...]:
    """Layout of every level.

    Args:
      all_parents: per level (C,) ids one level up, zeros at level 0.
    """
    layouts: list[Layout] = []
    for level, parents in enumerate(all_parents):
        above = layouts[-1].slots if level else np.zeros(1, np.int32)
        fan_out = np.bincount(parents, minlength=len(above))
        ids = np.lexsort((np.arange(len(parents)), above[parents], fan_out[parents]))
        slots = np.empty_like(ids)
        slots[ids] = np.arange(len(ids))
        blocks: list[Block] = []
        start = 0
        for width in np.unique(fan_out[fan_out > 0]):
            owners = np.sort(above[np.flatnonzero(fan_out == width)])
            blocks.append(Block(start, int(width), owners.astype(np.int32)))
            start = blocks[-1].stop
        order = (ids.astype(np.int32), slots.astype(np.int32))
        layouts.append(Layout(*order, tuple(blocks)))
    return tuple(layouts)
