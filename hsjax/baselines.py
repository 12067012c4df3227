"""B1 of Paper A: TF-IDF and a linear support vector machine over the text.

It shares records, splits, predictions, metrics and report with every other model, only
the trainer is scikit-learn's.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, Shaped
from scipy import optimize, sparse
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.svm import LinearSVC

from hsjax.batch import IMAGE
from hsjax.data.groups import group_keys
from hsjax.data.records import CatalogueError, Record
from hsjax.data.text import stream_texts
from hsjax.evaluation.collect import describe_rows
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.taxonomy import Taxonomy

WEIGHTS = 2 * 10**8  # classes x features kept in memory: 1.6 GB
BATCH = 1024  # rows whose probabilities are held at once
HELD_OUT = 0.1  # of the training groups, for the temperature
NodePath = tuple[str, ...]


class SvmBaseline:
    """TF-IDF of 1-2-grams (sublinear), one linear SVM per last node against the rest.

    An SVM has no probabilities. softmax(margins / T) stands for them, where the one
    number T is fitted by likelihood on a held-out tenth of the training groups; then
    the SVM is fitted again on all rows. That makes them roughly calibrated on average,
    not per class. `calibrate=False` keeps T = 1 and halves the time: only the order
    then means anything.
    """

    def __init__(self, *, penalty: float = 1.0, calibrate: bool = True, seed: int = 0):
        self.penalty, self.calibrate, self.seed = penalty, calibrate, seed
        self.temperature = 1.0

    def fit(
        self,
        texts: Sequence[str],
        paths: Sequence[NodePath],
        *,
        groups: Integer[np.ndarray, "N"] | None = None,
    ) -> "SvmBaseline":
        """Learns from texts and their paths of node codes; the classes are whole paths.

        Raises:
          CatalogueError: fewer than two different paths, or no text at all.
        """
        self.paths = sorted(set(paths))
        if len(self.paths) < 2:
            raise CatalogueError(
                f"the SVM needs two different labels, found {len(self.paths)}"
            )
        number = {path: index for index, path in enumerate(self.paths)}
        target = np.array([number[path] for path in paths])
        limit = max(WEIGHTS // len(self.paths), 1)
        self.vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, max_features=limit
        )
        if not any(text.strip() for text in texts):
            raise CatalogueError("every training text is empty: check columns.text")
        features = self.vectorizer.fit_transform(texts)
        if self.calibrate:
            groups = np.arange(len(target)) if groups is None else groups
            self.temperature = self._fit_temperature(features, target, groups)
        self.svm = self._svm().fit(features, target)
        return self

    def log_probs(self, texts: Sequence[str]) -> Float[np.ndarray, "N C"]:
        """Log-probability of each of `paths`."""
        margins = _margins(self.svm, self.vectorizer.transform(texts))
        return log_softmax(margins / self.temperature, axis=1)

    def _svm(self) -> LinearSVC:
        return LinearSVC(C=self.penalty, dual=True, random_state=self.seed)

    def _fit_temperature(self, features, target, groups) -> float:
        """The T of highest likelihood on held-out groups; 1 if it cannot be told."""
        if len(np.unique(groups)) < 2:
            return 1.0
        split = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=self.seed)
        kept, held = next(split.split(target, groups=groups))
        seen = np.unique(target[kept])
        held = held[np.isin(target[held], seen)]
        if len(seen) < 2 or not len(held):
            return 1.0
        svm = self._svm().fit(features[kept], target[kept])
        margins = _margins(svm, features[held])
        true = np.searchsorted(seen, target[held])

        def loss(log_temperature: float) -> float:
            log_probs = log_softmax(margins / np.exp(log_temperature), axis=1)
            return -log_probs[np.arange(len(true)), true].mean()

        best = optimize.minimize_scalar(loss, bounds=(-4, 2), method="bounded")
        return float(np.exp(best.x))


def svm_predictions(
    train: Sequence[Record],
    test: Sequence[Record],
    *,
    columns: Sequence[str] = ("title",),
    tree: Taxonomy,
    groups: Integer[np.ndarray, "N"] | None = None,
    train_groups: Integer[np.ndarray, "T"] | None = None,
    topk: int = 5,
    calibrate: bool = True,
    seed: int = 0,
) -> Predictions:
    """Trains `SvmBaseline` on `train` and answers `test`.

    Training rows whose label is unknown below an inner node are left out: they have no
    last node to learn. The only decode is `flat`, and its paths are always in the tree.

    Args:
      columns: of text, joined by ' ; '.
      tree: training labels are cut to it; test labels beyond it are `outside`.
      groups, train_groups: group numbers of the rows, computed where not given.
      topk: answers kept, K.

    Raises:
      CatalogueError: no such column, or nothing to learn from.
    """
    _check_columns(train, columns)
    paths = [_cut(record, tree) for record in train]
    inner = {path[: i + 1] for path, _ in paths for i in range(len(path) - 1)}
    usable = np.flatnonzero([p != () and (end or p not in inner) for p, end in paths])
    train_groups = group_keys(train) if train_groups is None else train_groups
    model = SvmBaseline(calibrate=calibrate, seed=seed).fit(
        stream_texts([train[i] for i in usable], columns),
        [paths[i][0] for i in usable],
        groups=train_groups[usable],
    )
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


def _margins(svm: LinearSVC, features) -> Float[np.ndarray, "N C"]:
    margins = svm.decision_function(features)
    return np.stack([-margins, margins], axis=1) / 2 if margins.ndim == 1 else margins


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
