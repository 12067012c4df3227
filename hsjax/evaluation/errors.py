"""Where a model errs: confusions, weak classes, labels that may be wrong."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hsjax.evaluation.markdown import table
from hsjax.evaluation.measures import answers
from hsjax.evaluation.predictions import Predictions, deepest


class Confusion(NamedTuple):
    """`rows` products of `truth` were answered as `answer`."""

    truth: str
    answer: str
    rows: int


class ClassScore(NamedTuple):
    """How well one last node is found, and what it is mostly taken for."""

    code: str
    rows: int
    precision: float
    recall: float
    f1: float
    mistaken_for: str


class Suspect(NamedTuple):
    """A label that the model contradicts with probability `prob`."""

    row: int
    id: str
    label: str
    answer: str
    prob: float


def confusions(predictions: Predictions, *, limit: int = 20) -> list[Confusion]:
    """The most frequent pairs of true and wrongly answered last nodes."""
    truth, answer = _ends(predictions)
    pairs = Counter((t, a) for t, a in zip(truth, answer, strict=True) if t != a)
    order = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Confusion(*pair, rows) for pair, rows in order[:limit]]


def worst_classes(
    predictions: Predictions, *, limit: int = 20, min_support: int = 5
) -> list[ClassScore]:
    """The last nodes of at least `min_support` rows with the lowest F1."""
    truth, answer = _ends(predictions)
    support, given = Counter(truth), Counter(answer)
    hits = Counter(t for t, a in zip(truth, answer, strict=True) if t == a)
    rivals = {}
    for pair in confusions(predictions, limit=len(truth)):
        rivals.setdefault(pair.truth, pair.answer)
    scores = [
        ClassScore(
            code=code,
            rows=rows,
            precision=hits[code] / max(given[code], 1),
            recall=hits[code] / rows,
            f1=2 * hits[code] / (rows + given[code]),
            mistaken_for=rivals.get(code, ""),
        )
        for code, rows in support.items()
        if rows >= min_support
    ]
    return sorted(scores, key=lambda s: (s.f1, -s.rows, s.code))[:limit]


SURE = 0.5  # less is no suspicion


def suspected_label_errors(predictions: Predictions) -> list[Suspect]:
    """Rows in which another path than the label has the highest probability.

    The surest come first. A node below a label that is unknown there contradicts
    nothing, and a label outside the tree cannot be answered: such rows are left out.
    """
    p, labels = predictions, deepest(predictions.truth)
    found = []
    for index in np.flatnonzero((labels != "") & ~p.outside):
        label, answer = labels[index], p.topk_codes[index, 0]
        below = not p.complete[index] and answer.startswith(label + p.separator)
        if answer not in ("", label) and not below:
            prob = float(p.topk_probs[index, 0])
            found.append(Suspect(int(p.row[index]), p.id[index], label, answer, prob))
    return sorted(found, key=lambda s: (-s.prob, s.row))


def error_sections(
    predictions: Predictions, names: Mapping[str, str]
) -> dict[str, str]:
    """Title -> Markdown table of each of the three; `names` explains node codes."""
    return {
        "Worst confusions": _confusions(predictions, names),
        "Worst classes": _worst_classes(predictions, names),
        "Suspected label errors": _suspects(predictions, names),
    }


def _confusions(p: Predictions, names: Mapping[str, str]) -> str:
    rows = [
        [_node(truth, names), _node(answer, names), n]
        for truth, answer, n in confusions(p)
    ]
    return table(["truth", "answer", "rows"], rows, empty="No row is wrong.")


def _worst_classes(p: Predictions, names: Mapping[str, str]) -> str:
    rows = []
    for c in worst_classes(p):
        shares = [f"{100 * value:.1f}" for value in (c.precision, c.recall, c.f1)]
        rows.append(
            [_node(c.code, names), c.rows, *shares, _node(c.mistaken_for, names)]
        )
    head = ["class (5 rows or more)", "rows", "precision", "recall", "F1"]
    empty = "No class has 5 rows or more."
    return table([*head, "mostly taken for"], rows, empty=empty)


def _suspects(p: Predictions, names: Mapping[str, str], *, limit: int = 20) -> str:
    found = suspected_label_errors(p)
    sure = [s for s in found if s.prob >= SURE]
    rows = [
        [
            str(s.row),
            s.id,
            _node(s.label, names),
            _node(s.answer, names),
            f"{s.prob:.3f}",
        ]
        for s in sure[:limit]
    ]
    searched = np.count_nonzero(p.truth[:, 0] != "")
    note = (
        f"Searched: the {searched:,} labelled rows of this report, no others. In"
        f" {len(found):,} of them the most probable path contradicts the label"
    )
    note += f", in {len(sure):,} with a probability of {SURE} or more"
    note += f", of which the {limit} surest follow." if len(sure) > limit else "."
    note += " Either the label is wrong there, or the model."
    head = ["row", "id", "label", "the model says", "probability"]
    return f"{note}\n\n{table(head, rows)}" if rows else note


def _node(code: str, names: Mapping[str, str]) -> str:
    name = names.get(code, "")
    return code if not name or code.endswith(name) else f"{code} {name}"


def _ends(predictions: Predictions) -> tuple[list[str], list[str]]:
    """True and answered last nodes of the rows with a label."""
    rows = predictions.truth[:, 0] != ""
    truth, answer = deepest(predictions.truth), deepest(answers(predictions))
    return truth[rows].tolist(), answer[rows].tolist()
