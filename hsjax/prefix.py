"""Only what lies below a node that is known already: the tree distribution given it.

    p(node | prefix) = p(node) / p(prefix) below the prefix, 0 elsewhere

Any decode of these logits answers below the prefix.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import IMPOSSIBLE, Logits
from hsjax.taxonomy import Taxonomy


def below(
    logits: Logits, tree: Taxonomy, prefix: Int[Array, "B L"]
) -> list[Float[Array, "B _"]]:
    """Logits of nodes on the path to each prefix and below it; others `IMPOSSIBLE`.

    Args:
      prefix: ids of the path to a node, -1 below it; all -1 = anything may be.
    """
    found = []
    for level, x in enumerate(logits):
        nodes = tree.ancestors[level][tree.layout[level].ids][:, : level + 1]
        given = prefix[:, None, : level + 1]
        kept = ((given < 0) | (given == jnp.asarray(nodes)[None])).all(axis=2)
        found.append(jnp.where(kept, x.astype(jnp.float32), IMPOSSIBLE))
    return found
