"""Answers in the order in which a person's look at them is worth most."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.data.cells import write_csv
from hsjax.data.fields import as_text
from hsjax.data.prepared import StoredPicture
from hsjax.data.quarantine import Quarantine
from hsjax.data.sources import read_rows
from hsjax.prediction.answering import HAS_CODE

COST = "expected_cost"  # column of answers that were given by the least of it
FILLED_IN = ("decision", "code", "reviewer", "date", "reason")
TOLD = ("rank", "row", "id", "pred", "name", "probability", "expected_cost")
TOLD += ("unanswered", "suggestions")
OF_PRODUCT = "product: "  # before the catalogue's own names of columns
LONGEST = 1000  # characters of a cell of the catalogue; pictures may be inside


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


def write_queue(
    waiting: Sequence[Waiting], path: Path, products: Mapping[int, Mapping[str, str]]
) -> None:
    """A CSV whose last columns a reviewer fills in: it is the file of decisions.

    Args:
      products: of each row, what the catalogue says of it; {} = nothing is known.
    """
    columns = [*dict.fromkeys(name for said in products.values() for name in said)]
    header = (*TOLD, *(f"{OF_PRODUCT}{name}" for name in columns), *FILLED_IN)

    def line(rank: int, x: Waiting) -> list:
        sure = "" if x.probability is None else f"{x.probability:.6g}"
        cost = "" if math.isinf(x.cost) else f"{x.cost:.6g}"
        told = [x.id, x.pred, x.name, sure, cost, x.unanswered, x.suggestions]
        said = [products.get(x.row, {}).get(name, "") for name in columns]
        return [rank, x.row, *told, *said, *("" for _ in FILLED_IN)]

    write_csv(path, header, (line(*pair) for pair in enumerate(waiting, start=1)))


def said_of(
    source: Path, columns: Sequence[str], rows: Collection[int]
) -> dict[int, dict[str, str]]:
    """What these columns of a catalogue say of some rows; pictures as their addresses.

    Raises:
      CatalogueError: the file cannot be read.
    """
    if not rows:
        return {}
    read = read_rows(source, Quarantine(), columns=columns, rows=max(rows))
    return {
        row: {name: _shown(values.get(name)) for name in columns}
        for row, values in read
        if row in rows
    }


def _shown(value) -> str:
    """A cell as a person may read it, '' of a picture itself and of long cells."""
    if isinstance(value, bytes | dict | StoredPicture):
        return ""
    text = as_text(value)
    return text if len(text) <= LONGEST else ""
