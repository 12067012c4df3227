"""Features of the texts of a tree's nodes: out of a store, and as a run's own copy."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hsjax.data.features import features_of, text_key
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.data.store import ABSENT, open_store, store_facts
from hsjax.data.store_parts import finished
from hsjax.evaluation.zero_shot import node_text
from hsjax.models.label_tower import LabelFeatures
from hsjax.taxonomy import Taxonomy

LABELS = "labels"  # the extract.modality of these texts
FILE = "labels.safetensors"  # of a workdir
_ROWS = 4096  # vectors that are held at once


def label_texts(tree: Taxonomy) -> list[list[str]]:
    """Per level and by id: the names down to the node, joined; see `zero_shot_classes`.

    The text of a STOP child is that of its parent: such a product is just that.

    Raises:
      CatalogueError: no node has a name, only HS codes.
    """
    pairs = zip(tree.codes, tree.names, tree.stop, strict=True)
    if not tree.separator and all((c == n)[~s].all() for c, n, s in pairs):
        raise CatalogueError(
            "the nodes of the tree have no names, and their codes alone tell an encoder"
            " nothing: name them by taxonomy.names, or by taxonomy.path"
        )
    texts = []
    for level, (stop, parents) in enumerate(zip(tree.stop, tree.parents, strict=True)):
        nodes = [
            (level - 1, int(parents[i])) if stop[i] else (level, i)
            for i in range(len(stop))
        ]
        texts.append([node_text(tree, *node, "path") for node in nodes])
    return texts


def stored_labels(
    folder: Path | str, tree: Taxonomy, labels: Int[np.ndarray, "N L"]
) -> LabelFeatures | None:
    """Of the nodes of a tree, out of a store of `extract.modality=labels`.

    Args:
      folder: of the store; '' = None is returned.
      labels: ids of the training rows, -1 where there is none.

    Raises:
      CatalogueError: there is no such store, it lacks a text, or it has more than one
        vector for each.
    """
    if not folder:
        return None
    store = open_store(folder)
    if len(store.shape) > 1:
        raise CatalogueError(
            f"model.head.labels: {folder} holds every token of a text; extract without"
            " extract.states"
        )
    texts = [text for level in label_texts(tree) for text in level]
    rows = store.rows([text_key(text) for text in texts])
    missing = np.flatnonzero(rows == ABSENT)
    if len(missing):
        raise CatalogueError(
            f"model.head.labels: {folder} lacks {len(missing)} of {len(texts)} texts of"
            f" the tree (first: {texts[missing[0]]!r}); extract them into the same"
            f" folder with --config.task=extract --config.extract.modality={LABELS}"
        )
    vectors = np.split(store.take(rows), np.cumsum(tree.sizes)[:-1])
    pairs = zip(tree.sizes, labels.T, strict=True)
    seen = [np.isin(np.arange(size), column) for size, column in pairs]
    return LabelFeatures(tuple(vectors), tuple(seen))


def label_features(
    config, tree: Taxonomy, records: Sequence[Record], labels: Int[np.ndarray, "N L"]
) -> LabelFeatures | None:
    """What the head of a config knows of its classes; None where it asks for nothing.

    With `model.head.label_rows` a class stands where its text and its training rows
    are: unit(text) + unit(mean of unit vectors of the rows), a prototype (Snell et al.
    2017, https://arxiv.org/abs/1703.05175) that its name pulls at. What has no row is
    its text alone.

    Args:
      records: of the training part; labels: of these, -1 where there is none.

    Raises:
      CatalogueError: see `stored_labels`; or the rows' features are of another width
        than the labels', or not cached at all.
    """
    head = config.model.head
    found = stored_labels(head.labels, tree, labels)
    if found is None or not head.label_rows:
        return found
    features = features_of(config, records).get(head.label_rows)
    width = found.vectors[0].shape[1]
    if features is None or features.store.shape != (width,):
        raise CatalogueError(
            f"model.head.label_rows={head.label_rows}: that stream needs cached"
            f" features (data.features) of {width} numbers, as {head.labels} has"
        )
    vectors = []
    for level, text in enumerate(found.vectors):
        known = np.flatnonzero((labels[:, level] >= 0) & (features.rows != ABSENT))
        total = np.zeros_like(text)
        for start in range(0, len(known), _ROWS):
            part = known[start : start + _ROWS]
            rows = _unit(features.store.take(features.rows[part]).astype(np.float32))
            np.add.at(total, labels[part, level], rows)
        vectors.append(_unit(text) + _unit(total))
    return LabelFeatures(tuple(vectors), found.seen)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def keep_labels(
    labels: LabelFeatures | None, folder: Path | str, tree: Taxonomy, workdir: Path
) -> None:
    """Writes `labels.safetensors`, by level and id; None removes it.

    The run needs the store at `folder` no longer, of which it says what it was.
    """
    path = workdir / FILE
    if labels is None:
        path.unlink(missing_ok=True)  # of a first try that used them
        return
    tensors = {}
    for level, (vectors, seen) in enumerate(zip(*labels, strict=True), 1):
        tensors[f"level{level}/vectors"] = vectors
        tensors[f"level{level}/seen"] = seen.astype(np.float32)
    facts = {"tree": tree.hash, "store": json.dumps(store_facts(folder))}
    with finished(path) as partial:
        save_file(tensors, partial, facts)


def kept_labels(workdir: Path, tree: Taxonomy) -> LabelFeatures:
    """What `keep_labels` wrote.

    Raises:
      CatalogueError: the file is gone, torn, or of another tree.
    """
    path = workdir / FILE
    mend = "bring back the one that the run was begun with, or take a new workdir"
    try:
        with safe_open(path, "numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            known = file.metadata()["tree"]
    except (OSError, SafetensorError) as error:
        raise CatalogueError(f"{path} cannot be read ({error}): {mend}") from None
    if known != tree.hash:
        raise CatalogueError(f"{path} is of another tree than {workdir}: {mend}")
    levels = range(1, tree.num_levels + 1)
    return LabelFeatures(
        tuple(found[f"level{k}/vectors"] for k in levels),
        tuple(found[f"level{k}/seen"] > 0 for k in levels),
    )
