"""Baselines: TF-IDF with a linear SVM (B1 of Paper A), or the nearest products.

In place of TF-IDF they may go by the vectors of texts or of pictures.
They share records, splits, predictions, metrics and report with every other model, only
the trainer is scikit-learn's.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy import sparse

from hsjax.baselines.nearest import NearestBaseline
from hsjax.baselines.svm import SvmBaseline
from hsjax.baselines.text import NodePath, TextBaseline
from hsjax.batch import IMAGE
from hsjax.data.groups import group_keys
from hsjax.data.records import CatalogueError, Record
from hsjax.data.tree_labels import encode_labels
from hsjax.evaluation.collect import describe_rows
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.taxonomy import Taxonomy

BASELINES = {"svm": SvmBaseline, "nearest": NearestBaseline}
BATCH = 1024  # rows whose probabilities are held at once


def fit_baseline(
    train: Sequence[Record],
    *,
    kind: str = "svm",
    penalty: float = 1.0,
    neighbours: int = 1,
    columns: Sequence[str] = ("title",),
    tree: Taxonomy,
    groups: Integer[np.ndarray, "T"] | None = None,
    **options,
) -> TextBaseline:
    """A baseline of records, their labels cut to the tree.

    Rows whose label is unknown below an inner node are left out: they have no last node
    to learn.

    Args:
      kind: of `BASELINES`.
      penalty: of the SVM alone; neighbours: of the nearest alone.
      columns: of text, joined by ' ; '; not read where `vectors` are of pictures.
      groups: group numbers of the rows, computed where not given.
      options: of `TextBaseline`.

    Raises:
      CatalogueError: no such column, nothing to learn from, or vectors that cannot be
        had.
    """
    _check_columns(train, columns)
    paths = [_cut(record, tree) for record in train]
    inner = {path[: i + 1] for path, _ in paths for i in range(len(path) - 1)}
    usable = np.flatnonzero([p != () and (end or p not in inner) for p, end in paths])
    groups = group_keys(train) if groups is None else groups
    options |= {"penalty": penalty} if kind == "svm" else {"neighbours": neighbours}
    model = BASELINES[kind](**options)
    return model.fit(
        model.items([train[i] for i in usable], columns),
        [paths[i][0] for i in usable],
        groups=groups[usable],
    )


def baseline_predictions(
    model: TextBaseline,
    test: Sequence[Record],
    *,
    columns: Sequence[str] = ("title",),
    tree: Taxonomy,
    groups: Integer[np.ndarray, "N"] | None = None,
    topk: int = 5,
    confidence: float | None = None,
) -> Predictions:
    """What `fit_baseline` gave answers `test`; labels beyond the tree are `outside`.

    The only decode is `flat`, and its paths are always in the tree.

    Args:
      columns, groups: as of `fit_baseline`.
      topk: answers kept, K.
      confidence: also the deepest node of at least this probability.

    Raises:
      CatalogueError: there are no rows, or vectors that cannot be had.
    """
    if not test:
        raise CatalogueError("the part to score has no rows: check data.split")
    items, depth = model.items(test, columns), tree.num_levels
    starts = range(0, len(items), BATCH)
    asked = {"topk": topk, "confidence": confidence}
    batches = (model.log_probs(items[start : start + BATCH]) for start in starts)
    return path_predictions(
        test,
        tree,
        answer_table(model.paths, batches, depth=depth, decode="flat", **asked),
        groups=group_keys(test) if groups is None else groups,
        present=presence(test, columns),
    )


def path_predictions(
    records: Sequence[Record],
    tree: Taxonomy,
    answers: Mapping,
    *,
    groups: Integer[np.ndarray, "N"],
    present: Mapping[str, Bool[np.ndarray, "N"]],
) -> Predictions:
    """What distributions over whole paths answer, beside what is declared.

    Args:
      answers: of `answer_table`, with its one decode.
    """
    (decode,) = answers["decoded"]
    rows = describe_rows(
        records,
        groups=groups,
        outside=encode_labels(records, tree)[1],
        levels=tree.num_levels,
    )
    return Predictions(
        **rows._asdict(),
        present=dict(present),
        embeddings={},
        stage=np.full(len(records), "", object),
        main=decode,
        separator=tree.separator,
        **answers,
    )


def presence(records: Sequence[Record], columns: Sequence[str]) -> dict:
    """Modality -> (N,) bool: which rows have these texts, and a picture."""
    found = {c: [r.texts[c] != "" for r in records] for c in columns}
    found[IMAGE] = [r.image_key != "" for r in records]
    return {name: np.array(here, bool) for name, here in found.items()}


def answer_table(
    paths: Sequence[NodePath],
    batches: Iterable[Float[np.ndarray, "_ C"]],
    *,
    depth: int,
    topk: int,
    decode: str,
    confidence: float | None = None,
) -> dict:
    """The columns of `Predictions` that a distribution over whole paths decides.

    The probability of a node is the sum over the paths through it, so levels agree.

    Args:
      paths: C of them, in node codes.
      batches: log-probabilities of these, for the next rows.
      depth: levels, L.
      topk: answers kept, K.
      decode: what the most probable path is called.
      confidence: also the deepest node of at least this probability.
    """
    codes = np.array([(*p, *[""] * (depth - len(p))) for p in paths], object)
    levels = [_members(codes[:, k]) for k in range(depth)]
    asked = {"topk": topk, "confidence": confidence}
    parts = [_answers(codes, levels, log_probs, **asked) for log_probs in batches]
    best, prob, log_prob, tops, sure = map(np.concatenate, zip(*parts, strict=True))
    first, ends = codes[best[:, 0]], deepest(codes)
    missing = ((0, 0), (0, topk - best.shape[1]))
    return {
        "decoded": {decode: first},
        "valid": {decode: np.ones(len(first), bool)},
        "prob": np.minimum(prob, 1),
        "log_prob": log_prob[:, 0].astype(np.float32),
        "topk_codes": np.pad(ends[best], missing, constant_values=""),
        "topk_probs": np.pad(np.exp(log_prob), missing).astype(np.float32),
        "level_topk": tops,
        "confident": None if confidence is None else sure,
    }


def _answers(codes, levels, log_probs, *, topk: int, confidence: float | None):
    """Of a batch: best paths, node and path probabilities, best nodes, the sure one."""
    best, probs = _largest(log_probs, topk), np.exp(log_probs)
    index, depth = np.arange(len(probs)), len(levels)
    prob = np.zeros((len(probs), depth), np.float32)
    tops = np.full((len(probs), depth, topk), "", object)
    sure = np.full(len(probs), "", object)
    for k, (nodes, members) in enumerate(levels):
        marginal = probs @ members
        order = _largest(marginal, topk)
        tops[:, k, : order.shape[1]] = nodes[order]
        answered = codes[best[:, 0], k] != ""
        column = np.searchsorted(nodes, codes[best[:, 0], k])[answered]
        prob[answered, k] = marginal[index[answered], column]
        if confidence is not None:
            enough = marginal[index, order[:, 0]] >= confidence
            sure[enough] = nodes[order[enough, 0]]
    return best, prob, log_probs[index[:, None], best], tops, sure


def _largest(values: Float[np.ndarray, "N C"], count: int) -> np.ndarray:
    """(N, K) columns of the largest values, best first, the first of equals first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def _members(codes: Shaped[np.ndarray, "C"]):
    """Nodes of a level, sorted, and (C, nodes): which paths lead through them."""
    nodes = np.unique(codes[codes != ""])
    paths = np.flatnonzero(codes != "")
    entries = (np.ones(len(paths)), (paths, np.searchsorted(nodes, codes[paths])))
    return nodes, sparse.csr_array(entries, shape=(len(codes), len(nodes)))


def _cut(record: Record, tree: Taxonomy) -> tuple[NodePath, bool]:
    """The label as far as the tree knows it, and whether it is known to end there."""
    labels, outside = tree.encode(record.path, record.complete)
    return tree.decode(labels), record.complete and not outside


def _check_columns(records: Sequence[Record], columns: Sequence[str]) -> None:
    for record in records[:1]:  # all records of a catalogue have the same ones
        missing = [column for column in columns if column not in record.texts]
        if missing:
            raise CatalogueError(
                f"there is no text column {missing[0]!r}, the records have"
                f" {', '.join(map(repr, record.texts))}: name it in columns.text"
            )
