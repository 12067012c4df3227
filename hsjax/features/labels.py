"""Features of the texts of a tree's nodes: out of a store, and as a run's own copy."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hsjax.data.features import text_key
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import ABSENT, open_store, store_facts
from hsjax.data.store_parts import finished
from hsjax.evaluation.zero_shot import node_text
from hsjax.models.label_tower import LabelFeatures
from hsjax.taxonomy import Taxonomy

LABELS = "labels"  # the extract.modality of these texts
FILE = "labels.safetensors"  # of a workdir


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
