"""Losses as pure functions: each returns a value and a weight per example.

Under `jax.jit` with the batch sharded over a mesh the plain function is the loss of the
whole batch, so that none has a collective but a contrastive one that is asked to be a
`ring`. Division happens once, in `weighted_mean`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hsjax.losses.classification import hierarchical_cross_entropy
from hsjax.losses.contrastive import CONTRASTS, info_nce
from hsjax.losses.forms import FORMS, make_contrast
from hsjax.losses.pairs import Pairs, kin_of, tree_similarity
from hsjax.losses.views import nt_xent

__all__ = [
    "CONTRASTS",
    "FORMS",
    "Pairs",
    "hierarchical_cross_entropy",
    "info_nce",
    "kin_of",
    "make_contrast",
    "nt_xent",
    "tree_similarity",
    "weighted_mean",
]


def weighted_mean(
    value: Float[Array, "B"], weight: Float[Array, "B"]
) -> Float[Array, ""]:
    """sum(value * weight) / sum(weight), 0 where nothing has weight."""
    total = weight.sum()
    # a row without weight may hold anything, and 0 * inf would be NaN
    value = jnp.where(weight > 0, value, 0.0)
    return (value * weight).sum() / jnp.where(total > 0, total, 1.0)
