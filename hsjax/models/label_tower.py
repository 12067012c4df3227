"""Class vectors out of the texts of classes, so that one without examples has one."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hsjax.models.joint import STARTS, unit_length
from hsjax.taxonomy import Taxonomy

Span = tuple[int, int, int]  # start, stop, fan-out: see `hsjax.tree.layout.Block`

START, LARGEST = 1 / 0.07, 100.0  # of the factor on the cosine, as CLIP's
NEVER = -1e9  # logit of a class that is left out: finite, as all siblings may be


class LabelFeatures(NamedTuple):
    """What is known of the nodes of a tree before any product is seen; constants.

    Attributes:
      vectors: per level (C, D) float32 by id: a frozen encoder's, of the node's text.
      seen: per level (C,) bool by id: does a training row pass through the node?
    """

    vectors: tuple[Float[np.ndarray, "_ D"], ...]
    seen: tuple[Bool[np.ndarray, "_"], ...]

    def leaves(self, tree: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
        """(leaves, D) and (leaves,) of the leaves by id, coarser levels first.

        Where rows end at an inner node, and none goes on below it, all leaves below it
        are seen: their sum is the node.
        """
        seen = [self.seen[0]]
        for own, parents in zip(self.seen[1:], tree.parents[1:], strict=True):
            goes_on = np.bincount(parents, own, minlength=len(seen[-1])) > 0
            seen.append(own | (seen[-1] & ~goes_on)[parents])
        vectors, flags = (
            np.concatenate([x[leaf] for x, leaf in zip(levels, tree.leaf, strict=True)])
            for levels in (self.vectors, seen)
        )
        return vectors, flags


class LabelLogits(nn.Module):
    """scale * cosine(V product, U label): (B, D) -> (B, C), for any number of classes.

    Both sides are projected into one space of `width` dimensions, as Frome et al.
    (2013, DeViSE) project pictures to the words of their classes. No parameter belongs
    to a class, so the logit of a class without examples is worth as much as another's.
    A side that is as wide as the space starts as it is: where one encoder has read
    products and labels, they match before anything is learnt.
    """

    vectors: Float[np.ndarray, "C D"]  # in the order of the logits
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B F"]) -> Float[Array, "B C"]:
        def projected(x, name):
            start = "identity" if x.shape[-1] == self.width else "random"
            options = {"dtype": self.dtype, "kernel_init": STARTS[start]}
            x = nn.Dense(self.width, name=name, **options)(x)
            return unit_length(x.astype(jnp.float32)).astype(self.dtype)

        product = projected(x, "product")
        label = projected(jnp.asarray(self.vectors), "label")
        start = jnp.log(jnp.float32(START))
        log_scale = self.param("log_scale", lambda key: start)
        scale = jnp.exp(jnp.minimum(log_scale, jnp.log(LARGEST)))
        return scale * jnp.matmul(product, label.T, preferred_element_type=jnp.float32)


def among_seen(
    logits: Float[Array, "B C"], seen: Bool[np.ndarray, "C"], spans: Sequence[Span]
) -> Float[Array, "B C"]:
    """Learned logits with a mean of 0 over the seen siblings, and 0 for the unseen.

    A softmax over seen siblings says nothing of their common height, which would decide
    against or for the unseen. Where every sibling is seen, probabilities stay as they
    are.

    Args:
      seen: does a training row pass through the class?
      spans: of siblings.
    """
    parts = []
    for start, stop, fan_out in spans:
        known = jnp.asarray(seen[start:stop].reshape(1, -1, fan_out))
        part = logits[:, start:stop].reshape(len(logits), -1, fan_out)
        count = jnp.maximum(known.sum(axis=-1, keepdims=True), 1).astype(jnp.float32)
        mean = jnp.where(known, part, 0.0).sum(axis=-1, keepdims=True) / count
        part = jnp.where(known, part - mean, 0.0)
        parts.append(part.reshape(len(logits), -1))
    return jnp.concatenate(parts, axis=1)


def drop_rows(x: Float[Array, "B C"], share: float, key: jax.Array):
    """Zero in a share of the rows, the others as they are."""
    kept = jax.random.uniform(key, (len(x), 1)) >= share
    return jnp.where(kept, x, 0.0)
