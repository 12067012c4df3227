"""Cross-modal retrieval: which picture belongs to this text, and the other way round.

One product per group; the gallery is the first `size` groups, in the order of a hash,
that have both modalities. A hit is the same group.
"""

import hashlib

import numpy as np
from jaxtyping import Bool, Float, Integer

from hsjax.evaluation.predictions import Predictions

RANKS = (1, 5, 10)
TIE = 1e-6  # similarities closer than this are equal: float32 rounding must not rank
CELLS = 2**23  # similarities that are in memory at once


def gallery(
    predictions: Predictions, *, size: int = 1000, seed: int = 0
) -> Integer[np.ndarray, "G"]:
    """Row indices of the gallery: of each group the first row with both modalities."""
    p = predictions
    both = _present(p, "text") & _present(p, "image")
    rows = np.flatnonzero(both)
    rows = rows[np.argsort(p.row[rows], kind="stable")]
    groups, first = np.unique(p.group[rows], return_index=True)
    keys = [hashlib.sha1(f"{seed}:{g}".encode()).digest() for g in groups.tolist()]
    order = sorted(range(len(groups)), key=keys.__getitem__)[:size]
    return rows[first[order]]


def recall_at(
    queries: Float[np.ndarray, "G E"], items: Float[np.ndarray, "G E"], ranks=RANKS
) -> Float[np.ndarray, "G K"]:
    """Chance that item i is among the first k answers to query i: see `rank_chances`.

    A collapsed model scores k / G, which is chance, and neither 0 nor 1.
    """
    return rank_chances(queries, items, np.arange(len(queries)), ranks=ranks)


def rank_chances(
    queries: Float[np.ndarray, "N E"],
    items: Float[np.ndarray, "C E"],
    truth: Integer[np.ndarray, "N"],
    *,
    ranks=RANKS,
) -> Float[np.ndarray, "N K"]:
    """Chance that item `truth[i]` is among the first k answers to query i.

    Items as near as the right one are ordered at random: with b better and t others
    tied it is min(1, (k - b) / (t + 1)), at least 0. Some rows at a time: the whole
    (N, C) of a catalogue does not fit into memory.

    Args:
      queries, items: unit length, for cosines.
    """
    found = np.zeros((len(queries), len(ranks)))
    items, wide = items.astype(np.float64).T, max(1, items.shape[0])
    rows = max(1, CELLS // wide)
    for first in range(0, len(queries), rows):
        some = slice(first, first + rows)
        similarity = queries[some].astype(np.float64) @ items
        own = np.take_along_axis(similarity, truth[some, None], axis=1)
        better = (similarity > own + TIE).sum(axis=1, keepdims=True)
        tied = (np.abs(similarity - own) <= TIE).sum(axis=1, keepdims=True)  # itself
        found[some] = np.clip((np.array(ranks) - better) / tied, 0, 1)
    return found


def retrieval_hits(
    predictions: Predictions, *, size: int = 1000, seed: int = 0
) -> tuple[dict[str, Float[np.ndarray, "N"]], Bool[np.ndarray, "N"]]:
    """Name -> hits of each query, and the mask of the queries.

    Empty where the predictions have no embeddings of both sides. With fewer than two
    groups there is nothing to be told apart, and no row is a query.
    """
    vectors = predictions.embeddings
    if not {"text", "image"} <= vectors.keys():
        return {}, np.zeros(len(predictions), bool)
    rows = gallery(predictions, size=size, seed=seed)
    rows = rows if len(rows) > 1 else rows[:0]
    mask = np.zeros(len(predictions), bool)
    mask[rows] = True
    text, image = vectors["text"][rows], vectors["image"][rows]
    sides = {"text_to_image": (text, image), "image_to_text": (image, text)}
    hits = {}
    for name, (queries, items) in sides.items():
        found = recall_at(queries, items)
        for column, rank in enumerate(RANKS):
            values = np.zeros(len(predictions))
            values[rows] = found[:, column]
            hits[f"retrieval/{name}_r{rank}"] = values
    return hits, mask


def _present(predictions: Predictions, name: str) -> Bool[np.ndarray, "N"]:
    """Rows that have it; `text`, the mean of all streams, is any of them."""
    p = predictions
    others = [mask for key, mask in p.present.items() if key != "image"]
    if name == "image" and name in p.present:
        mask = p.present[name]
    else:
        mask = np.any(others, axis=0) if others else np.ones(len(p), bool)
    vectors = p.embeddings[name]
    return mask & np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
