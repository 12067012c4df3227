"""Losses as pure functions: each returns a value and a weight per example.

None has a collective. Under `jax.jit` with the batch sharded over a mesh the plain
function is the loss of the whole batch. Division happens once, in `weighted_mean`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hsjax.hierarchy import Logits, label_log_probs
from hsjax.taxonomy import Taxonomy


def weighted_mean(
    value: Float[Array, "B"], weight: Float[Array, "B"]
) -> Float[Array, ""]:
    """sum(value * weight) / sum(weight), 0 where nothing has weight."""
    total = weight.sum()
    # a row without weight may hold anything, and 0 * inf would be NaN
    value = jnp.where(weight > 0, value, 0.0)
    return (value * weight).sum() / jnp.where(total > 0, total, 1.0)


def hierarchical_cross_entropy(
    logits: Logits,
    labels: Int[Array, "B L"],
    tree: Taxonomy,
    *,
    weight: Float[Array, "B"],
    reduction: str = "sum",
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """-log p(path): at each present level, cross-entropy among the true siblings.

    Args:
      labels: ids, -1 where there is none; STOP children count as classes.
      weight: 0 = padding.
      reduction: `sum` over present levels, the likelihood of the tree distribution, or
        `mean`.

    Returns:
      Value and weight per example; a row without any label has weight 0.
    """
    per_level = -label_log_probs(logits, labels, tree)
    levels = (labels >= 0).sum(axis=1).astype(jnp.float32)
    value = per_level.sum(axis=1)
    if reduction == "mean":
        value = value / jnp.maximum(levels, 1.0)
    return value, jnp.where(levels > 0, weight, 0.0)


def info_nce(
    text: Float[Array, "B E"],
    image: Float[Array, "B E"],
    scale: Float[Array, ""],
    *,
    group: Int[Array, "B"],
    weight: Float[Array, "B"],
    direction: str = "both",
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """InfoNCE (Paper A, eq. 7), with the positive in the numerator, without duplicates.

    value_i = -log( exp(s_ii) / (exp(s_ii) + sum over negatives j of exp(s_ij)) ) with
    s_ij = scale * text_i . image_j. Negatives are pairs of another group whose weight
    is above 0, so a product listed twice is never its own negative.

    Args:
      text, image: unit length.
      scale: 1 / temperature.
      weight: 0 for padding and wherever a modality is absent.
      direction: `t2i` (the paper's, one way), `i2t`, or `both` (their mean).

    Returns:
      Value and weight per example; an anchor without negatives has weight 0.
    """
    similarity = scale * jnp.matmul(text, image.T, preferred_element_type=jnp.float32)
    negative = (group[:, None] != group[None, :]) & (weight > 0)[None, :]
    value = jnp.zeros(len(text))
    ways = {"t2i": (similarity,), "i2t": (similarity.T,)}
    ways["both"] = ways["t2i"] + ways["i2t"]
    for s in ways[direction]:
        value += _positive_nll(s, negative) / len(ways[direction])
    return value, jnp.where(negative.any(axis=1), weight, 0.0)


def _positive_nll(
    similarity: Float[Array, "B B"], negative: Bool[Array, "B B"]
) -> Float[Array, "B"]:
    kept = negative | jnp.eye(len(similarity), dtype=bool)
    positive = jnp.diagonal(similarity)
    return jax.nn.logsumexp(similarity, axis=1, where=kept) - positive
