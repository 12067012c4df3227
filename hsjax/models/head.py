"""Heads: one fused vector in, raw logits per level out, in slot order."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import FrozenConfigDict

from hsjax.hierarchy import node_log_probs
from hsjax.models.label_tower import (
    NEVER,
    LabelFeatures,
    LabelLogits,
    Span,
    among_seen,
    drop_rows,
)
from hsjax.models.layers import BatchNorm, LayerNorm
from hsjax.taxonomy import Taxonomy

FEEDS = ("probabilities", "softmax", "logits", "one_hot", "none")


class LevelLogits(nn.Module):
    """Linear classifier of one level: (B, D) -> raw logits (B, C), zero at the start.

    Columns are stored by id, so that checkpoints and warm starts know nothing of slots,
    and the kernel is permuted in every step. Measured where it weighs most, 5,612
    classes below the small default encoders on 2 CPU cores: 8 % of a step (1.07 s
    instead of 0.99 s, batch 128). It fades with larger encoders and fewer classes.
    """

    ids: tuple[int, ...]  # slot -> id
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B C"]:
        ids = np.array(self.ids)
        shape = (x.shape[-1], len(ids))
        kernel = self.param("kernel", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        if (ids != np.arange(len(ids))).any():
            kernel, bias = kernel[:, ids], bias[ids]
        logits = jnp.matmul(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )
        return logits + bias[None]


class _Head(nn.Module):
    """What heads share: a layer with its norm, and the logits of some classes.

    `config` is `model.head` of a config; `labels` are given where it names some.
    """

    tree: Taxonomy
    config: FrozenConfigDict
    dtype: jnp.dtype
    labels: LabelFeatures | None = None

    def _layer(self, x, weight, training, *, width, name):
        if not width:
            return x
        x = nn.Dense(width, dtype=self.dtype, name=name)(x).astype(jnp.float32)
        x = nn.relu(x)
        if self.config.norm == "layer":
            x = LayerNorm(name=f"{name}_norm")(x)
        elif self.config.norm == "batch":
            x = BatchNorm(name=f"{name}_norm")(x, weight, training)
        return nn.Dropout(self.config.dropout, deterministic=not training)(x)

    @property
    def _learns(self) -> bool:
        """Do classes have vectors of their own, beside those of their texts?"""
        return self.labels is None or self.config.label_mix == "both"

    def _logits(
        self,
        learned: Float[Array, "B C"] | None,
        shared: Float[Array, "B D"],
        labels: tuple[np.ndarray, np.ndarray] | None,
        training: bool,
        *,
        spans: Sequence[Span],
        name: str,
    ) -> Float[Array, "B C"]:
        """Of learned class vectors, of label texts, or of both.

        In training a class without examples is no rival of those that have some: it
        would only learn to lose (as in zero-shot learning, Xian et al. 2018, section 3,
        arxiv.org/abs/1707.00600).

        Args:
          labels: (vectors, seen) of the classes in the order of the logits.
          spans: of siblings.
        """
        if labels is None:
            return learned
        vectors, seen = labels
        tower = LabelLogits(
            vectors, self.config.label_width, self.dtype, name=f"{name}_labels"
        )
        found = tower(shared)
        if learned is not None:
            learned = among_seen(learned, seen, spans)
            if training and self.config.label_dropout:
                key = self.make_rng("dropout")
                learned = drop_rows(learned, self.config.label_dropout, key)
            found = found + learned
        return jnp.where(seen[None], found, NEVER) if training else found


class HierarchicalHead(_Head):
    """Paper B's head: (B, F) -> raw logits (B, C) per level, in slot order.

    A shared layer, a layer per level, and coarser predictions fed forward (B5): level l
    also sees level l - 1 by `feed`, p(node) of the tree distribution (probabilities),
    the softmax of that level alone, its raw logits, or 1 for its most probable node
    (one_hot); no gradient goes back there unless `feed_gradient` is set. Label texts
    are compared with the shared layer, which knows of no class.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F"], weight: Float[Array, "B"], training: bool
    ) -> tuple[Float[Array, "B _"], ...]:
        c, labels = self.config, None
        shared = self._layer(x, weight, training, width=c.width, name="shared")
        logits: list[jax.Array] = []
        for level, layout in enumerate(self.tree.layout):
            name, learned = f"level{level + 1}", None
            if self._learns:
                seen = self._fed(shared, logits) if level else shared
                seen = self._layer(
                    seen, weight, training, width=c.level_width, name=f"{name}_layer"
                )
                ids = tuple(layout.ids.tolist())
                learned = LevelLogits(ids, self.dtype, name=name)(seen)
            if self.labels:
                labels = tuple(known[level][layout.ids] for known in self.labels)
            spans = [(b.start, b.stop, b.fan_out) for b in layout.blocks]
            options = {"spans": spans, "name": name}
            logits.append(self._logits(learned, shared, labels, training, **options))
        return tuple(logits)

    def _fed(
        self, shared: Float[Array, "B D"], logits: Sequence[jax.Array]
    ) -> Float[Array, "B _"]:
        """The shared layer beside the predictions of the level above."""
        feed, level = self.config.feed, len(logits)
        if feed == "none":
            return shared
        coarser = logits[-1].astype(jnp.float32)
        if feed == "softmax":
            coarser = jax.nn.softmax(coarser, axis=-1)
        elif feed != "logits":
            coarser = jnp.exp(node_log_probs(logits, self.tree.top(level))[-1])
        if feed == "one_hot":
            coarser = jax.nn.one_hot(jnp.argmax(coarser, axis=-1), coarser.shape[-1])
        # by id, as kernels are stored: rows keep their meaning
        coarser = coarser[:, self.tree.layout[level - 1].slots]
        if not self.config.feed_gradient:
            coarser = jax.lax.stop_gradient(coarser)
        return jnp.concatenate([shared, coarser], axis=-1)


