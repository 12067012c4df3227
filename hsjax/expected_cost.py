"""The least expected cost of a path: tree distance, but for pairs that are listed.

    cost(e) = sum over ends t of p(t) distance(e, t)
            + sum over listed pairs (e, t) of p(t) (cost(e, t) - distance(e, t))

The first sum is a walk down the tree, O(nodes): the probabilities on the way to e say
all of it. The second takes the listed pairs alone, so that no leaves x leaves matrix is
formed, unless most pairs of some ends are listed: then these ends have one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import (
    IMPOSSIBLE,
    Logits,
    leaf_columns,
    leaf_paths,
    node_log_probs,
    with_parents,
)
from hsjax.taxonomy import Taxonomy
from hsjax.tree.costs import PairCosts, path_distance

COST = "cost"  # what the decode is called
PAIRS = 4096  # that are added at once: B x PAIRS floats
FULL = 8  # a matrix where one in so many pairs of its ends is listed


def least_cost_path(
    logits: Logits, tree: Taxonomy, costs: PairCosts
) -> Int[Array, "B L"]:
    """The path of the least expected cost: conditional risk minimisation.

    It ends at a leaf, or at an inner node where products may end. Ties go to the first
    in the order of `leaf_paths`. Karthik et al. 2021, arxiv.org/abs/2104.00795.

    Raises:
      KeyError: no path of the tree ends at a listed code.
    """
    possible = leaf_columns(logits, tree) > IMPOSSIBLE / 2
    expected = jnp.where(possible, expected_costs(logits, tree, costs), jnp.inf)
    best = jnp.argmin(expected, axis=1)
    return jnp.asarray(leaf_paths(tree))[best]


def expected_costs(
    logits: Logits, tree: Taxonomy, costs: PairCosts
) -> Float[Array, "B leaves"]:
    """Of each end of a path, in the order of `leaf_paths`."""
    levels = node_log_probs(logits, tree)
    walked, depth = [], 0.0  # edges from n to the truth, less those from the root
    for level, log_probs in enumerate(levels):
        layout = tree.layout[level]
        real = ~tree.stop[level][layout.ids]
        probs = jnp.where(real[None], jnp.exp(log_probs), 0.0)
        depth += probs.sum(axis=1)
        steps = jnp.where(real[None], 1.0 - 2.0 * probs, 0.0)
        below = with_parents(steps, walked[-1], layout.blocks) if level else steps
        walked.append(below)
    expected = leaf_columns(walked, tree) + depth[:, None]
    if not len(costs.cost):
        return expected
    return _listed(expected, jnp.exp(leaf_columns(levels, tree)), tree, costs)


def _listed(
    expected: Float[Array, "B leaves"],
    probs: Float[Array, "B leaves"],
    tree: Taxonomy,
    costs: PairCosts,
) -> Float[Array, "B leaves"]:
    """Plus what the listed pairs cost beyond their distance."""
    paths = leaf_paths(tree)
    ends = {tree.decode(ids)[-1]: i for i, ids in enumerate(paths)}
    chosen, true = (
        np.array([ends[code] for code in codes.tolist()], np.int32)
        for codes in (costs.predicted, costs.true)
    )
    more = costs.cost - path_distance(*_real(paths, tree)[[chosen, true]], none=-1)
    (few, place), (seen, given) = (
        np.unique(columns, return_inverse=True) for columns in (chosen, true)
    )
    if FULL * len(more) >= len(few) * len(seen):
        matrix = np.zeros((len(seen), len(few)), np.float32)
        matrix[given, place] = more
        exact = jax.lax.Precision.HIGHEST
        return expected.at[:, few].add(jnp.dot(probs[:, seen], matrix, precision=exact))
    return _in_parts(expected, probs, chosen, true, more.astype(np.float32))


def _in_parts(
    expected, probs, chosen: np.ndarray, true: np.ndarray, more: np.ndarray
) -> Float[Array, "B leaves"]:
    """Some pairs after the other; what fills up the last part costs 0."""
    parts = -(-len(more) // PAIRS)
    size = min(PAIRS, len(more))
    columns = [
        np.pad(x, (0, parts * size - len(x))).reshape(parts, size)
        for x in (chosen, true, more)
    ]

    def add(total, part):
        of, where, cost = part
        return total.at[:, of].add(probs[:, where] * cost[None]), None

    return jax.lax.scan(add, expected, tuple(map(jnp.asarray, columns)))[0]


def _real(paths: np.ndarray, tree: Taxonomy) -> np.ndarray:
    """The same without STOP."""
    pairs = zip(tree.stop, paths.T, strict=True)
    stops = [np.append(stop, False)[ids] for stop, ids in pairs]  # [-1] is False
    return np.where(np.stack(stops, axis=1), -1, paths)
