"""The label audit of a run's catalogue: declared labels that other products contradict.

The model of the folds is fast: TF-IDF and a linear SVM on the texts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer
from scipy.special import log_softmax

from hsjax.atomic import write_atomically
from hsjax.baselines.svm import SvmBaseline
from hsjax.batch import IMAGE
from hsjax.data.cells import write_csv
from hsjax.data.columns import model_columns
from hsjax.data.groups import group_keys
from hsjax.data.quarantine import CatalogueError, Quarantine, written_if_refused
from hsjax.data.records import Record
from hsjax.data.text import stream_texts
from hsjax.data.tokens import BETWEEN_COLUMNS
from hsjax.evaluation.label_audit import (
    TOP,
    FitAndAnswer,
    Ranking,
    fold_numbers,
    found_share,
    out_of_fold,
    plant_errors,
    rank_labels,
)
from hsjax.evaluation.markdown import table
from hsjax.inference.products import read_another
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import read_config
from hsjax.trained.reports import code_names

SHOWN, TEXT = 20, 60  # suspects in the report, and letters of their texts
COLUMNS = ("rank", "row", "id", "label", "suggestion", "label_prob", "suggestion_prob")
COLUMNS += ("score", "shared_levels", "confident", "text")


class Declared(NamedTuple):
    """Rows whose label can be doubted.

    Attributes:
      paths: (C) classes: whole paths of node codes.
      labels: (N,) class of each record; groups: (N,).
      left_out: rows without a label, or with one that is unknown below an inner node.
    """

    records: Sequence[Record]
    paths: list[tuple[str, ...]]
    labels: np.ndarray
    groups: np.ndarray
    left_out: int


class LabelAudit(NamedTuple):
    """The ranking, and the share of planted errors found in its first tenth."""

    ranking: Ranking
    found: float


def audit_run_labels(
    workdir: Path, output: Path, *, source: str | None, seed: int, planted: float
) -> None:
    """Ranks the declared labels of a run's catalogue, or of another file.

    Writes `label_audit.csv`, all rows in order of doubt, and `label_audit.md`. All
    labelled rows of the file take part, those that the run was trained on, too: it is
    not the run that judges.

    Args:
      planted: share of labels made wrong to see how many are found; 0 = not tried.

    Raises:
      CatalogueError: no label, no text that the run's model reads, a share beyond 0..1.
    """
    config = read_config(workdir).copy_and_resolve_references().unlock()
    if (output / "config.json").exists():
        raise CatalogueError(f"{output} is a workdir of a run; take another --output")
    if not 0 <= planted < 1:
        raise CatalogueError(f"--planted={planted}: give a share in 0..1")
    # pictures are not looked at, so they need not be decoded
    config.model.modalities = tuple(m for m in config.model.modalities if m != IMAGE)
    if not (columns := model_columns(config)):
        raise CatalogueError(f"{workdir} reads no text, which the label audit goes by")
    tree = Taxonomy.load(workdir / "taxonomy.json")
    name, quarantine = source or config.data.path, Quarantine()
    with written_if_refused(quarantine, output / "quarantine.csv"):
        found = read_another(config, name, tree=tree, quarantine=quarantine)
    if found.unlabelled:
        raise CatalogueError(f"{name} has no labels to audit: {found.unlabelled}")
    rows = declared_labels(found.records, tree)
    asked = {"seed": seed, "planted": planted, "progress": "folds"}
    audit = audit_labels(rows, columns=columns, **asked)
    output.mkdir(parents=True, exist_ok=True)
    write_suspects(output / "label_audit.csv", rows, audit.ranking)
    body = audit_markdown(rows, audit, planted, names=code_names(tree))
    text = f"# Label audit: {name}\n\n{body}"
    write_atomically(output / "label_audit.md", text + "\n")
    print(f"{text}\nall files: {output}")


def declared_labels(records: Sequence[Record], tree: Taxonomy) -> Declared:
    """The rows with a label as far as the tree knows it, and their classes.

    Raises:
      CatalogueError: fewer than two classes.
    """
    found = [tree.encode(record.path, record.complete) for record in records]
    paths = [tree.decode(labels) for labels, _ in found]
    ends = [r.complete and not x for r, (_, x) in zip(records, found, strict=True)]
    inner = {path[:i] for path in paths for i in range(1, len(path))}
    known = [
        p != () and (e or p not in inner) for p, e in zip(paths, ends, strict=True)
    ]
    kept = np.flatnonzero(known).tolist()
    classes = sorted({paths[i] for i in kept})
    if len(classes) < 2:
        raise CatalogueError(f"a label audit needs two classes, found {len(classes)}")
    number = {path: i for i, path in enumerate(classes)}
    chosen = [records[i] for i in kept]
    labels = np.array([number[paths[i]] for i in kept])
    left_out = len(records) - len(kept)
    return Declared(chosen, classes, labels, group_keys(chosen), left_out)


def audit_labels(
    rows: Declared,
    *,
    columns: Sequence[str],
    folds: int = 5,
    seed: int = 0,
    planted: float = 0.05,
    progress: str = "",
) -> LabelAudit:
    """Ranks the labels, then plants errors among them and counts how many are found.

    Args:
      columns: of text.
      folds: the rows are judged in so many parts.
      planted: share of planted errors, 0 = none.

    Raises:
      CatalogueError: a fold would have nothing to learn from.
    """
    if len(np.unique(rows.groups)) < 2:
        raise CatalogueError(
            "all labelled rows are one group of products (equal title, picture or"
            " data.columns.group): no other product is left to judge them by"
        )
    texts = stream_texts(rows.records, columns)
    blank = np.array([not text.strip() for text in texts])

    def ranked(labels: np.ndarray) -> Ranking:
        fold = fold_numbers(rows.groups, labels, folds=folds, seed=seed)
        count = len(rows.paths)
        answer = linear_answers(labels, rows.groups, texts, classes=count)
        log_probs = out_of_fold(fold, count, answer, progress=progress)
        log_probs[blank] = -np.inf  # nothing there to judge by
        return rank_labels(log_probs, labels)

    ranking = ranked(rows.labels)
    if not len(ranking.order):
        raise CatalogueError("no label can be judged: no class has two products")
    if not planted:
        return LabelAudit(ranking, float("nan"))
    wrong, where = plant_errors(rows.labels, share=planted, seed=seed)
    return LabelAudit(ranking, found_share(ranked(wrong), where))


def linear_answers(
    labels: Integer[np.ndarray, "N"],
    groups: Integer[np.ndarray, "N"],
    texts: Sequence[str],
    *,
    classes: int,
) -> FitAndAnswer:
    """What `out_of_fold` asks for: TF-IDF + linear SVM of the other folds."""

    def answer(learnt: np.ndarray, held: np.ndarray) -> np.ndarray:
        found, seen = np.full((len(held), classes), -np.inf), np.unique(labels[learnt])
        log_probs = np.zeros((len(held), len(seen)))
        if len(seen) > 1:
            paths = [(f"{label:09d}",) for label in labels[learnt].tolist()]
            known = [texts[i] for i in learnt]
            svm = SvmBaseline().fit(known, paths, groups=groups[learnt])
            log_probs = svm.log_probs([texts[i] for i in held])
        found[:, seen] = log_softmax(log_probs, axis=1)
        return found

    return answer


def write_suspects(path: Path, rows: Declared, ranking: Ranking) -> None:
    """A CSV file of `COLUMNS`, the most doubtful label first."""

    def line(rank: int, i: int) -> list:
        label, other = (rows.paths[x[i]] for x in (rows.labels, ranking.suggestion))
        numbers = ranking.label_prob, ranking.suggestion_prob, ranking.score
        record, sure = rows.records[i], int(ranking.confident[i])
        told = [rank, record.row, record.id, label[-1], other[-1]]
        told += [f"{x[i]:.4g}" for x in numbers]
        return [*told, _shared(label, other), sure, _text(record)]

    ranked = enumerate(ranking.order.tolist(), start=1)
    write_csv(path, COLUMNS, (line(*pair) for pair in ranked))


def audit_markdown(
    rows: Declared, audit: LabelAudit, planted: float, *, names: Mapping[str, str]
) -> str:
    """What was judged, how well planted errors are found, and the first suspects."""
    ranking, total = audit.ranking, len(rows.records)
    judged = len(ranking.order)
    agree = (ranking.label_prob > ranking.suggestion_prob)[ranking.order]
    facts = [
        ["labels judged", judged],
        ["not judged: no text, or no other product of the class", total - judged],
        ["not judged: no label, or unknown below an inner node", rows.left_out],
        ["% confirmed out of fold", 100 * float(agree.mean())],
        ["% contradicted confidently", 100 * float(ranking.confident.sum() / judged)],
    ]
    if planted:
        told = f"% of {100 * planted:g} % planted errors in the first {100 * TOP:g} %"
        facts.append([told, 100 * audit.found])
    lines = []
    for i in ranking.order[:SHOWN].tolist():
        record = rows.records[i]
        codes = [rows.paths[x[i]][-1] for x in (rows.labels, ranking.suggestion)]
        nodes = [f"{code} {names.get(code, '')}".strip() for code in codes]
        probs = [f"{p[i]:.3f}" for p in (ranking.label_prob, ranking.suggestion_prob)]
        lines.append([str(record.row), _text(record)[:TEXT], *nodes, *probs])
    head = ["row", "text", "label", "products like it are", "p(label)", "p(that)"]
    return f"{table(['', ''], facts)}\n\n{table(head, lines)}"


def _text(record: Record) -> str:
    return BETWEEN_COLUMNS.join(text for text in record.texts.values() if text)


def _shared(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """Levels on which two paths agree."""
    return sum(x == y for x, y in zip(a, b, strict=False))
