"""One probability distribution over the whole label tree, and every decision from it.

Raw level logits are renormalised among the children of each parent and summed down the
path:

    log p(node) = log p(parent) + logits[node] - logsumexp(logits[siblings])

so every leaf has one log-probability and they sum to 1. Training scores the true path,
which is the same as masking each level to the children of the *true* parent (Paper B's
dynamic mask, Fig. 4, in its differentiable form). Decodes are pure functions of logits
and tree.

Logits come in slot order (`Taxonomy.layout`), as the head emits them; labels are ids,
-1 = none. Everything is float32, O(nodes), and needs no parents x children matrix.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from hsjax.layout import Block
from hsjax.taxonomy import Taxonomy

Logits = Sequence[Float[Array, "B _"]]  # one array (B, C) per level


def _siblings(
    x: Float[Array, "B C"], blocks: Sequence[Block]
) -> list[Float[Array, "B _ _"]]:
    """Views (B, parents, fan-out) of a level, one per block."""
    # one split, not many slices: its gradient is one concatenation
    parts = jax.lax.split(x, [b.stop - b.start for b in blocks], axis=1)
    pairs = zip(parts, blocks, strict=True)
    return [part.reshape(len(x), -1, block.fan_out) for part, block in pairs]


def _joined(parts: Sequence[Shaped[Array, "B ..."]]) -> Shaped[Array, "B C"]:
    return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def sibling_log_probs(logits: Logits, tree: Taxonomy) -> list[Float[Array, "B _"]]:
    """log p(node | parent), in slot order: a log-softmax among siblings."""
    result = []
    for x, layout in zip(logits, tree.layout, strict=True):
        parts = _siblings(x.astype(jnp.float32), layout.blocks)
        result.append(_joined([jax.nn.log_softmax(part, axis=-1) for part in parts]))
    return result


def node_log_probs(logits: Logits, tree: Taxonomy) -> list[Float[Array, "B _"]]:
    """log p(node), the marginal of every node, in slot order.

    >>> tree = Taxonomy.from_paths([("a", "a1"), ("a", "a2"), ("b", "b1")])
    >>> levels = node_log_probs([jnp.zeros((1, 2)), jnp.zeros((1, 3))], tree)
    >>> [jnp.exp(x).round(2).tolist() for x in levels]  # only children come first
    [[[0.5, 0.5]], [[0.5, 0.25, 0.25]]]
    """
    result = sibling_log_probs(logits, tree)
    for level in range(1, tree.num_levels):
        blocks, above = tree.layout[level].blocks, result[level - 1]
        parts = zip(_siblings(result[level], blocks), blocks, strict=True)
        result[level] = _joined([part + above[:, b.parents, None] for part, b in parts])
    return result


def label_log_probs(
    logits: Logits, labels: Int[Array, "B L"], tree: Taxonomy
) -> Float[Array, "B L"]:
    """log p(label | its parent) at every level, 0 where the label is -1.

    The sum over levels is the log-probability of the labelled path.
    """
    columns = []
    for level, x in enumerate(logits):
        label, layout = jnp.maximum(labels[:, level], 0), tree.layout[level]
        x = x.astype(jnp.float32)
        # only the normaliser of the true parent is needed, so no (B, C) array is formed
        parts = [jax.nn.logsumexp(p, axis=-1) for p in _siblings(x, layout.blocks)]
        owner = _position(tree, level)[_parent_slots(tree, level)]
        normaliser = _pick(_joined(parts), jnp.asarray(owner)[label])
        log_prob = _pick(x, jnp.asarray(layout.slots)[label]) - normaliser
        columns.append(jnp.where(labels[:, level] >= 0, log_prob, 0.0))
    return jnp.stack(columns, axis=1)


def _pick(x: Shaped[Array, "B C"], column: Int[Array, "B"]) -> Shaped[Array, "B"]:
    return jnp.take_along_axis(x, column[:, None], axis=1)[:, 0]


def _parent_slots(tree: Taxonomy, level: int) -> np.ndarray:
    """Slot of the parent of every id of a level; the root is slot 0 above level 0."""
    above = tree.layout[level - 1].slots if level else np.zeros(1, np.int32)
    return above[tree.parents[level]]


def leaf_log_probs(logits: Logits, tree: Taxonomy) -> Float[Array, "B leaves"]:
    """log p(leaf) of the leaves of all levels, in the order of `leaf_paths`."""
    return _leaf_columns(node_log_probs(logits, tree), tree)


def leaf_paths(tree: Taxonomy) -> np.ndarray:
    """(leaves, L) int32 ids of the path to every leaf, coarser leaves first."""
    slots = _leaf_slots(tree)
    ids = [layout.ids[s] for layout, s in zip(tree.layout, slots, strict=True)]
    return np.concatenate([x[i] for x, i in zip(tree.ancestors, ids, strict=True)])


def _leaf_slots(tree: Taxonomy) -> list[np.ndarray]:
    pairs = zip(tree.layout, tree.leaf, strict=True)
    return [np.flatnonzero(leaf[layout.ids]) for layout, leaf in pairs]


def _leaf_columns(levels: Logits, tree: Taxonomy) -> Float[Array, "B leaves"]:
    pairs = zip(levels, _leaf_slots(tree), strict=True)
    # all leaves of a level: no gather
    parts = [x if len(s) == x.shape[1] else x[:, s] for x, s in pairs]
    return jnp.concatenate(parts, axis=1)


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
        siblings = _siblings(x, blocks)
        scores = siblings if below is None else _siblings(x + below, blocks)
        best_child[level] = _joined([jnp.argmax(s, axis=-1) for s in scores])
        if level:
            pairs = zip(scores, siblings, strict=True)
            best = [s.max(-1) - jax.nn.logsumexp(part, axis=-1) for s, part in pairs]
            # leaves of the level above read the appended zero: nothing lies below them
            best = jnp.concatenate([*best, jnp.zeros((len(x), 1))], axis=1)
            below = best[:, _position(tree, level)]
    return _descend(best_child, tree)


def greedy_path(logits: Logits, tree: Taxonomy) -> Int[Array, "B L"]:
    """Paper B's hard mask: the best child of the node just chosen, top down."""
    best_child = [
        _joined([jnp.argmax(part, axis=-1) for part in _siblings(x, layout.blocks)])
        for x, layout in zip(logits, tree.layout, strict=True)
    ]
    return _descend(best_child, tree)


