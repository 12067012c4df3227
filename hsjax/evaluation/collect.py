"""A model's answers to a whole catalogue: params and batches in, `Predictions` out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from hsjax.data.records import Record
from hsjax.decodes import DECODES, confident_path, level_topk, topk_paths
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.expected_cost import COST, least_cost_path
from hsjax.hierarchy import label_log_probs, node_log_probs
from hsjax.progress import progress
from hsjax.taxonomy import Taxonomy
from hsjax.tree.costs import PairCosts, answer_costs
from hsjax.tree.node_codes import last_codes, level_codes, node_codes


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


def make_answer(
    apply: Callable,
    tree: Taxonomy,
    *,
    decodes: Sequence[str] = tuple(DECODES),
    main: str = "path",
    topk: int = 5,
    objective: Callable | None = None,
    costs: PairCosts | None = None,
) -> Callable:
    """`answer(params, stats, batch, confidence=None) -> dict of arrays`, to be jitted.

    Everything that is asked of a batch in one program: decodes, probabilities, top-k,
    embeddings, with `objective` the losses, with `confidence`, a number, the path to
    the deepest node that is as probable as that, and with `costs` the decode `cost`.
    """

    def answer(params, stats, batch, confidence=None):
        outputs, _ = apply(params, stats, batch)
        logits = outputs.logits
        decoded = {name: DECODES[name](logits, tree) for name in decodes}
        if costs is not None:
            decoded[COST] = least_cost_path(logits, tree, costs)
        paths, log_probs = topk_paths(logits, tree, topk)
        found = {f"decoded/{name}": labels for name, labels in decoded.items()}
        found |= {
            "prob": _node_probs(logits, decoded[main], tree),
            "log_prob": label_log_probs(logits, decoded[main], tree).sum(axis=1),
            "topk_paths": paths,
            "topk_probs": jnp.exp(log_probs),
            "level_topk": level_topk(logits, tree, topk),
            "weight": batch["weight"],
        }
        if confidence is not None:
            found["confident"] = confident_path(logits, tree, confidence)
        if outputs.text is not None:  # zero already where every text stream is absent
            found["embedding/text"] = outputs.text
        if outputs.image is not None:
            here = batch["has_image"][:, None]
            found["embedding/image"] = jnp.where(here, outputs.image, 0.0)
        found |= {name: here for name, here in batch.items() if name.startswith("has_")}
        if objective is not None:
            _, losses = objective(outputs, batch)
            found |= {f"loss/{name}": jnp.stack(pair) for name, pair in losses.items()}
        return found

    return answer


def _node_probs(logits, labels, tree: Taxonomy):
    """(B, L) p(node) of each answered node, 0 below the end."""
    columns = []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slots = jnp.asarray(tree.layout[level].slots)[jnp.maximum(labels[:, level], 0)]
        picked = jnp.take_along_axis(log_probs, slots[:, None], axis=1)[:, 0]
        columns.append(jnp.where(labels[:, level] >= 0, jnp.exp(picked), 0.0))
    return jnp.stack(columns, axis=1)


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
      Predictions of the rows of weight above 0, in order; and weighted mean losses.
    """
    bar = progress(batches, told, unit="batches")
    parts = [jax.tree.map(on_host, answer(batch)) for batch in bar]
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
    real = found.pop("weight") > 0
    found = {k: v[real] for k, v in found.items()}
    return _to_predictions(found, rows, tree, main, costs), means


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
    sure = found.get("confident")
    return Predictions(
        **rows._asdict(),
        decoded=codes,
        valid={name: tree.valid(labels) for name, labels in decoded.items()},
        # STOP is no class: nothing was answered there
        prob=np.where(codes[main] == "", 0.0, found["prob"]).astype(np.float32),
        log_prob=found["log_prob"],
        topk_codes=last_codes(topk),
        topk_probs=found["topk_probs"],
        level_topk=np.stack(tops, axis=1),
        present={k[4:]: v for k, v in found.items() if k.startswith("has_")},
        embeddings={k[10:]: v for k, v in found.items() if k.startswith("embedding/")},
        stage=np.full(len(rows.row), "", object),
        main=main,
        separator=tree.separator,
        costs={
            name: answer_costs(answer, rows.truth, rows.complete, costs)
            for name, answer in charged.items()
        },
        confident=None if sure is None else deepest(node_codes(tree, sure)),
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
