"""Sets of leaves that hold the true one as often as was promised.

Split-conformal prediction (Papadopoulos et al. 2002; Vovk et al. 2005): a set has every
leaf that is at least as probable as a threshold, which is fitted so that of products
like those it was fitted on a given share has its true leaf in the set. These are the
least ambiguous sets (Sadinle, Lei and Wasserman 2019, arxiv.org/abs/1609.00451): none
of that coverage are smaller in the mean. Adaptive ones (Romano et al. 2020) even out
coverage between easy and hard products at the price of larger sets and, to be exact,
of a random number for each product, which no audit could repeat.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import IMPOSSIBLE, Logits, leaf_log_probs, leaf_paths
from hsjax.taxonomy import Taxonomy


def leaf_set(
    logits: Logits,
    tree: Taxonomy,
    least: float | Float[Array, ""],
    *,
    most: int,
    within: Logits | None = None,
) -> tuple[Int[Array, "B K L"], Int[Array, "B"], Int[Array, "B L"]]:
    """Leaves of at least this probability, and always the most probable one.

    Args:
      least: probability of a leaf in the set.
      most: leaves that are named.
      within: logits `below` a prefix, outside of which no leaf is taken. The threshold
        stays that of the whole tree: where the prefix is right, the set has lost
        nothing but wrong leaves.

    Returns:
      Paths to the most probable leaves of the set, -1 where there are fewer; how many
      there are; and the path to the deepest node that has them all below it.
    """
    log_probs, paths = leaf_log_probs(logits, tree), leaf_paths(tree)
    if within is not None:
        inside = leaf_log_probs(within, tree) > IMPOSSIBLE / 2
        log_probs = jnp.where(inside, log_probs, -jnp.inf)
    best = jnp.argmax(log_probs, axis=1)
    member = jnp.exp(log_probs) >= least  # of what is stated, as it was fitted
    member &= log_probs > -jnp.inf  # a threshold of 0 takes in whatever may be
    member |= jnp.arange(len(paths))[None] == best[:, None]
    ranked = jnp.where(member, log_probs, -jnp.inf)
    # the best one, if it is as improbable as can be, stays the first
    _, columns = jax.lax.top_k(ranked, min(most, len(paths)))
    listed = jnp.arange(len(columns[0]))[None] < member.sum(axis=1)[:, None]
    named = jnp.where(listed[..., None], jnp.asarray(paths)[columns], -1)
    return named, member.sum(axis=1), _deepest_above(member, paths)


def set_sizes(
    logits: Logits, tree: Taxonomy, leasts: Float[Array, "S"]
) -> Int[Array, "B S"]:
    """How many leaves the sets of `leaf_set` have, of several least probabilities."""
    probs = jnp.exp(leaf_log_probs(logits, tree))
    counts = [(probs >= least).sum(axis=1) for least in leasts]
    return jnp.maximum(jnp.stack(counts, axis=1), 1)


def _deepest_above(member, paths) -> Int[Array, "B L"]:
    """Path to the deepest node that all members of (B, P) share."""
    columns = []
    for ids in paths.T:
        first = jnp.min(jnp.where(member, ids[None], len(ids) + ids.max()), axis=1)
        last = jnp.max(jnp.where(member, ids[None], -1), axis=1)
        columns.append(jnp.where((first == last) & (first >= 0), first, -1))
    return jnp.stack(columns, axis=1)
