"""Answers in the order in which a person's look at them is worth most."""

import csv
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import finished
from hsjax.data.cells import safe_cell
from hsjax.prediction.answering import HAS_CODE

COST = "expected_cost"  # column of answers that were given by the least of it
FILLED_IN = ("decision", "code", "reviewer", "date", "reason")
COLUMNS = ("rank", "row", "id", "pred", "name", "probability", "expected_cost")
COLUMNS += ("unanswered", "suggestions", *FILLED_IN)


class Waiting(NamedTuple):
    """An answer that a person may look at.

    Attributes:
      cost: expected, of leaving it as it is: that of the answers' own column, or else
        the probability that it is wrong. inf = there is no answer.
      probability: of the whole path; None = there is no answer.
      unanswered: why.
      suggestions: the most probable codes, in words.
    """

    cost: float
    row: int
    id: str
    pred: str
    name: str
    probability: float | None
    unanswered: str
    suggestions: str


def ranked(answers: Iterable[Mapping], decided: Collection[int] = ()) -> list[Waiting]:
    """The dearest first, of equals the first row.

    What has a code and was not asked about is no answer, and left out.

    Args:
      answers: of `answer_rows`.
      decided: rows that are left out.
    """
    open_ones = (x for x in answers if x["row"] not in decided)
    waiting = (_waiting(x) for x in open_ones if x.get("reason") != HAS_CODE)
    return sorted(waiting, key=lambda x: (-x.cost, x.row))


def _waiting(answer: Mapping) -> Waiting:
    log_prob = as_number(answer.get("log_prob"))
    known = answer["pred"] and log_prob is not None
    probability = min(math.exp(log_prob), 1.0) if known else None
    cost = as_number(answer.get(COST))
    if cost is None:
        cost = math.inf if probability is None else 1.0 - probability
    row, id, pred = answer["row"], answer["id"], answer["pred"]
    name, reason = answer.get("name") or "", answer.get("reason") or ""
    told = _suggestions(answer)
    return Waiting(cost, row, id, pred, name, probability, reason, told)


def _suggestions(answer: Mapping) -> str:
    codes, probs = (
        json.loads(x or "[]") if isinstance(x, str) else x or []
        for x in (answer.get("topk_codes"), answer.get("topk_probs"))
    )
    pairs = zip(codes, probs, strict=False)
    return "; ".join(f"{code} ({p:.3f})" for code, p in pairs)


def as_number(value) -> float | None:
    """Of a cell, None where it holds none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number else None


def write_queue(waiting: Sequence[Waiting], path: Path) -> None:
    """A CSV whose last columns a reviewer fills in: it is the file of decisions."""
    options = {"encoding": "utf-8", "newline": ""}
    with finished(path) as partial, partial.open("w", **options) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for rank, x in enumerate(waiting, start=1):
            sure = "" if x.probability is None else f"{x.probability:.6g}"
            cost = "" if math.isinf(x.cost) else f"{x.cost:.6g}"
            told = [x.id, x.pred, x.name, sure, cost, x.unanswered, x.suggestions]
            cells = [safe_cell(text) for text in told]
            writer.writerow([rank, x.row, *cells, *("" for _ in FILLED_IN)])
