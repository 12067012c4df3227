"""Proposed sub-categories of a branch: names, examples, and the diff they amount to."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from hsjax.features.cluster_cascade import Cascade
from hsjax.recategorize.diff import Diff, Operation
from hsjax.recategorize.naming import names_of, typical_words
from hsjax.taxonomy import Taxonomy


class Proposal(NamedTuple):
    """A new node of the tree, as it is proposed.

    Attributes:
      key: of the cluster, such as "2.1"; parent: "2", '' = the branch itself.
      name: from the titles; size: products, parts included; share: of the branch's.
      words: typical of its titles; label_texts: nearest names of a vocabulary.
      silhouette, stability: see `features.cluster.Division`; nan = not measured.
    """

    key: str
    parent: str
    name: str
    size: int
    share: float
    words: tuple[str, ...]
    label_texts: tuple[str, ...]
    silhouette: float
    stability: float


def make_proposals(
    cascade: Cascade,
    titles: Sequence[str],
    *,
    most_words: int,
    taken: Sequence[str] = (),
    label_texts: Mapping[str, Sequence[str]],
    separator: str = "",
) -> list[Proposal]:
    """One for each cluster, parents before their parts.

    Args:
      titles: (N,) of the branch's products, '' where there is none.
      most_words: of a name.
      taken: names of children that the branch has already.
      label_texts: cluster -> nearest names of a vocabulary.
      separator: of the tree's paths; see `names_of`.
    """
    words, names = {}, {}
    for parent in dict.fromkeys(node.parent for node in cascade.nodes):
        siblings = [node.key for node in cascade.nodes if node.parent == parent]
        of = {k: [titles[i] for i in rows_of(cascade.keys, k)] for k in siblings}
        own = typical_words(of)
        words |= own
        used = taken if not parent else [names[parent]]
        names |= names_of(own, most=most_words, taken=used, separator=separator)
    total = len(cascade.keys)
    found = []
    for node in cascade.nodes:
        size = len(rows_of(cascade.keys, node.key))
        found.append(
            Proposal(
                key=node.key,
                parent=node.parent,
                name=names[node.key],
                size=size,
                share=size / total,
                words=tuple(words[node.key]),
                label_texts=tuple(label_texts.get(node.key, ())),
                silhouette=node.silhouette,
                stability=node.stability,
            )
        )
    return found


def as_json(p: Proposal) -> dict:
    """Its fields; null of what was not measured, as JSON has no nan."""
    return {k: None if v != v else v for k, v in p._asdict().items()}


def rows_of(keys: Shaped[np.ndarray, "N"], key: str) -> np.ndarray:
    """Rows of a cluster, those of its parts included."""
    return np.flatnonzero((keys == key) | np.char.startswith(keys, f"{key}."))


def level_keys(keys: Shaped[np.ndarray, "N"], level: int) -> Shaped[np.ndarray, "N"]:
    """Of each row the cluster at a level from 0, '' where it is in none as deep."""
    parts = [key.split(".") for key in keys.tolist()]
    deep = [
        ".".join(p[: level + 1]) if key and len(p) > level else ""
        for key, p in zip(keys.tolist(), parts, strict=True)
    ]
    return np.array(deep, dtype=str)


def proposed_diff(
    proposals: Sequence[Proposal],
    tree: Taxonomy,
    *,
    branch: tuple[int, str],
    run: str,
) -> Diff:
    """All proposals accepted: `split` of a leaf, `add` to a node that has children.

    Codes of new nodes are paths of names where the tree's are, and numbered below the
    branch otherwise.

    Args:
      branch: (level from 0, code) of the node that is divided.
      run: workdir of the discovery, for the provenance.
    """
    level, code = branch
    codes, operations = {"": code}, []
    # numbers go on where the node was divided before
    known = set() if tree.separator else {c for x in tree.codes for c in x.tolist()}
    for parent in dict.fromkeys(p.parent for p in proposals):
        parts = [p for p in proposals if p.parent == parent]
        own = partial(new_code, codes[parent], separator=tree.separator)
        free = (n for n in itertools.count(1) if own(name="", number=n) not in known)
        for p, number in zip(parts, free, strict=False):
            codes[p.key] = own(name=p.name, number=number)
        depth = level + (parent.count(".") + 1 if parent else 0)
        inner = not parent and not tree.leaf[level][_id(tree, level, code)]
        operations.append(
            Operation(
                kind="add" if inner or len(parts) < 2 else "split",
                code=codes[parent],
                level=depth + 1,
                into=tuple((codes[p.key], p.name) for p in parts),
                provenance={"run": run, "clusters": [_source(p) for p in parts]},
            )
        )
    clusters = {key: node for key, node in codes.items() if key}
    return Diff(tree.hash, tuple(operations), clusters=clusters)


def new_code(parent: str, name: str, number: int, separator: str) -> str:
    """Code of a new child.

    >>> new_code("Footwear", "clogs", 2, " > "), new_code("6404", "clogs", 2, "")
    ('Footwear > clogs', '6404.n2')
    """
    return f"{parent}{separator}{name}" if separator else f"{parent}.n{number}"


def _source(p: Proposal) -> dict[str, object]:
    rounded = {k: round(v, 3) for k, v in p._asdict().items() if isinstance(v, float)}
    finite = {k: v for k, v in rounded.items() if v == v}
    return {"cluster": p.key, "size": p.size, "words": list(p.words[:3])} | finite


def _id(tree: Taxonomy, level: int, code: str) -> int:
    return tree.codes[level].tolist().index(code)


class Examples(NamedTuple):
    """Products of a cluster to look at, as positions; by distance to the centre."""

    nearest: np.ndarray
    random: np.ndarray
    farthest: np.ndarray


def examples_of(
    x: Float[np.ndarray, "N D"], rows: np.ndarray, *, count: int, seed: int
) -> Examples:
    """Of a cluster `rows`; what is near is not shown again as random or far."""
    centre = x[rows].mean(axis=0)
    order = rows[np.argsort(((x[rows] - centre) ** 2).sum(axis=1), kind="stable")]
    nearest, rest = order[:count], order[count:]
    farthest = rest[::-1][:count]
    middle = rest[: max(len(rest) - count, 0)]
    rng = np.random.default_rng(seed)
    drawn = rng.choice(middle, min(count, len(middle)), replace=False)
    return Examples(nearest, np.sort(drawn), farthest)
