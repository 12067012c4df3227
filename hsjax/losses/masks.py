"""The dynamic mask in training: what the softmax of a level is taken over.

Paper B's Fig. 4 masks each level to the children of a parent, and leaves open which
parent training means, and whether logits or the softmax's output are masked (B3, B4).
The true parent's children, renormalised, make the likelihood of the tree distribution,
and are the default. The others are there to be compared.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hsjax.decodes import greedy_path
from hsjax.hierarchy import Logits, label_log_probs, pick, with_parents
from hsjax.taxonomy import Taxonomy

MASKS = ("true", "predicted", "soft", "none")
MASKED = ("logits", "softmax")
FLOOR = 1e-7  # of a probability that a mask has hidden, as common frameworks clip it


def masked_log_probs(
    logits: Logits, labels: Int[Array, "B L"], tree: Taxonomy, *, mask: str, on: str
) -> Float[Array, "B L"]:
    """log of what training takes for the label's probability, 0 where there is none.

    Args:
      mask: `true`, the children of the true parent; `predicted`, those of the node that
        the greedy mask answers above: where that one is wrong, the label is hidden, has
        the probability 1e-7 and teaches nothing; `soft`, every node times the
        probability of its parent (the transition matrix of Chen et al. 2025,
        arxiv.org/abs/2501.06827); `none`, all nodes of the level.
      on: `logits`, renormalised inside the mask, or `softmax`, whose output is zeroed
        outside and stays as it is inside: with `true` that is the same as no mask.
    """
    if mask == "true" and on == "logits":
        return label_log_probs(logits, labels, tree)
    if mask == "soft":
        levels = _soft_log_probs(logits, tree, renormalise=on == "logits")
        return _of_labels(levels, labels, tree)
    if mask == "predicted" and on == "logits":
        found = label_log_probs(logits, labels, tree)
    else:
        plain = [jax.nn.log_softmax(x.astype(jnp.float32), axis=1) for x in logits]
        found = _of_labels(plain, labels, tree)
    if mask != "predicted":
        return found
    right = greedy_path(logits, tree)[:, :-1] == labels[:, :-1]
    shown = jnp.concatenate([jnp.ones_like(right[:, :1]), right], axis=1)
    hidden = jnp.where(labels >= 0, jnp.log(jnp.float32(FLOOR)), 0.0)
    return jnp.where(shown | (labels < 0), found, hidden)


def _soft_log_probs(
    logits: Logits, tree: Taxonomy, *, renormalise: bool
) -> list[Float[Array, "B _"]]:
    """log of (softmax of a level) * (what the level above gives to the parent)."""
    result: list[jax.Array] = []
    for x, layout in zip(logits, tree.layout, strict=True):
        own = jax.nn.log_softmax(x.astype(jnp.float32), axis=1)
        if result:
            own = with_parents(own, result[-1], layout.blocks)
            if renormalise:
                own = jax.nn.log_softmax(own, axis=1)
        result.append(own)
    return result


def _of_labels(
    levels: Logits, labels: Int[Array, "B L"], tree: Taxonomy
) -> Float[Array, "B L"]:
    """Values of the labels in (B, C) per level by slot, 0 where a label is -1."""
    columns = []
    for level, values in enumerate(levels):
        slots = jnp.asarray(tree.layout[level].slots)
        found = pick(values, slots[jnp.maximum(labels[:, level], 0)])
        columns.append(jnp.where(labels[:, level] >= 0, found, 0.0))
    return jnp.stack(columns, axis=1)
