"""New classes of a warm start: each from the rows of the classes that it came from.

A class b of another edition was in part what the classes a were, of which a share
w(b | a) went to it. With m(a | b) = w(b | a) / sum over a' of w(b | a') it starts from

    kernel_b = sum over a of m(a | b) kernel_a
    bias_b = sum over a of m(a | b) bias_a + log of sum over a of w(b | a)

so that what a class was divided into has its probability in these shares, and what
equal classes were merged into has their sum.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from scipy import sparse

from hsjax.sharding import parameter_names
from hsjax.taxonomy import Taxonomy
from hsjax.train.warmstart import LEVEL


class Grown(NamedTuple):
    """A source of a warm start, with more classes than it was trained with.

    Attributes:
      values: (parameters, running statistics); tree: with the new classes behind those
        that it had; count: of new classes, all levels together.
    """

    values: tuple[dict, dict]
    tree: Taxonomy
    count: int


def grow_classes(
    values: tuple[dict, dict],
    source: Taxonomy,
    tree: Taxonomy,
    *,
    shares: Sequence[sparse.csr_array],
    head,
) -> Grown:
    """The source with the classes of `tree` that it lacks and that came from its own.

    Args:
      values: (parameters, running statistics) of a run on `source`.
      shares: per level (C of tree, C of source) w(b | a) by ids.
      head: `config.model.head` of the run.
    """
    added = [_added(source, tree, level, x) for level, x in enumerate(shares)]
    pairs = list(zip(shares, added, strict=True))
    mass = [np.asarray(x[ids].sum(axis=1)).ravel() for x, ids in pairs]
    mixed = [
        x[ids].toarray() / total[:, None]
        for (x, ids), total in zip(pairs, mass, strict=True)
    ]

    def grown(name: str, leaf) -> np.ndarray:
        match, leaf = LEVEL.fullmatch(name), np.asarray(leaf)
        if not match:
            return leaf
        level, layer = int(match[1]) - 1, bool(match[2])
        if not layer:
            more = leaf @ mixed[level].T
            more = more + np.log(mass[level]) if match[3] == "bias" else more
            leaf = np.concatenate([leaf, more.astype(leaf.dtype)], axis=-1)
        reads = level and head.feed != "none" and layer == bool(head.level_width)
        if match[3] == "kernel" and reads:  # one row for each coarser class, at the end
            rows = mixed[level - 1] @ leaf[-source.sizes[level - 1] :]
            leaf = np.concatenate([leaf, rows.astype(leaf.dtype)])
        return leaf

    found = []
    for part in values:
        leaves, structure = jax.tree.flatten(part)
        named = zip(parameter_names(part), leaves, strict=True)
        found.append(jax.tree.unflatten(structure, [grown(*pair) for pair in named]))
    return Grown(tuple(found), _joined(source, tree, added), sum(map(len, added)))


def _added(source: Taxonomy, tree: Taxonomy, level: int, shares) -> np.ndarray:
    """Ids in the tree of classes that the source lacks, and that came from some."""
    new = ~np.isin(tree.codes[level], source.codes[level])
    return np.flatnonzero(new & (np.asarray(shares.sum(axis=1)).ravel() > 0))


def _joined(source: Taxonomy, tree: Taxonomy, added: Sequence[np.ndarray]) -> Taxonomy:
    """The source's tree with these nodes of another one behind its own."""
    levels: list[list[tuple]] = []
    for level, ids in enumerate(added):
        nodes = (x[level].tolist() for x in (source.codes, source.names))
        others = (x[level].tolist() for x in (source.parents, source.stop))
        rows = list(zip(*nodes, *others, strict=True))
        above = {row[0]: i for i, row in enumerate(levels[-1])} if level else {}
        for i in ids.tolist():
            parent = int(tree.parents[level][i])
            code = str(tree.codes[level - 1][parent]) if level else ""
            own = str(tree.codes[level][i]), str(tree.names[level][i])
            rows.append((*own, above.get(code, 0), bool(tree.stop[level][i])))
        levels.append(rows)
    return Taxonomy.from_nodes(
        levels, edition=source.edition, separator=source.separator
    )