class FlatHead(_Head):
    """Paper A's classifier: one softmax over all leaves, STOP children included.

    A node's logit is the log-sum-exp of the leaves below it. Then a softmax among
    siblings, multiplied down the path, is the plain softmax over leaves, and p(node) is
    the sum over its leaves: losses and decodes are those of any head.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "B F"], weight: Float[Array, "B"], training: bool
    ) -> tuple[Float[Array, "B _"], ...]:
        width = self.config.width
        shared = self._layer(x, weight, training, width=width, name="shared")
        ids, learned, labels = leaf_ids(self.tree), None, None
        if self._learns:
            classify = LevelLogits(tuple(ids.tolist()), self.dtype, name="leaves")
            learned = classify(shared)
        if self.labels:
            labels = tuple(known[ids] for known in self.labels.leaves(self.tree))
        options = {"spans": [(0, len(ids), len(ids))], "name": "leaves"}
        leaves = self._logits(learned, shared, labels, training, **options)
        return sum_leaves(leaves, self.tree)


def leaf_ids(tree: Taxonomy) -> np.ndarray:
    """(leaves,) in slot order -> place by id; coarser levels come first in both."""
    places, first = [], 0
    for leaf, layout in zip(tree.leaf, tree.layout, strict=True):
        place = np.cumsum(leaf) - 1 + first  # of the leaf of an id
        places.append(place[layout.ids][leaf[layout.ids]])
        first += leaf.sum()
    return np.concatenate(places)


def sum_leaves(
    leaves: Float[Array, "B leaves"], tree: Taxonomy
) -> tuple[Float[Array, "B _"], ...]:
    """Per level (B, C) in slot order: log-sum-exp of the leaves below each node.

    >>> tree = Taxonomy.from_paths([("a", "a1"), ("a", "a2"), ("b", "b1")])
    >>> coarse, fine = sum_leaves(jnp.log(jnp.array([[5.0, 2.0, 2.0]])), tree)
    >>> jnp.exp(coarse).round(2).tolist()  # only children come first: b1, a1, a2
    [[4.0, 5.0]]

    Args:
      leaves: in slot order, coarser levels first.
    """
    counts = [int(leaf.sum()) for leaf in tree.leaf]
    parts = jnp.split(leaves, np.cumsum(counts)[:-1], axis=1)
    levels: list[jax.Array] = [parts[-1]]
    for level in reversed(range(tree.num_levels - 1)):
        below, blocks = levels[0], tree.layout[level + 1].blocks
        sums = [
            jax.nn.logsumexp(
                below[:, b.start : b.stop].reshape(len(below), -1, b.fan_out), axis=-1
            )
            for b in blocks
        ]
        # first the inner nodes as their children lie, then the leaves: back to slots
        leaf = tree.leaf[level][tree.layout[level].ids]
        order = np.concatenate([*(b.parents for b in blocks), np.flatnonzero(leaf)])
        together = jnp.concatenate([*sums, parts[level]], axis=1)
        levels.insert(0, together[:, np.argsort(order)])
    return tuple(levels)


HEADS = {"hierarchical": HierarchicalHead, "flat": FlatHead}
