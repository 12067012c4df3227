"""What a contrastive loss is told of the rows of a batch, and of their pairs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hsjax.taxonomy import Taxonomy


class Kin(NamedTuple):
    """Where each product stands in the tree, enough to compare any two of them.

    Attributes:
      labels: (B, L) ids, -1 where there is none.
      nodes: (B,) float32, how many its path has; what is unknown below an inner node is
        a node of its own.
    """

    labels: Int[Array, "B L"]
    nodes: Float[Array, "B"]


class Pairs(NamedTuple):
    """What a contrastive loss is told of the rows of a batch and of their pairs.

    Attributes:
      group: (B,) int, equal for one product listed twice.
      weight: (B,) 0 for padding and wherever a modality is absent.
      direction: `t2i` (text i among all pictures), `i2t`, or `both` (their mean).
      hardest: only so many most similar negatives of each anchor; 0 = all.
      kin: of losses that look at labels, and of `branch`: see `kin_of`.
      branch: only products of one node of level 1 are negatives.
      softness: 0..1, how much the similarity of labels counts.
      bias: () of `sigmoid`, learned.
    """

    group: Int[Array, "B"]
    weight: Float[Array, "B"]
    direction: str = "both"
    hardest: int = 0
    kin: Kin | None = None
    branch: bool = False
    softness: float = 0.0
    bias: Float[Array, ""] | None = None

    @property
    def near(self) -> Float[Array, "B B"]:
        """Similarity of labels in 0..1: see `similarity`."""
        return similarity(self.kin, self.kin)


def kin_of(labels: Int[Array, "B L"], tree: Taxonomy) -> Kin:
    """Counts the nodes of each path once.

    Args:
      labels: ids, -1 where there is none.
    """
    known = labels >= 0
    ended = jnp.zeros(len(labels), bool)
    for column, here, leaf in zip(labels.T, known.T, tree.leaf, strict=True):
        ended |= here & jnp.asarray(leaf)[jnp.maximum(column, 0)]
    nodes = known.sum(axis=1) + jnp.where(ended, 0, 1)
    return Kin(labels, nodes.astype(jnp.float32))


def similarity(rows: Kin, columns: Kin) -> Float[Array, "R C"]:
    """2 x shared nodes / (nodes of i + nodes of j), counted from the top.

    The similarity of Wu and Palmer (1994, https://aclanthology.org/P94-1019). It is 1
    only for two products of one known leaf: what is unknown below an inner node is a
    node of its own. 0 without a common node of level 1.
    """
    total = rows.nodes[:, None] + columns.nodes[None]
    together, shared = jnp.ones(total.shape, bool), jnp.zeros_like(total)
    for i, j in zip(rows.labels.T, columns.labels.T, strict=True):
        together &= (i[:, None] == j[None]) & (i >= 0)[:, None]
        shared += together.astype(jnp.float32)
    return 2.0 * shared / total


def tree_similarity(labels: Int[Array, "B L"], tree: Taxonomy) -> Float[Array, "B B"]:
    """`similarity` of every two products of a batch."""
    kin = kin_of(labels, tree)
    return similarity(kin, kin)


def other_products(
    group: Int[Array, "B"], weight: Float[Array, "B"]
) -> Bool[Array, "B B"]:
    """Is j a product other than i, and there at all? Only such are negatives."""
    return (group[:, None] != group[None, :]) & (weight > 0)[None, :]


def exact_product(a: Float[Array, "R K"], b: Float[Array, "K C"]) -> jax.Array:
    """a b in float32, also where a GPU or TPU would round float32 factors first.

    Temperatures make logits of cosines a hundred times as large, rounding and all.
    """
    kept = {"precision": "highest", "preferred_element_type": jnp.float32}
    return jnp.matmul(a, b, **kept)
