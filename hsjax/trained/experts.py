"""Experts of an ensemble: what a run thinks of every leaf of the tree, in batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from hsjax.baselines.fitting import BATCH, presence
from hsjax.baselines.text import NodePath, TextBaseline
from hsjax.data.records import Record
from hsjax.evaluation.collect import on_host
from hsjax.features.live import Encoded
from hsjax.hierarchy import leaf_log_probs, leaf_paths
from hsjax.inference.predict import Run
from hsjax.taxonomy import Taxonomy

LOG_PROBS = "log_probs"  # of a batch, beside which modality is present
Batch = dict[str, np.ndarray]


class Placed(NamedTuple):
    """Where the classes of a baseline stand among P leaves.

    Attributes:
      column: (P,) class of a leaf, -1 = the baseline has no training text for it.
      among: (P,) how many leaves share the class.
    """

    column: np.ndarray
    among: np.ndarray


def geometric_mean(
    log_probs: Sequence[Float[np.ndarray, "N C"]],
) -> Float[np.ndarray, "N C"]:
    """Log-probabilities of the normalised product, each with the same weight.

    >>> a, b = np.log([[0.8, 0.2]]), np.log([[0.5, 0.5]])
    >>> np.exp(geometric_mean([a, b])).round(3).tolist()  # 2 to 1
    [[0.667, 0.333]]
    """
    return log_softmax(sum(log_probs) / len(log_probs), axis=1)


def shared_leaves(
    tree: Taxonomy, known: Sequence[Sequence[NodePath] | None]
) -> list[NodePath]:
    """Paths that can be answered: all of the tree, or those that a baseline knows.

    Args:
      known: paths of each baseline; None = a trained model, which knows every leaf.
    """
    leaves = [tree.decode(ids) for ids in leaf_paths(tree)]
    if None in known:
        return leaves
    seen = np.any([placed(paths, leaves).column >= 0 for paths in known], axis=0)
    return [leaves[i] for i in np.flatnonzero(seen)]


def placed(paths: Sequence[NodePath], leaves: Sequence[NodePath]) -> Placed:
    """Leaves among the classes of a baseline.

    A path that ends above the leaves, unknown below, is shared by those below it.
    """
    number, ends = {path: i for i, path in enumerate(paths)}, set(leaves)
    above = {path: i for path, i in number.items() if path not in ends}
    column = np.full(len(leaves), -1)
    for i, leaf in enumerate(leaves):
        inner = [above[leaf[:k]] for k in range(1, len(leaf)) if leaf[:k] in above]
        column[i] = number.get(leaf, inner[-1] if inner else -1)
    _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    return Placed(column, counts[inverse])


def on_leaves(
    log_probs: Float[np.ndarray, "N C"], placed: Placed
) -> Float[np.ndarray, "N P"]:
    """Of the leaves, each row up to a constant.

    A leaf without a training text is not impossible: all such leaves together are as
    probable as the path that the baseline holds least probable.
    """
    unseen = placed.column < 0
    least = log_probs.min(axis=1, keepdims=True)
    known = np.where(unseen, least, log_probs[:, placed.column])
    return known - np.log(placed.among)


def trained_expert(
    run: Run, records: Sequence[Record], *, groups: np.ndarray, encode: Encoded
) -> Iterator[Batch]:
    """A trained run's batches, in its own shape: of all leaves (`leaf_paths`)."""

    @jax.jit
    def answer(params, stats, batch):
        outputs, _ = run.model.apply(params, stats, batch)
        present = {k[4:]: v for k, v in batch.items() if k.startswith("has_")}
        leaves = leaf_log_probs(outputs.logits, run.tree)
        return {LOG_PROBS: leaves, **present}, batch["weight"] > 0

    for batch in run.feed(records, groups=groups, encode=encode):
        answered = answer(run.params, run.stats, batch)
        found, real = jax.tree.map(on_host, answered)
        found[LOG_PROBS] = found[LOG_PROBS].astype(np.float64)
        yield {name: values[real] for name, values in found.items()}


def fitted_expert(
    model: TextBaseline,
    records: Sequence[Record],
    *,
    columns: Sequence[str],
    leaves: Sequence[NodePath],
) -> Iterator[Batch]:
    """A baseline's batches, up to a constant of each row: of `leaves`."""
    places = placed(model.paths, leaves)
    for start in range(0, len(records), BATCH):
        some = records[start : start + BATCH]
        log_probs = model.log_probs(model.items(some, columns))
        yield {LOG_PROBS: on_leaves(log_probs, places), **presence(some, columns)}


def in_batches(parts: Iterable[Batch], size: int = BATCH) -> Iterator[Batch]:
    """The same rows in batches of `size`, the last one smaller."""
    held: list[Batch] = []
    for part in parts:
        held.append(part)
        if sum(len(x[LOG_PROBS]) for x in held) >= size:
            whole = _joined(held)
            full = len(whole[LOG_PROBS]) // size * size
            for start in range(0, full, size):
                yield {k: v[start : start + size] for k, v in whole.items()}
            held = [{k: v[full:] for k, v in whole.items()}]
    if held and len((last := _joined(held))[LOG_PROBS]):
        yield last


def _joined(parts: Sequence[Batch]) -> Batch:
    return {name: np.concatenate([x[name] for x in parts]) for name in parts[0]}
