"""File a code, ask the seller, or let a person look: what costs least to expect.

    file code e  sum over true codes t of p(t) cost(e, t), where for t other than e
                 cost(e, t) = max(duty(e) - duty(t), 0) + penalty(t)
    ask          ask + review * p(the true code is none of the k most probable)
    review       review

A wrong code costs the duty that was paid too much, and the penalty of having
misdeclared what it is; duty that was paid too little is owed anyway. Who is asked
picks one of the k most probable codes, or says that it is none: then a person looks,
who is right.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import IMPOSSIBLE, Logits, leaf_log_probs, leaf_paths
from hsjax.taxonomy import Taxonomy

ACTIONS = ("file", "ask", "review")


class Stakes(NamedTuple):
    """What is at stake, all in one currency.

    Attributes:
      duty, penalty: (P,) of each leaf in the order of `leaf_paths`.
      ask, review: what the question and the look of a person cost.
    """

    duty: Float[Array, "P"]
    penalty: Float[Array, "P"]
    ask: float | Float[Array, ""]
    review: float | Float[Array, ""]


def filing_costs(probs: Float[Array, "B P"], stakes: Stakes) -> Float[Array, "B P"]:
    """Expected cost of filing each leaf, O(leaves log leaves)."""
    duty, penalty = jnp.asarray(stakes.duty), jnp.asarray(stakes.penalty)
    order = jnp.argsort(duty)
    sorted_, ranked = probs[:, order], duty[order]
    lower = jnp.cumsum(sorted_, axis=1)  # leaves of at most this duty
    paid = ranked[None] * lower - jnp.cumsum(sorted_ * ranked[None], axis=1)
    overpaid = jnp.maximum(paid, 0.0)[:, jnp.argsort(order)]
    fines = probs * penalty[None]
    return overpaid + fines.sum(axis=1, keepdims=True) - fines


def cheapest_action(
    logits: Logits, tree: Taxonomy, stakes: Stakes, *, shown: int
) -> tuple[Int[Array, "B"], Float[Array, "B"], Int[Array, "B L"]]:
    """Place of the action in `ACTIONS`, what it costs to expect, and the path to file.

    The path is the cheapest one to file, whatever the action. Ties go to the first.

    Args:
      shown: codes that somebody is asked to choose from.
    """
    log_probs = leaf_log_probs(logits, tree)
    probs = jnp.exp(log_probs)
    costs = filing_costs(probs, stakes)
    costs = jnp.where(log_probs > IMPOSSIBLE / 2, costs, jnp.inf)
    named = jax.lax.top_k(probs, min(shown, probs.shape[1]))[0].sum(axis=1)
    ask = stakes.ask + stakes.review * jnp.maximum(1.0 - named, 0.0)
    review = jnp.full_like(ask, stakes.review)
    options = jnp.stack([costs.min(axis=1), ask, review], axis=1)
    path = jnp.asarray(leaf_paths(tree))[jnp.argmin(costs, axis=1)]
    return jnp.argmin(options, axis=1), options.min(axis=1), path
