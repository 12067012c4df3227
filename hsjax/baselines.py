"""B1 of Paper A: TF-IDF and a linear support vector machine over the text.

It shares records, splits, predictions, metrics and report with every other model, only
the trainer is scikit-learn's.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, Shaped
from scipy import sparse

from hsjax.batch import IMAGE
from hsjax.data.groups import group_keys
from hsjax.data.records import CatalogueError, Record
from hsjax.data.text import stream_texts
from hsjax.evaluation.collect import describe_rows
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.svm import NodePath, SvmBaseline
from hsjax.taxonomy import Taxonomy

BATCH = 1024  # rows whose probabilities are held at once


def fit_svm(
    train: Sequence[Record],
    *,
    columns: Sequence[str] = ("title",),
    tree: Taxonomy,
    groups: Integer[np.ndarray, "T"] | None = None,
    **options,
) -> SvmBaseline:
    """`SvmBaseline` of records, their labels cut to the tree.

    Rows whose label is unknown below an inner node are left out: they have no last node
    to learn.

    Args:
      columns: of text, joined by ' ; '.
      groups: group numbers of the rows, computed where not given.
      options: of `SvmBaseline`.

    Raises:
      CatalogueError: no such column, or nothing to learn from.
    """
    _check_columns(train, columns)
    paths = [_cut(record, tree) for record in train]
    inner = {path[: i + 1] for path, _ in paths for i in range(len(path) - 1)}
    usable = np.flatnonzero([p != () and (end or p not in inner) for p, end in paths])
    groups = group_keys(train) if groups is None else groups
    return SvmBaseline(**options).fit(
        stream_texts([train[i] for i in usable], columns),
        [paths[i][0] for i in usable],
        groups=groups[usable],
    )


def svm_predictions(
    model: SvmBaseline,
    test: Sequence[Record],
    *,
    columns: Sequence[str] = ("title",),
    tree: Taxonomy,
    groups: Integer[np.ndarray, "N"] | None = None,
    topk: int = 5,
) -> Predictions:
    """What `fit_svm` gave answers `test`; labels beyond the tree are `outside`.

    The only decode is `flat`, and its paths are always in the tree.

    Args:
      columns, groups: as of `fit_svm`.
      topk: answers kept, K.
    """
    outside = [tree.encode(record.path, record.complete)[1] for record in test]
    rows = describe_rows(
        test,
        groups=group_keys(test) if groups is None else groups,
        outside=np.array(outside, bool),
        levels=tree.num_levels,
    )
    present = {c: [r.texts[c] != "" for r in test] for c in columns}
    present[IMAGE] = [r.image_key != "" for r in test]
    return Predictions(
        **rows._asdict(),
        present={name: np.array(here, bool) for name, here in present.items()},
        embeddings={},
        stage=np.full(len(test), "", object),
        main="flat",
        separator=tree.separator,
        **answer_table(
            model, stream_texts(test, columns), depth=tree.num_levels, topk=topk
        ),
    )


def answer_table(
    model: SvmBaseline, texts: Sequence[str], *, depth: int, topk: int
) -> dict:
    """The columns of `Predictions` that the model decides.

    The probability of a node is the sum over the paths through it, so levels agree.

    Raises:
      CatalogueError: no text to answer.
    """
    if not len(texts):
        raise CatalogueError("the part to score has no rows: check data.split")
    codes = np.array([(*p, *[""] * (depth - len(p))) for p in model.paths], object)
    nodes, members = zip(*(_members(codes[:, k]) for k in range(depth)), strict=True)
    ends, rows = deepest(codes), []
    for start in range(0, len(texts), BATCH):
        log_probs = model.log_probs(texts[start : start + BATCH])
        best = _largest(log_probs, topk)
        probs = np.exp(log_probs)
        index = np.arange(len(probs))
        prob = np.zeros((len(probs), depth), np.float32)
        tops = np.full((len(probs), depth, topk), "", object)
        for k in range(depth):
            marginal = probs @ members[k]
            order = _largest(marginal, topk)
            tops[:, k, : order.shape[1]] = nodes[k][order]
            answered = codes[best[:, 0], k] != ""
            column = np.searchsorted(nodes[k], codes[best[:, 0], k])[answered]
            prob[answered, k] = marginal[index[answered], column]
        rows.append((best, prob, log_probs[index[:, None], best], tops))
    best, prob, log_prob, tops = (
        np.concatenate(part) for part in zip(*rows, strict=True)
    )
    flat = codes[best[:, 0]]
    missing = ((0, 0), (0, topk - best.shape[1]))
    return {
        "decoded": {"flat": flat},
        "valid": {"flat": np.ones(len(flat), bool)},
        "prob": np.minimum(prob, 1),
        "log_prob": log_prob[:, 0].astype(np.float32),
        "topk_codes": np.pad(ends[best], missing, constant_values=""),
        "topk_probs": np.pad(np.exp(log_prob), missing).astype(np.float32),
        "level_topk": tops,
    }


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
