"""The products of a branch, what clusters are found among, and how."""

from collections.abc import Callable, Mapping, Sequence
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
from hsjax.features.cluster_cascade import Cascade, Node, find_clusters
from hsjax.features.kmeans import k_means
from hsjax.features.mixed import Mixed, joint_vectors
from hsjax.features.parametric import discover
from hsjax.inference.predict import load_run
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError


class Branch(NamedTuple):
    """A catalogue of which a part is divided.

    Attributes:
      records: all rows; labels below the branch are cut away where they are hidden.
      groups, parts: of all rows.
      tree: without what is hidden.
      level, code: of the branch, the level from 0; -1 and '' = the whole catalogue.
      rows: (N,) places of its products.
      truth: (N,) code of the hidden class of each, '' = none.
    """

    records: Sequence[Record]
    groups: Integer[np.ndarray, "R"]
    parts: Shaped[np.ndarray, "R"]
    tree: Taxonomy
    level: int
    code: str
    rows: Integer[np.ndarray, "N"]
    truth: Shaped[np.ndarray, "N"]


def read_branch(config, quarantine: Quarantine) -> Branch:
    """The branch `config.recategorize.branch` of the catalogue.

    Raises:
      CatalogueError: there is no such node, or no product of it.
    """
    settings = config.recategorize
    records, groups, parts = read_parts(config, quarantine)
    level, code = _found(settings.branch, records)
    inside = [i for i, r in enumerate(records) if _below(r, level, code)]
    ending = settings.products == "ending"
    rows = [i for i in inside if not ending or len(records[i].path) == level + 1]
    if not rows:
        told = "; recategorize.products=all takes those whose labels go on"
        raise CatalogueError(
            f"recategorize.branch: no label ends at {settings.branch!r}"
            f"{told if inside else ''}"
        )
    hidden = settings.truth - 1
    paths = [records[i].path for i in rows]
    truth = [p[hidden] if 0 <= hidden < len(p) else "" for p in paths]
    if settings.truth and not any(truth):
        raise CatalogueError(
            f"recategorize.truth={settings.truth}: no product of {settings.branch!r}"
            " has a label of this level"
        )
    if not ending:
        records = list(records)
        for i in rows:
            cut = records[i].path[: level + 1]
            records[i] = replace(records[i], path=cut, complete=False)
    tree, _ = make_tree(config, [records[i] for i in np.flatnonzero(parts == "train")])
    records, _, _ = fit_labels(
        records, tree, config=config, quarantine=quarantine, file=config.data.path
    )
    return Branch(
        records, groups, parts, tree, level, code, np.array(rows), np.array(truth)
    )


def _found(branch: str, records: Sequence[Record]) -> tuple[int, str]:
    if not branch:
        return -1, ""
    codes = {code: k for r in records for k, code in enumerate(r.path)}
    if branch not in codes:
        raise CatalogueError(
            f"recategorize.branch: no product has a label {branch!r}."
            f"{meant(branch, codes)}"
        )
    return codes[branch], branch


def _below(record: Record, level: int, code: str) -> bool:
    return level < 0 or (len(record.path) > level and record.path[level] == code)


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


def found_clusters(config, vectors: Mixed, truth: Shaped[np.ndarray, "N"]) -> Cascade:
    """By `recategorize.method`, of the rows that have a vector; the others are in none.

    Args:
      truth: hidden classes; only baselines of category discovery see some.
    """
    settings, here = config.recategorize, vectors.present
    find = METHODS[settings.method]
    cascade = find(lambda rows: vectors(here[rows]), truth[here], config)
    keys = np.full(len(truth), "", dtype=cascade.keys.dtype)
    keys[here] = cascade.keys
    return cascade._replace(keys=keys, rows=here[cascade.rows])


def _cascade(vectors, truth, config) -> Cascade:
    return find_clusters(vectors, len(truth), config.recategorize, seed=config.seed)


def _k_means(vectors, truth, config) -> Cascade:
    x = vectors(np.arange(len(truth)))
    count = _count(config, truth)
    found = k_means(x, count, seed=config.seed, restarts=5)
    return _flat(found.assignment, len(truth))


def _known_k_means(vectors, truth, config) -> Cascade:
    x, known = vectors(np.arange(len(truth))), known_labels(truth, config)
    found = k_means(
        x, _count(config, truth), labels=known, seed=config.seed, restarts=5
    )
    return _flat(found.assignment, len(truth))


def _parametric(vectors, truth, config) -> Cascade:
    x, known = vectors(np.arange(len(truth))), known_labels(truth, config)
    found = discover(x, known, _count(config, truth), seed=config.seed)
    return _flat(found.assignment, len(truth))


METHODS: Mapping[str, Callable] = {
    "cascade": _cascade,
    "k_means": _k_means,
    "known_k_means": _known_k_means,
    "parametric": _parametric,
}


def _count(config, truth: np.ndarray) -> int:
    """Of the baselines: what is asked for, or as many as there are hidden classes."""
    asked = tuple(config.recategorize.clusters)
    classes = len(set(truth.tolist()) - {""})
    if not asked and not classes:
        raise ConfigError(
            f"recategorize.method={config.recategorize.method} chooses no number of"
            " clusters: give it in recategorize.clusters"
        )
    return asked[0] if asked else classes


def known_labels(truth: Shaped[np.ndarray, "N"], config) -> Integer[np.ndarray, "N"]:
    """Classes that a baseline is told, 0, 1, ...; -1 where it has to find out.

    Of the classes in alphabetical order every `1 / known`-th is known (half of them:
    every other one), and of these half of the products, drawn by the seed.
    """
    settings = config.recategorize
    classes = sorted(set(truth.tolist()) - {""})
    count = max(1, round(settings.known * len(classes)))
    places = np.linspace(0, len(classes) - 1, count).round().astype(int)
    known = {classes[i]: number for number, i in enumerate(dict.fromkeys(places))}
    drawn = np.random.default_rng(config.seed).random(len(truth)) < 0.5
    labels = np.array([known.get(t, -1) for t in truth.tolist()], np.int32)
    return np.where(drawn, labels, -1).astype(np.int32)


def _flat(assignment: np.ndarray, count: int) -> Cascade:
    """One level of clusters, the largest first; no map and nothing left out."""
    sizes = np.bincount(assignment)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    names = {cluster: str(i + 1) for i, cluster in enumerate(order.tolist())}
    keys = np.array([names[c] for c in assignment.tolist()])
    nan = float("nan")
    nodes = tuple(Node(name, "", nan, nan) for name in names.values())
    rows, empty = np.arange(count), np.zeros((count, 2), np.float32)
    return Cascade(keys, nodes, {}, rows, empty, np.ones(count, bool), np.zeros(count))
