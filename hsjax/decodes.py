"""Every decision from the tree distribution: pure functions of logits and tree.

Logits come in slot order, answers are ids, -1 where a path has ended. What a model was
trained with does not matter here: each decode is of one set of raw level logits.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import (
    IMPOSSIBLE,
    Logits,
    joined,
    leaf_columns,
    leaf_log_probs,
    leaf_paths,
    node_log_probs,
    parent_position,
    pick,
    siblings_of,
)
from hsjax.taxonomy import Taxonomy

FAR = -1e6  # score of what is out of the question: no path is so long


def exact_path(logits: Logits, tree: Taxonomy) -> Int[Array, "B L"]:
    """The most probable whole path: argmax over leaves of log p(leaf), by max-product.

    Goes bottom-up through the best child of every parent, so no leaf array is formed.
    Ties go to the first slot.
    """
    below = None  # (B, C): best log p(path below | node)
    best_child = [None] * tree.num_levels
    for level in reversed(range(tree.num_levels)):
        x = logits[level].astype(jnp.float32)
        blocks = tree.layout[level].blocks
        siblings = siblings_of(x, blocks)
        scores = siblings if below is None else siblings_of(x + below, blocks)
        best_child[level] = joined([jnp.argmax(s, axis=-1) for s in scores])
        if level:
            pairs = zip(scores, siblings, strict=True)
            best = [s.max(-1) - jax.nn.logsumexp(part, axis=-1) for s, part in pairs]
            # leaves of the level above read the appended zero: nothing lies below them
            best = jnp.concatenate([*best, jnp.zeros((len(x), 1))], axis=1)
            below = best[:, parent_position(tree, level)]
    return _descend(best_child, tree)


def greedy_path(logits: Logits, tree: Taxonomy) -> Int[Array, "B L"]:
    """Paper B's hard mask: the best child of the node just chosen, top down."""
    best_child = [
        joined([jnp.argmax(part, axis=-1) for part in siblings_of(x, layout.blocks)])
        for x, layout in zip(logits, tree.layout, strict=True)
    ]
    return _descend(best_child, tree)


def _first_child(tree: Taxonomy, level: int) -> np.ndarray:
    """Slot of the first child of each parent, in block order; -1 appended."""
    blocks = tree.layout[level].blocks
    starts = [b.start + b.fan_out * np.arange(len(b.parents)) for b in blocks]
    return np.concatenate([*starts, [-1]]).astype(np.int32)


def _descend(best_child: Sequence[jax.Array], tree: Taxonomy) -> Int[Array, "B L"]:
    """Follows the best child (B, parents) from the root; -1 after the path's end."""
    slot, path = jnp.zeros(len(best_child[0]), jnp.int32), []
    for level, offsets in enumerate(best_child):
        ended = slot < 0
        position = jnp.asarray(parent_position(tree, level))[jnp.maximum(slot, 0)]
        ended |= position == offsets.shape[1]
        inside = jnp.minimum(position, offsets.shape[1] - 1)
        first = jnp.asarray(_first_child(tree, level))[position]
        offset = pick(offsets, inside).astype(jnp.int32)
        slot = jnp.where(ended, -1, first + offset)
        ids = jnp.asarray(tree.layout[level].ids)[jnp.maximum(slot, 0)]
        path.append(jnp.where(ended, -1, ids))
    return jnp.stack(path, axis=1)


def independent_levels(logits: Logits, tree: Taxonomy) -> Int[Array, "B L"]:
    """The best node of every level by raw logit; often no path (baseline)."""
    pairs = zip(logits, tree.layout, strict=True)
    columns = [jnp.asarray(o.ids)[jnp.argmax(x, axis=1)] for x, o in pairs]
    return jnp.stack(columns, axis=1)


def flat_path(logits: Logits, tree: Taxonomy) -> Int[Array, "B L"]:
    """The path to the best leaf of one softmax over raw leaf logits (baseline)."""
    best = jnp.argmax(leaf_columns(logits, tree), axis=1)
    return jnp.asarray(leaf_paths(tree))[best]


