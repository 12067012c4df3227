"""The cross-entropy of the tree distribution, plain or corrected for a long tail."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hsjax.hierarchy import Logits
from hsjax.losses.masks import masked_log_probs
from hsjax.losses.sets import rest_of_sets, set_depths, some_set
from hsjax.taxonomy import Taxonomy


def hierarchical_cross_entropy(
    logits: Logits,
    labels: Int[Array, "B L"],
    tree: Taxonomy,
    *,
    weight: Float[Array, "B"],
    reduction: str = "sum",
    mask: str = "true",
    mask_on: str = "logits",
    class_weights: Sequence[np.ndarray] | None = None,
    adjustments: Sequence[np.ndarray] | None = None,
    admissible: Int[Array, "B S"] | None = None,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """-log p(path): at each present level, cross-entropy among the true siblings.

    Args:
      labels: ids, -1 where there is none; STOP children count as classes.
      weight: 0 = padding.
      reduction: of present levels: `sum`, the tree's likelihood, or `mean`.
      mask, mask_on: what a level's softmax is taken over: see `masked_log_probs`.
      class_weights: per level (C,) float32 by id, times a level's cross-entropy where
        the node is the label: see `balanced_weights`.
      adjustments: per level (C,) float32 by id, added to the logits of the loss alone:
        see `logit_adjustments`.
      admissible: sets of nodes, see `hsjax.batch`: the loss is -log p(set); below their
        shared path without class weights. `mean`: over the mean of their levels.

    Returns:
      Value and weight per example; a row without any label or set has weight 0.

    Raises:
      ValueError: sets with another mask than the true parent's.
    """
    if admissible is not None and (mask, mask_on) != ("true", "logits"):
        raise ValueError(f"a set has no probability with mask={mask}, on={mask_on}")
    if adjustments is not None:
        pairs = zip(logits, adjustments, tree.layout, strict=True)
        logits = [x + jnp.asarray(a[layout.ids])[None] for x, a, layout in pairs]
    per_level = -masked_log_probs(logits, labels, tree, mask=mask, on=mask_on)
    shared = per_level.sum(axis=1)
    if class_weights is not None:
        per_level *= _of_labels(class_weights, labels)
    levels = (labels >= 0).sum(axis=1).astype(jnp.float32)
    value = per_level.sum(axis=1)
    if admissible is not None:
        value += rest_of_sets(logits, admissible, tree, shared)
        levels = jnp.where(some_set(admissible), set_depths(admissible, tree), levels)
    if reduction == "mean":
        value = value / jnp.maximum(levels, 1.0)
    return value, jnp.where(levels > 0, weight, 0.0)


def _of_labels(
    weights: Sequence[np.ndarray], labels: Int[Array, "B L"]
) -> Float[Array, "B L"]:
    columns = zip(weights, labels.T, strict=True)
    factors = [jnp.asarray(w)[jnp.maximum(label, 0)] for w, label in columns]
    return jnp.stack(factors, axis=1)


def label_counts(
    labels: Int[np.ndarray, "N L"], tree: Taxonomy
) -> tuple[np.ndarray, ...]:
    """Per level (C,) int by id: rows whose label passes through the node.

    STOP children are counted, as they are siblings.

    >>> tree = Taxonomy.from_paths([("a", "a1"), ("a", "a2"), ("b", "b1")])
    >>> [x.tolist() for x in label_counts(np.array([[0, 0], [0, 1], [0, -1]]), tree)]
    [[3, 0], [1, 1, 0]]
    """
    return tuple(
        np.bincount(column[column >= 0], minlength=size)
        for column, size in zip(labels.T, tree.sizes, strict=True)
    )


def balanced_weights(
    counts: Sequence[np.ndarray], tree: Taxonomy, beta: float
) -> tuple[np.ndarray, ...]:
    """Class-balanced weights (Cui et al. 2019, eq. 2, arxiv.org/abs/1901.05555).

    weight = 1 / E(n) with the effective number E(n) = (1 - beta^n) / (1 - beta), here
    among siblings, scaled so that the mean over the rows of a parent is 1: no level
    counts for more or less than without weights. (The mean over classes, as there,
    would all but switch off a level with one large and some tiny classes.) beta = 0
    gives 1 to all, beta -> 1 gives 1 / n. A node without a row counts as one with a
    single row, and changes no other's weight.

    Args:
      counts: per level (C,) training rows by id: see `label_counts`.
      beta: 0 or more and below 1.
    """
    weights = []
    for rows, parents in zip(counts, tree.parents, strict=True):
        n = np.maximum(rows, 1).astype(np.float64)
        inverse = (1 - beta) / (1 - np.power(float(beta), n))
        total = np.bincount(parents, rows * inverse)
        mean = np.where(total > 0, total / np.maximum(np.bincount(parents, rows), 1), 1)
        weights.append((inverse / mean[parents]).astype(np.float32))
    return tuple(weights)


def logit_adjustments(
    counts: Sequence[np.ndarray], tree: Taxonomy, tau: float
) -> tuple[np.ndarray, ...]:
    """tau * log p(node | parent) (Menon et al. 2021, eq. 10, arxiv.org/abs/2007.07314).

    Added to the logits of the loss, they make the plain logits, which answer later,
    those of a training part in which siblings are equally frequent (tau = 1). The
    shares are those of the training rows; a node without a row counts as one with a
    single row.

    Args:
      counts: per level (C,) training rows by id: see `label_counts`.
    """
    found = []
    for rows, parents in zip(counts, tree.parents, strict=True):
        n = np.maximum(rows, 1).astype(np.float64)
        share = n / np.bincount(parents, n)[parents]
        found.append((tau * np.log(share)).astype(np.float32))
    return tuple(found)
