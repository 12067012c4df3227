"""One probability distribution over the whole label tree.

Raw level logits are renormalised among the children of each parent and summed down the
path:

    log p(node) = log p(parent) + logits[node] - logsumexp(logits[siblings])

so every leaf has one log-probability and they sum to 1. Training scores the true path,
which is the same as masking each level to the children of the *true* parent (Paper B's
dynamic mask, Fig. 4, in its differentiable form). Every decision is a pure function of
logits and tree: see `decodes`.

Logits come in slot order (`Taxonomy.layout`), as the head emits them; labels are ids,
-1 = none. Everything is float32, O(nodes), and needs no parents x children matrix.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from hsjax.taxonomy import Taxonomy
from hsjax.tree.layout import Block

Logits = Sequence[Float[Array, "B _"]]  # one array (B, C) per level
IMPOSSIBLE = -1e30  # logit of a node that is out of the question; finite, as all may be


def siblings_of(
    x: Float[Array, "B C"], blocks: Sequence[Block]
) -> list[Float[Array, "B _ _"]]:
    """Views (B, parents, fan-out) of a level, one per block."""
    # one split, not many slices: its gradient is one concatenation
    parts = jax.lax.split(x, [b.stop - b.start for b in blocks], axis=1)
    pairs = zip(parts, blocks, strict=True)
    return [part.reshape(len(x), -1, block.fan_out) for part, block in pairs]


def joined(parts: Sequence[Shaped[Array, "B ..."]]) -> Shaped[Array, "B C"]:
    """Blocks side by side again: the inverse of `siblings_of`."""
    return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def sibling_log_probs(logits: Logits, tree: Taxonomy) -> list[Float[Array, "B _"]]:
    """log p(node | parent), in slot order: a log-softmax among siblings."""
    result = []
    for x, layout in zip(logits, tree.layout, strict=True):
        parts = siblings_of(x.astype(jnp.float32), layout.blocks)
        result.append(joined([jax.nn.log_softmax(part, axis=-1) for part in parts]))
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
        blocks = tree.layout[level].blocks
        result[level] = with_parents(result[level], result[level - 1], blocks)
    return result


def with_parents(
    values: Float[Array, "B C"], above: Float[Array, "B P"], blocks: Sequence[Block]
) -> Float[Array, "B C"]:
    """Each node's value plus its parent's: a step of the chain rule in logs."""
    parts = zip(siblings_of(values, blocks), blocks, strict=True)
    return joined([part + above[:, b.parents, None] for part, b in parts])


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
        parts = [jax.nn.logsumexp(p, axis=-1) for p in siblings_of(x, layout.blocks)]
        owner = parent_position(tree, level)[_parent_slots(tree, level)]
        normaliser = pick(joined(parts), jnp.asarray(owner)[label])
        log_prob = pick(x, jnp.asarray(layout.slots)[label]) - normaliser
        columns.append(jnp.where(labels[:, level] >= 0, log_prob, 0.0))
    return jnp.stack(columns, axis=1)


def pick(x: Shaped[Array, "B C"], column: Int[Array, "B"]) -> Shaped[Array, "B"]:
    """Column `column[i]` of row i."""
    return jnp.take_along_axis(x, column[:, None], axis=1)[:, 0]


def _parent_slots(tree: Taxonomy, level: int) -> np.ndarray:
    """Slot of the parent of every id of a level; the root is slot 0 above level 0."""
    above = tree.layout[level - 1].slots if level else np.zeros(1, np.int32)
    return above[tree.parents[level]]


def leaf_log_probs(logits: Logits, tree: Taxonomy) -> Float[Array, "B leaves"]:
    """log p(leaf) of the leaves of all levels, in the order of `leaf_paths`."""
    return leaf_columns(node_log_probs(logits, tree), tree)


def leaf_paths(tree: Taxonomy) -> np.ndarray:
    """(leaves, L) int32 ids of the path to every leaf, coarser leaves first."""
    slots = _leaf_slots(tree)
    ids = [layout.ids[s] for layout, s in zip(tree.layout, slots, strict=True)]
    return np.concatenate([x[i] for x, i in zip(tree.ancestors, ids, strict=True)])


def _leaf_slots(tree: Taxonomy) -> list[np.ndarray]:
    pairs = zip(tree.layout, tree.leaf, strict=True)
    return [np.flatnonzero(leaf[layout.ids]) for layout, leaf in pairs]


def leaf_columns(levels: Logits, tree: Taxonomy) -> Float[Array, "B leaves"]:
    """Of (B, C) per level by slot, the leaves, in the order of `leaf_paths`."""
    pairs = zip(levels, _leaf_slots(tree), strict=True)
    # all leaves of a level: no gather
    parts = [x if len(s) == x.shape[1] else x[:, s] for x, s in pairs]
    return jnp.concatenate(parts, axis=1)


def parent_position(tree: Taxonomy, level: int) -> np.ndarray:
    """Where the parent in each slot of level - 1 stands in the blocks of `level`.

    Nodes without children get the position after the last.
    """
    owners = np.concatenate([b.parents for b in tree.layout[level].blocks])
    position = np.full(tree.sizes[level - 1] if level else 1, len(owners), np.int32)
    position[owners] = np.arange(len(owners))
    return position
