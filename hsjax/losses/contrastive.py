"""The contrastive family: texts and pictures of one product near, others apart.

Every loss has the signature of `info_nce` and stands in `CONTRASTS`. With s_ij = scale
* text_i . image_j they differ in what row i is pulled to, and in how hard it is pushed
away from the rest. What they share: candidates of weight 0 do not exist; a pair of one
group (a product listed twice) is never a negative; an anchor without negatives has
weight 0; both directions, or one, are looked at. Here all B x B pairs are held at once;
`forms` has ways to the same values that need less memory.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hsjax.losses.pairs import Pairs, exact_product, other_products


def info_nce(
    text: Float[Array, "B E"],
    image: Float[Array, "B E"],
    scale: Float[Array, ""],
    pairs: Pairs,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """InfoNCE (Paper A, eq. 7), with the positive in the numerator, without duplicates.

    value_i = -log( exp(s_ii) / (exp(s_ii) + sum over negatives j of exp(s_ij)) )

    van den Oord et al. 2018, eq. 4 (https://arxiv.org/abs/1807.03748), in both
    directions as in CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

    Args:
      text, image: unit length.
      scale: 1 / temperature.

    Returns:
      Value and weight per example, float32.
    """

    def rows(s, negative):
        return _log_partition(s, negative | _own(s)) - jnp.diagonal(s)

    return _every_way(rows, text, image, scale, pairs, _negatives(pairs))


def sigmoid(
    text: Float[Array, "B E"],
    image: Float[Array, "B E"],
    scale: Float[Array, ""],
    pairs: Pairs,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """SigLIP (Zhai et al. 2023, https://arxiv.org/abs/2303.15343), with learned bias b.

    value_i = log(1 + exp(-s_ii - b)) + sum over negatives j of log(1 + exp(s_ij + b))

    Each pair is judged alone, so that no sum over the batch is needed. The paper starts
    with b = -10 and a temperature of 0.1.
    """

    def rows(s, negative):
        pushed = jnp.where(negative, jax.nn.softplus(s + pairs.bias), 0.0)
        return jax.nn.softplus(-jnp.diagonal(s) - pairs.bias) + pushed.sum(axis=1)

    return _every_way(rows, text, image, scale, pairs, _negatives(pairs))


def supervised(
    text: Float[Array, "B E"],
    image: Float[Array, "B E"],
    scale: Float[Array, ""],
    pairs: Pairs,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Products of one leaf are positives (Khosla et al. 2020, eq. 2: L_out).

    value_i = -mean over positives p of log( exp(s_ip) / sum over a of exp(s_ia) ), with
    a over positives and negatives: https://arxiv.org/abs/2004.11362, across modalities
    as in UniCL (Yang et al. 2022). A product without a known leaf is a class of its
    own; duplicates of different labels are neither positive nor negative.
    """
    positive = (pairs.near == 1) & (pairs.weight > 0)[None]
    positive |= _own(positive)
    negative = _negatives(pairs) & ~positive
    rows = _towards(positive.astype(jnp.float32))
    return _every_way(rows, text, image, scale, pairs, negative)


def tree_positives(
    text: Float[Array, "B E"],
    image: Float[Array, "B E"],
    scale: Float[Array, ""],
    pairs: Pairs,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Cross-entropy to targets that fall off with the distance in the tree.

    value_i = -sum over j of t_ij log( exp(s_ij) / sum over a of exp(s_ia) ), with t_ij
    in proportion to softness * near_ij and t_ii to 1, as soft labels of a hierarchy
    (Bertinetto et al. 2020, https://arxiv.org/abs/1912.09393) between modalities.
    Softness 0 is `info_nce`. A pair of one group has no target: as one it would be
    pushed off to its share. `hardest` chooses among the products without a target.
    """
    others = other_products(pairs.group, pairs.weight)
    target = jnp.where(others, pairs.softness * pairs.near, 0.0)
    target = jnp.where(_own(target), 1.0, target)
    every = _negatives(pairs)
    rest = every & ~(target > 0)  # targets are in the sum, and take no place of these
    value, _ = _every_way(_towards(target), text, image, scale, pairs, rest)
    return value, jnp.where(every.any(axis=1), pairs.weight, 0.0)


def tree_negatives(
    text: Float[Array, "B E"],
    image: Float[Array, "B E"],
    scale: Float[Array, ""],
    pairs: Pairs,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """InfoNCE in which the nearer a negative is in the tree, the softer it pushes.

    value_i = -log( exp(s_ii) / (exp(s_ii) + sum over j of w_ij exp(s_ij)) ) with w_ij =
    1 - softness * near_ij over the negatives j. Softness 0 is `info_nce`; at 1 products
    of one leaf do not push each other at all.
    """
    push = 1.0 - pairs.softness * pairs.near
    negative = _negatives(pairs) & (push > 0)

    def rows(s, negative):
        pushed = s + jnp.log(jnp.where(negative, push, 1.0))
        kept = negative | _own(s)
        return _log_partition(jnp.where(_own(s), s, pushed), kept) - jnp.diagonal(s)

    return _every_way(rows, text, image, scale, pairs, negative)


CONTRASTS: dict[str, Callable] = {
    "info_nce": info_nce,
    "sigmoid": sigmoid,
    "supervised": supervised,
    "tree_positives": tree_positives,
    "tree_negatives": tree_negatives,
}
LABEL_AWARE = ("supervised", "tree_positives", "tree_negatives")  # they read `kin`


def _own(x: jax.Array) -> Bool[Array, "B B"]:
    return jnp.eye(len(x), dtype=bool)


def _log_partition(
    s: Float[Array, "B B"], kept: Bool[Array, "B B"]
) -> Float[Array, "B"]:
    return jax.nn.logsumexp(s, axis=1, where=kept)


def _towards(target: Float[Array, "B B"]) -> Callable:
    """Cross-entropy of each row to its targets, which are normalised here."""
    share = target / target.sum(axis=1, keepdims=True)

    def rows(s, negative):
        pulled = jnp.where(target > 0, share * s, 0.0).sum(axis=1)
        return _log_partition(s, negative | (target > 0)) - pulled

    return rows


def _negatives(pairs: Pairs) -> Bool[Array, "B B"]:
    """Pairs (i, j) of different groups, j of some weight, of one branch if so asked."""
    negative = other_products(pairs.group, pairs.weight)
    return negative & (pairs.near > 0) if pairs.branch else negative


def _hardest(
    s: Float[Array, "B B"], negative: Bool[Array, "B B"], count: int
) -> Bool[Array, "B B"]:
    """The `count` most similar negatives of each row, all where there are fewer."""
    best, _ = jax.lax.top_k(jnp.where(negative, s, -jnp.inf), min(count, len(s)))
    return negative & (s >= best[:, -1:])


def _every_way(rows, text, image, scale, pairs: Pairs, negative):
    """`rows(s, negative) -> (B,)` in the directions of `pairs`, averaged."""
    similarity = scale * exact_product(text, image.T)
    value = jnp.zeros(len(text))
    ways = {"t2i": (similarity,), "i2t": (similarity.T,)}
    ways["both"] = ways["t2i"] + ways["i2t"]
    for s in ways[pairs.direction]:
        kept = _hardest(s, negative, pairs.hardest) if pairs.hardest else negative
        value += rows(s, kept) / len(ways[pairs.direction])
    return value, jnp.where(negative.any(axis=1), pairs.weight, 0.0)
