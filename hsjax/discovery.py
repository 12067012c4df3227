"""The products of a branch that clusters are found among, and their vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.data.features import features_of
from hsjax.data.prepare import make_tree, read_parts
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record
from hsjax.data.text import stream_texts
from hsjax.data.tree_labels import fit_labels
from hsjax.features.mixed import Mixed, joint_vectors
from hsjax.inference.predict import load_run
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError


class Branch(NamedTuple):
    """A catalogue of which a part is divided.

    Attributes:
      records: all rows; labels are cut where deeper levels are hidden.
      groups, parts: of all rows.
      tree: without what is hidden.
      nodes: (level from 0, code) of what is divided -> places of its products.
      truth: (R,) code of the hidden class of each row, '' = none.
    """

    records: Sequence[Record]
    groups: Integer[np.ndarray, "R"]
    parts: Shaped[np.ndarray, "R"]
    tree: Taxonomy
    nodes: Mapping[tuple[int, str], Integer[np.ndarray, "N"]]
    truth: Shaped[np.ndarray, "R"]


def read_branch(config, quarantine: Quarantine) -> Branch:
    """Products below `config.recategorize.branch`, by the node where labels end.

    Raises:
      CatalogueError: no product has such a label, or a hidden one; or the tree, which
        is that of the training rows, has no such node.
    """
    settings = config.recategorize
    records, groups, parts = read_parts(config, quarantine)
    level = _level(settings.branch, records)
    inside = [i for i, r in enumerate(records) if _below(r, level, settings.branch)]
    truth = np.full(len(records), "", dtype=object)
    for i in inside if settings.truth else ():
        truth[i] = next(iter(records[i].path[settings.truth - 1 :]), "")
    if settings.truth and not any(truth):
        raise CatalogueError(
            f"recategorize.truth={settings.truth}: no product of {settings.branch!r}"
            " has a label of this level"
        )
    records = list(records)
    depth = max(settings.keep, level + 1) if settings.keep else 0
    for i in inside if depth else ():
        cut = records[i].path[:depth]
        hidden = len(cut) < len(records[i].path)
        records[i] = replace(
            records[i], path=cut, complete=records[i].complete and not hidden
        )
    tree, _ = make_tree(config, [records[i] for i in np.flatnonzero(parts == "train")])
    records, labels, _ = fit_labels(
        records, tree, config=config, quarantine=quarantine, file=config.data.path
    )
    nodes: dict[tuple[int, str], list[int]] = {}
    for i in inside:
        path = tree.decode(labels[i])  # up to where the tree knows the label
        if len(path) > level:
            nodes.setdefault((len(path) - 1, path[-1]), []).append(i)
    if not nodes:
        raise CatalogueError(
            f"recategorize.branch: the tree has no {settings.branch!r}: its products"
            " are in validation and test alone, or fewer than taxonomy.min_products"
        )
    found = {node: np.array(rows) for node, rows in sorted(nodes.items())}
    return Branch(records, groups, parts, tree, found, truth.astype(str))


def _level(branch: str, records: Sequence[Record]) -> int:
    """Of the branch, from 0."""
    codes = {code: k for r in records for k, code in enumerate(r.path)}
    if branch not in codes:
        raise CatalogueError(
            f"recategorize.branch: no product has a label {branch!r}."
            f"{meant(branch, codes)}"
        )
    return codes[branch]


def _below(record: Record, level: int, code: str) -> bool:
    return len(record.path) > level and record.path[level] == code


def branch_vectors(config, records: Sequence[Record]) -> Mixed:
    """What clusters are found in: stores of `data.features`, and a common space.

    Raises:
      ConfigError: nothing is named. CatalogueError: a store lacks a product.
    """
    settings = config.recategorize
    features, arrays = features_of(config, records), {}
    if settings.joint:
        run = load_run(Path(settings.joint))
        found = run.predict(records, progress="joint").embeddings
        if not found:
            raise ConfigError(
                f"recategorize.joint: {settings.joint} was not aligned; train it with"
                " objective.contrastive"
            )
        arrays["joint"] = joint_vectors(found, config.model.modalities)
    if not features and not arrays:
        names = ", ".join(config.model.modalities)
        raise ConfigError(
            f"no vectors: name a feature store of {names} in data.features (see"
            " task=extract), or an aligned run in recategorize.joint"
        )
    return Mixed(
        features, components=settings.components, arrays=arrays, seed=config.seed
    )


def titles_of(config, records: Sequence[Record]) -> list[str]:
    """The first text stream of each, '' where it has none."""
    streams = config.data.text.streams
    return stream_texts(records, next(iter(streams.values()))) if streams else []