def topk_paths(
    logits: Logits, tree: Taxonomy, k: int
) -> tuple[Int[Array, "B K L"], Float[Array, "B K"]]:
    """The k most probable whole paths and their log-probabilities, best first.

    Where the tree has fewer leaves, K is their number.
    """
    log_probs = leaf_log_probs(logits, tree)
    best, columns = jax.lax.top_k(log_probs, min(k, log_probs.shape[1]))
    return jnp.asarray(leaf_paths(tree))[columns], best


def confident_path(
    logits: Logits,
    tree: Taxonomy,
    confidence: float | Float[Array, ""] | Float[Array, "L"],
) -> Int[Array, "B L"]:
    """The path to the deepest node with p(node) >= confidence, -1 below it.

    At equal depth the most probable node; above 0.5 there is only one. All -1 where no
    node is sure enough.

    Args:
      confidence: one of all levels, or of each: then the best nodes of the levels above
        have to be as sure as these want.
    """
    result = jnp.full((len(logits[0]), tree.num_levels), -1, jnp.int32)
    least = jnp.broadcast_to(jnp.asarray(confidence), (tree.num_levels,))
    sure = jnp.ones(len(logits[0]), bool)
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slot = jnp.argmax(log_probs, axis=1)
        # as it is stated: log p >= log(confidence) is rounded otherwise
        sure &= jnp.exp(jnp.max(log_probs, axis=1)) >= least[level]
        ids = jnp.asarray(tree.layout[level].ids)[slot]
        path = jnp.asarray(tree.ancestors[level])[ids]
        result = jnp.where(sure[:, None], path, result)
    return result


def level_topk(logits: Logits, tree: Taxonomy, k: int) -> Int[Array, "B L K"]:
    """Ids of the k most probable real nodes of each level, -1 for fewer."""
    columns = []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        layout = tree.layout[level]
        real = np.flatnonzero(~tree.stop[level][layout.ids])
        kept = min(k, len(real))
        _, best = jax.lax.top_k(log_probs[:, real], kept)
        ids = jnp.asarray(layout.ids[real])[best]
        columns.append(jnp.pad(ids, ((0, 0), (0, k - kept)), constant_values=-1))
    return jnp.stack(columns, axis=1)


def least_distance_path(logits: Logits, tree: Taxonomy) -> Int[Array, "B L"]:
    """The path whose end has the least expected distance to the truth in the tree.

    It takes depth(n) + depth(true) - 2 * (steps they share) to walk from a node n to
    the true one. The mean is least where the sum over the path of 2 p(node) - 1 is
    greatest: conditional risk minimisation (Karthik et al. 2021, arxiv.org/abs/
    2104.00795) for the distance in the tree, without a leaves x leaves matrix. STOP is
    no step. Ties go to the first slot.
    """
    scores = []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        stop = tree.stop[level][tree.layout[level].ids]
        score = jnp.where(stop[None], 0.0, 2.0 * jnp.exp(log_probs) - 1.0)
        scores.append(jnp.where(logits[level] > IMPOSSIBLE / 2, score, FAR))
    best_child = [None] * tree.num_levels
    for level in reversed(range(tree.num_levels)):
        siblings = siblings_of(scores[level], tree.layout[level].blocks)
        best_child[level] = joined([jnp.argmax(s, axis=-1) for s in siblings])
        if level:
            best = [s.max(axis=-1) for s in siblings]
            best = jnp.concatenate([*best, jnp.zeros((len(scores[0]), 1))], axis=1)
            scores[level - 1] += best[:, parent_position(tree, level)]
    return _descend(best_child, tree)


DECODES: dict[str, Callable[[Logits, Taxonomy], Int[Array, "B L"]]] = {
    "path": exact_path,
    "greedy": greedy_path,
    "independent": independent_levels,
    "flat": flat_path,
    "distance": least_distance_path,
}
