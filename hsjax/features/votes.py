"""Where rows outside a sample belong: a vote of their neighbours, level by level."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Integer, Shaped

VOTES = 15  # neighbours that a row goes by
BLOCK = 4096  # rows at once
Vectors = Callable[[Integer[np.ndarray, "B"]], Float[np.ndarray, "B D"]]


def in_turn(rows: Integer[np.ndarray, "N"]) -> Iterator[Integer[np.ndarray, "B"]]:
    """Blocks of rows."""
    return (rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK))


def voted(
    x: Float[np.ndarray, "S D"],
    keys: Shaped[np.ndarray, "S"],
    vectors: Vectors,
    rows: Integer[np.ndarray, "N"],
) -> Shaped[np.ndarray, "N"]:
    """Keys such as "2.1" of rows, by a vote of their neighbours in a sample.

    First about the cluster, then, among those for it, about its part: else a cluster of
    many parts would lose to a smaller one that has none. Of equals the largest cluster
    wins, and any cluster over none.

    Args:
      x, keys: of the sample; '' = in no cluster.
      vectors: (B, D) of rows by their numbers.
    """
    from sklearn.neighbors import NearestNeighbors

    found = np.full(len(rows), "", dtype=keys.dtype)
    if not len(x) or not len(rows):
        return found
    near = NearestNeighbors(n_neighbors=min(VOTES, len(x)), algorithm="brute").fit(x)
    levels = _levels(keys)
    parts = [
        _winners(near.kneighbors(vectors(block), return_distance=False), levels)
        for block in in_turn(rows)
    ]
    return np.concatenate(parts).astype(keys.dtype)


def _levels(
    keys: Shaped[np.ndarray, "S"],
) -> list[tuple[list[str], Integer[np.ndarray, "S"]]]:
    """Per level the clusters, the largest first, and the number of each row's.

    The last number is of rows that are in none as deep.
    """
    paths = [key.split(".") if key else [] for key in keys.tolist()]
    found = []
    for level in range(max(map(len, paths))):
        own = [".".join(p[: level + 1]) if len(p) > level else "" for p in paths]
        names = sorted(set(own) - {""}, key=lambda k: [int(n) for n in k.split(".")])
        number = {name: i for i, name in enumerate([*names, ""])}
        found.append((names, np.array([number[key] for key in own])))
    return found


def _winners(index: Integer[np.ndarray, "B V"], levels) -> Shaped[np.ndarray, "B"]:
    """The key that most of these neighbours are for."""
    rows = np.arange(len(index))[:, None]
    won = np.full(len(index), "", dtype=object)
    voting = np.ones(index.shape, bool)
    for names, numbers in levels:
        votes = numbers[index]
        counts = np.zeros((len(index), len(names) + 1), int)
        np.add.at(counts, (np.broadcast_to(rows, votes.shape), votes), voting)
        best = counts.argmax(axis=1)
        inside = voting.any(axis=1) & (best < len(names))
        won[inside] = np.array(names, dtype=object)[best[inside]]
        voting &= (votes == best[:, None]) & inside[:, None]
    return won
