"""The products of a branch that clusters are found among, and their vectors."""

import logging
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
from hsjax.data.stored_records import relabelled, selected
from hsjax.data.text import stream_texts
from hsjax.data.tree_labels import fit_labels
from hsjax.features.mixed import Mixed, joint_vectors
from hsjax.inference.predict import Run, load_run
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError

log = logging.getLogger("hsjax")

UNLABELLED = ("info_nce", "sigmoid")  # contrastive losses that look at no class


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

    A label that is deeper than the tree, as its leaf was too rare or only test rows
    have it, ends where the tree does.

    Raises:
      CatalogueError: no product has such a label, or a hidden one; or the tree has no
        such node.
    """
    settings = config.recategorize
    records, groups, parts = read_parts(config, quarantine)
    level = _level(settings.branch, records)
    depth = max(settings.keep, level + 1) if settings.keep else 0
    if settings.truth and settings.truth <= depth:
        raise CatalogueError(
            f"recategorize.truth={settings.truth} is not hidden: {settings.branch!r} is"
            f" a node of level {level + 1}, and levels below it are"
        )
    inside = [i for i, r in enumerate(records) if _below(r, level, settings.branch)]
    truth = _truth(records, inside, settings)
    if depth:
        below = iter(np.isin(np.arange(len(records)), inside).tolist())
        records = relabelled(records, lambda r: _cut(r, depth) if next(below) else r)
    tree, _ = make_tree(config, selected(records, np.flatnonzero(parts == "train")))
    if depth:  # a tree of a file has what is hidden, too
        tree = without_below(tree, (level, settings.branch), depth)
    if level >= tree.num_levels or settings.branch not in tree.codes[level]:
        raise CatalogueError(
            f"recategorize.branch: the tree has no {settings.branch!r}: its products"
            " are in validation and test alone, or fewer than taxonomy.min_products, or"
            " taxonomy.path lacks it"
        )
    records, labels, _ = fit_labels(
        records, tree, config=config, quarantine=quarantine, file=config.data.path
    )
    nodes: dict[tuple[int, str], list[int]] = {}
    for i in inside:
        path = tree.decode(labels[i])
        nodes.setdefault((len(path) - 1, path[-1]), []).append(i)
    found = {node: np.array(rows) for node, rows in sorted(nodes.items())}
    return Branch(records, groups, parts, tree, found, truth.astype(str))


def _truth(records: Sequence[Record], inside: Sequence[int], settings) -> np.ndarray:
    """(R,) code of each row's hidden class, '' of none."""
    truth = np.full(len(records), "", dtype=object)
    for i in inside if settings.truth else ():
        truth[i] = next(iter(records[i].path[settings.truth - 1 :]), "")
    if settings.truth and not any(truth):
        raise CatalogueError(
            f"recategorize.truth={settings.truth}: no product of {settings.branch!r}"
            " has a label of this level"
        )
    return truth


def _cut(record: Record, depth: int) -> Record:
    """Without the levels of its label that are hidden."""
    hidden = len(record.path) > depth
    complete = record.complete and not hidden
    return replace(record, path=record.path[:depth], complete=complete)


def without_below(tree: Taxonomy, branch: tuple[int, str], depth: int) -> Taxonomy:
    """The tree without the nodes below a branch that are on levels from `depth` on.

    Args:
      branch: (level from 0, code).
    """
    level, code = branch
    levels, ids = [], {}
    for k, codes in enumerate(tree.codes):
        kept = np.ones(len(codes), bool)
        if k >= depth:
            above = tree.ancestors[k][:, level]
            kept = tree.codes[level][above] != code
        parents = tree.parents[k].tolist()
        columns = codes.tolist(), tree.names[k].tolist(), parents, tree.stop[k].tolist()
        rows = zip(*columns, strict=True)
        levels.append(
            [
                (own, name, ids.get(parent, 0), stop)
                for (own, name, parent, stop), here in zip(rows, kept, strict=True)
                if here
            ]
        )
        ids = {old: new for new, old in enumerate(np.flatnonzero(kept).tolist())}
    levels = levels[: next((k for k, rows in enumerate(levels) if not rows), None)]
    return Taxonomy.from_nodes(levels, edition=tree.edition, separator=tree.separator)


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


def joint_run(config, tree: Taxonomy) -> tuple[Run | None, str]:
    """The run of `recategorize.joint`, and what is doubtful about it, '' = nothing.

    Args:
      tree: of the branch, without what is hidden.

    Raises:
      WorkdirError: there is no such run.
    """
    place = config.recategorize.joint
    if not place:
        return None, ""
    run = load_run(Path(place))
    told = run.config.objective
    by_class = told.contrastive_kind not in UNLABELLED or told.negatives == "branch"
    labelled = told.classification or (told.contrastive and by_class)
    known = {code for codes in tree.codes for code in codes.tolist()}
    hidden = [
        code
        for codes in run.tree.codes
        for code in codes[~np.isin(codes, [*known])].tolist()
    ]
    if not labelled or not hidden:
        return run, ""
    warning = (
        f"recategorize.joint: {place} was trained with labels, and knows"
        f" {len(hidden)} nodes that are hidden here, such as {hidden[0]!r}: its space"
        " tells what is to be found, and the scores are no discovery. Train it with"
        " objective.classification=0"
    )
    log.warning("%s", warning)
    return run, warning


def branch_vectors(config, records: Sequence[Record], run: Run | None) -> Mixed:
    """What clusters are found in: stores of `data.features`, and a common space.

    Args:
      run: of `joint_run`.

    Raises:
      ConfigError: the run has no common space. CatalogueError: a store lacks a product.
    """
    settings, arrays = config.recategorize, {}
    features = features_of(config, records)
    if run is not None:
        found = run.predict(records, progress="joint").embeddings
        if not found:
            raise ConfigError(
                f"recategorize.joint: {settings.joint} was not aligned; train it with"
                " objective.contrastive"
            )
        arrays["joint"] = joint_vectors(found, config.model.modalities)
    return Mixed(
        features, components=settings.components, arrays=arrays, seed=config.seed
    )


def titles_of(config, records: Sequence[Record]) -> list[str]:
    """The first text stream of each, '' where it has none."""
    streams = config.data.text.streams
    if not streams:
        return [""] * len(records)
    return stream_texts(records, next(iter(streams.values())))
