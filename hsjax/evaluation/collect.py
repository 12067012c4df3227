"""A model's answers to a whole catalogue: params and batches in, `Predictions` out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from hsjax.data.records import Record
from hsjax.evaluation.predictions import Predictions
from hsjax.progress import progress
from hsjax.taxonomy import Taxonomy
from hsjax.tree.costs import PairCosts, answer_costs
from hsjax.tree.node_codes import deepest, level_codes, node_codes


class Rows(NamedTuple):
    """What is known of the rows that are answered.

    Attributes:
      row, id, group: (N,).
      truth: (N, L) node codes, '' = none.
      complete, outside: (N,) bool.
      admissible: (N, S) codes of nodes of which one is right, '' = fewer; None = no row
        has a set.
    """

    row: np.ndarray
    id: np.ndarray
    group: np.ndarray
    truth: np.ndarray
    complete: np.ndarray
    outside: np.ndarray
    admissible: np.ndarray | None = None


def describe_rows(
    records: Sequence[Record], *, groups: np.ndarray, outside: np.ndarray, levels: int
) -> Rows:
    """Rows as the scorer needs them; a label deeper than the tree is cut."""
    truth = np.full((len(records), levels), "", object)
    known, sets = [], []
    for i, record in enumerate(records):  # once, as reading may take time
        codes = record.path[:levels]
        truth[i, : len(codes)] = codes
        known.append((record.row, record.id, record.complete))
        sets.append([path[-1] for path in record.admissible])
    row, id, complete = zip(*known, strict=True) if known else ((), (), ())
    admissible = np.full((len(sets), max(map(len, sets), default=0)), "", object)
    for i, codes in enumerate(sets):
        admissible[i, : len(codes)] = codes
    return Rows(
        row=np.array(row, np.int64),
        id=np.array(id, object),
        group=np.asarray(groups, np.int64),
        truth=truth,
        complete=np.array(complete, bool),
        outside=np.asarray(outside, bool),
        admissible=admissible,
    )


def collect_predictions(
    answer: Callable,
    batches: Iterable,
    *,
    rows: Rows,
    tree: Taxonomy,
    main: str = "path",
    costs: PairCosts | None = None,
    told: str = "",
) -> tuple[Predictions, dict[str, float]]:
    """Runs `answer(batch)` over all batches.

    Args:
      answer: of one placed batch.
      costs: of mistakes, that every answer is charged by; None = that is not asked.
      told: what the progress bar says, '' = none.

    Returns:
      Predictions of the rows of weight above 0, in the order of the answers' `index`
      where they have one; and weighted mean losses.
    """
    asked = map(answer, progress(batches, told, unit="batches"))
    parts = [jax.tree.map(on_host, found) for found in _one_behind(asked)]
    losses = {
        k[5:]: np.stack([p.pop(k) for p in parts])
        for k in list(parts[0])
        if k[:5] == "loss/"
    }
    means = {
        name: float((m * w).sum() / max(w.sum(), 1e-9))
        for name, (m, w) in ((k, (v[:, 0], v[:, 1])) for k, v in losses.items())
    }
    found = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    places = np.flatnonzero(found.pop("weight") > 0)
    if "index" in found:
        places = places[np.argsort(found.pop("index")[places])]
    found = {k: v[places] for k, v in found.items()}
    return _to_predictions(found, rows, tree, main, costs), means


def _one_behind(items: Iterable) -> Iterator:
    """Each when the next is there: what a device computes is not waited for."""
    before = deque()
    for item in items:
        before.append(item)
        if len(before) > 1:
            yield before.popleft()
    yield from before


def on_host(x: jax.Array) -> np.ndarray:
    """All rows of an answer, those of other processes, too."""
    if jax.process_count() > 1 and not x.is_fully_replicated:
        x = multihost_utils.process_allgather(x, tiled=True)
    return np.asarray(x)


def _to_predictions(
    found: dict, rows: Rows, tree: Taxonomy, main: str, costs: PairCosts | None
) -> Predictions:
    decoded = {k[8:]: v for k, v in found.items() if k.startswith("decoded/")}
    codes = {name: node_codes(tree, labels) for name, labels in decoded.items()}
    charged = {} if costs is None else codes
    topk = node_codes(tree, found["topk_paths"])
    tops = [
        level_codes(tree, k, found["level_topk"][:, k]) for k in range(tree.num_levels)
    ]
    present = {k[4:]: v for k, v in found.items() if k.startswith("has_")}
    sure = found.get("confident")
    if sure is not None:
        sure = deepest(node_codes(tree, sure))
        if present:  # of nothing there is nothing to be sure of
            sure = np.where(np.any([*present.values()], axis=0), sure, "")
    return Predictions(
        **rows._asdict(),
        decoded=codes,
        valid={name: tree.valid(labels) for name, labels in decoded.items()},
        # STOP is no class: nothing was answered there
        prob=np.where(codes[main] == "", 0.0, found["prob"]).astype(np.float32),
        log_prob=found["log_prob"],
        topk_codes=deepest(topk),
        topk_probs=found["topk_probs"],
        level_topk=np.stack(tops, axis=1),
        present=present,
        embeddings={k[10:]: v for k, v in found.items() if k.startswith("embedding/")},
        stage=np.full(len(rows.row), "", object),
        main=main,
        separator=tree.separator,
        costs={
            name: answer_costs(answer, rows.truth, rows.complete, costs)
            for name, answer in charged.items()
        },
        confident=sure,
        asked={k[6:]: v for k, v in found.items() if k.startswith("asked/")},
    )


def without_classes(predictions: Predictions) -> Predictions:
    """No node, no path and no probability: of a model whose head is as it started."""
    p, blank = predictions, np.full(predictions.truth.shape, "", object)
    return replace(
        p,
        decoded=dict.fromkeys(p.decoded, blank),
        valid={name: np.zeros(len(p), bool) for name in p.valid},
        prob=np.zeros_like(p.prob),
        log_prob=np.full_like(p.log_prob, np.nan),
        costs={},
        topk_codes=np.full(p.topk_codes.shape, "", object),
        topk_probs=np.zeros_like(p.topk_probs),
        level_topk=np.full(p.level_topk.shape, "", object),
        confident=None if p.confident is None else blank[:, 0],
    )
