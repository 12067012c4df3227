"""The likelihood of a set: of several nodes one is right, and nobody says which.

The label of a product may be written in an edition in which its class was not yet
divided. It says that the leaf lies below one of some nodes S of the tree, no more. Its
likelihood is the probability of the set, p(S) = sum over n in S of p(n): the maximum
likelihood of partial labels (Jin and Ghahramani 2002, "Learning with multiple labels").
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hsjax.hierarchy import Logits, node_log_probs
from hsjax.taxonomy import Taxonomy


def set_log_probs(
    logits: Logits, admissible: Int[Array, "B S"], tree: Taxonomy
) -> Float[Array, "B"]:
    """log p(S) under the tree distribution, 0 where a row has no set.

    Args:
      admissible: numbers of disjoint nodes, -1 = padding: see `hsjax.batch`.
    """
    levels = node_log_probs(logits, tree)
    pairs = zip(levels, tree.layout, strict=True)
    by_number = jnp.concatenate([x[:, layout.slots] for x, layout in pairs], axis=1)
    there, some = admissible >= 0, some_set(admissible)
    # a row without a set takes any node: of no term at all the gradient would be NaN
    there |= ~some[:, None] & (jnp.arange(admissible.shape[1]) == 0)[None]
    values = jnp.take_along_axis(by_number, jnp.maximum(admissible, 0), axis=1)
    found = jax.nn.logsumexp(jnp.where(there, values, -jnp.inf), axis=1)
    return jnp.where(some, found, 0.0)


def some_set(admissible: Int[Array, "B S"]) -> Bool[Array, "B"]:
    """Which rows have a set."""
    return (admissible >= 0).any(axis=1)


def rest_of_sets(
    logits: Logits,
    admissible: Int[Array, "B S"],
    tree: Taxonomy,
    shared: Float[Array, "B"],
) -> Float[Array, "B"]:
    """What -log p(S) adds to the `shared` loss of the path down to the set's nodes."""
    rest = -set_log_probs(logits, admissible, tree) - shared
    return jnp.where(some_set(admissible), rest, 0.0)


def set_depths(admissible: Int[Array, "B S"], tree: Taxonomy) -> Float[Array, "B"]:
    """Levels down to the nodes of a set, in the mean over them; 0 without a set."""
    levels = np.repeat(np.arange(1, tree.num_levels + 1), tree.sizes)
    there = admissible >= 0
    depths = jnp.asarray(levels, jnp.float32)[jnp.maximum(admissible, 0)]
    count = jnp.maximum(there.sum(axis=1), 1).astype(jnp.float32)
    return jnp.where(there, depths, 0.0).sum(axis=1) / count
