"""Temperatures: logits that are divided before the softmax, to be honest or sharp.

    p(node | parent) = softmax over siblings of logits / T of the level

stays one distribution over the tree. Of a flat head, whose nodes are sums of leaves,
there is one temperature, of the leaf logits: p(leaf) = softmax of logits / T. Guo et
al. 2017, arxiv.org/abs/1706.04599.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import Logits, parent_position, siblings_of
from hsjax.taxonomy import Taxonomy


def tempered(
    logits: Logits, tree: Taxonomy, temperatures: Float[Array, "T"]
) -> list[Float[Array, "B _"]]:
    """Logits whose tree distribution is the one at these temperatures.

    Args:
      temperatures: of each level; one alone is of the leaf logits of a flat head.
    """
    if len(temperatures) == tree.num_levels:
        pairs = zip(logits, temperatures, strict=True)
        return [x.astype(jnp.float32) / t for x, t in pairs]
    below, found = None, []
    for level in reversed(range(tree.num_levels)):
        layout = tree.layout[level]
        x = logits[level].astype(jnp.float32) / temperatures[0]
        if below is not None:  # an inner node is the sum of what lies below it
            x = jnp.where(tree.leaf[level][layout.ids][None], x, below)
        found.insert(0, x)
        if level:
            sums = [jax.nn.logsumexp(s, axis=-1) for s in siblings_of(x, layout.blocks)]
            sums = jnp.concatenate([*sums, jnp.zeros((len(x), 1))], axis=1)
            below = sums[:, parent_position(tree, level)]
    return found


def sibling_margins(
    logits: Logits, labels: Int[Array, "B L"], tree: Taxonomy
) -> list[Float[Array, "B _"]]:
    """Per level: logits of the true node's siblings, less its own; -inf fills up.

    logsumexp(margins / T) is -log p(true node | its parent) at temperature T. Nothing
    is meant where there is no label.
    """
    found = []
    for level, x in enumerate(logits):
        slots = jnp.asarray(tree.layout[level].slots)[jnp.maximum(labels[:, level], 0)]
        brothers = jnp.asarray(_siblings(tree, level))[slots]
        x = x.astype(jnp.float32)
        own = jnp.take_along_axis(x, slots[:, None], axis=1)
        values = jnp.take_along_axis(x, jnp.maximum(brothers, 0), axis=1) - own
        found.append(jnp.where(brothers >= 0, values, -jnp.inf))
    return found


def _siblings(tree: Taxonomy, level: int) -> np.ndarray:
    """(C, F) slots of the siblings of each slot, itself among them; -1 fills up."""
    blocks = tree.layout[level].blocks
    table = np.full((tree.sizes[level], max(b.fan_out for b in blocks)), -1, np.int32)
    for b in blocks:
        slots = np.arange(b.start, b.stop).reshape(-1, b.fan_out)
        table[b.start : b.stop, : b.fan_out] = np.repeat(slots, b.fan_out, axis=0)
    return table