def _position(tree: Taxonomy, level: int) -> np.ndarray:
    """Where the parent in each slot of level - 1 stands in the blocks of `level`.

    Nodes without children get the position after the last.
    """
    owners = np.concatenate([b.parents for b in tree.layout[level].blocks])
    position = np.full(tree.sizes[level - 1] if level else 1, len(owners), np.int32)
    position[owners] = np.arange(len(owners))
    return position


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
        position = jnp.asarray(_position(tree, level))[jnp.maximum(slot, 0)]
        ended |= position == offsets.shape[1]
        inside = jnp.minimum(position, offsets.shape[1] - 1)
        first = jnp.asarray(_first_child(tree, level))[position]
        offset = _pick(offsets, inside).astype(jnp.int32)
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
    best = jnp.argmax(_leaf_columns(logits, tree), axis=1)
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
    logits: Logits, tree: Taxonomy, confidence: float | Float[Array, ""]
) -> Int[Array, "B L"]:
    """The path to the deepest node with p(node) >= confidence, -1 below it.

    At equal depth the most probable node; above 0.5 there is only one. All -1 where no
    node is sure enough.
    """
    result = jnp.full((len(logits[0]), tree.num_levels), -1, jnp.int32)
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slot = jnp.argmax(log_probs, axis=1)
        sure = jnp.max(log_probs, axis=1) >= jnp.log(confidence)
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


DECODES: dict[str, Callable[[Logits, Taxonomy], Int[Array, "B L"]]] = {
    "path": exact_path,
    "greedy": greedy_path,
    "independent": independent_levels,
    "flat": flat_path,
}
