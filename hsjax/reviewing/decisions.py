"""What reviewers decided about answers, as a file of theirs says it."""

import datetime
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hsjax.data.cells import plain_cell
from hsjax.data.columns import missing_column
from hsjax.data.fields import as_text
from hsjax.data.named_nodes import Own, find_node
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import column_names, read_rows
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError

ACCEPT, OVERRIDE, REJECT = DECISIONS = ("accept", "override", "reject")
NEEDED = ("decision", "reviewer", "date", "reason")
MOST_TOLD = 20  # flaws of one file


class Answer(NamedTuple):
    """What a decision is about.

    Attributes:
      content: the `content_key` of the product, '' = the file does not say.
    """

    row: int
    id: str
    pred: str
    content: str


class Decision(NamedTuple):
    """About one answer.

    Attributes:
      decision: accept | override | reject.
      code: node of the tree that the product has now, '' where the answer is rejected.
      date: ISO, 2024-01-31.
    """

    answer: Answer
    decision: str
    code: str
    reviewer: str
    date: str
    reason: str


class _Flaw(ValueError):
    """(column, what is wrong)."""


def read_decisions(
    path: Path,
    answers: Mapping[int, Answer],
    tree: Taxonomy,
    own: Own,
) -> list[Decision]:
    """The rows of a file in which a decision stands, in order.

    Columns: `row` or `id` of the answer, `decision`, `reviewer`, `date`, `reason`,
    `code` of an override and, where it is there, `pred`, the answer that was seen;
    others are not looked at. A row without a decision is still open. What `safe_cell`
    did is undone.

    Args:
      answers: by row.
      own: see `find_node`.

    Raises:
      CatalogueError: no such file, a missing column; an unknown row, id, decision or
        code, no reviewer, date or reason, another answer than was seen, the same row
        twice: each with its row and column.
    """
    _check_columns(path)
    ids = _by_id(answers.values())
    notes, flaws, found = Quarantine(), [], []
    first: dict[int, int] = {}
    for number, values in read_rows(path, notes):
        cells = {name: plain_cell(as_text(x)) for name, x in values.items()}
        if not cells.get("decision"):
            if cells.get("code"):
                flaws.append((number, "decision", "is empty, and there is a code"))
            continue
        told: list[tuple] = []
        decision = _decision(cells, told, answers, ids, tree, own)
        if decision and (row := decision.answer.row) in first:
            twice = f"row {row} is decided in row {first[row]} of this file, too"
            told.append(("row" if cells.get("row") else "id", twice))
        elif decision:
            first[row] = number
            found.append(decision)
        flaws += [(number, *flaw) for flaw in told]
    flaws += [(note[1], note[3], note[4]) for note in notes.rows]
    if flaws:
        raise CatalogueError(_told(path, sorted(flaws)))
    return found


def _check_columns(path: Path) -> None:
    if not path.is_file():
        raise CatalogueError(f"--decisions={path}: there is no such file")
    names = column_names(path)
    for column in NEEDED:
        if column not in names:
            raise missing_column(path, column, "--decisions", names)
    if not {"row", "id"}.intersection(names):
        raise missing_column(path, "row", "--decisions", names)


def _by_id(answers: Iterable[Answer]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for answer in answers:
        found.setdefault(answer.id, []).append(answer.row)
    return found


def _told(path: Path, flaws: list[tuple]) -> str:
    lines = [
        f"{path}, row {row}{f', column {column}' if column else ''}: {told}"
        for row, column, told in flaws[:MOST_TOLD]
    ]
    more = len(flaws) - MOST_TOLD
    return "\n".join(lines + ([f"and {more} more"] if more > 0 else []))


def _decision(cells: Mapping, told: list, answers, ids, tree, own) -> Decision | None:
    """Of one row; where it cannot be, None, and `told` has every flaw of it."""
    answer = _checked(told, _answer, cells, answers, ids)
    if answer:
        _checked(told, _check_seen, cells.get("pred", ""), answer)
    kind = _checked(told, _kind, cells["decision"])
    code = ""
    if answer and kind:
        code = _checked(told, RULES[kind], cells.get("code", ""), answer, tree, own)
    if not cells["reviewer"]:
        told.append(("reviewer", "is empty: who decided?"))
    if not cells["reason"] and kind not in (ACCEPT, None):
        told.append(("reason", f"is empty: what speaks for the {kind}?"))
    date = _checked(told, _date, cells["date"])
    if told:
        return None
    return Decision(answer, kind, code, cells["reviewer"], date, cells["reason"])


def _checked(told: list, check: Callable, *args):
    """What it returns, or None with its flaw in `told`: a person mends all at once."""
    try:
        return check(*args)
    except _Flaw as flaw:
        told.append(flaw.args)
        return None


def _check_seen(pred: str, answer: Answer) -> None:
    """_Flaw: the reviewer saw another answer. Spreadsheets cut leading zeros."""
    if pred and pred.lstrip("0") != answer.pred.lstrip("0"):
        now = repr(answer.pred) if answer.pred else "nothing"
        told = f"{pred!r} was answered when this was decided, and now {now}"
        raise _Flaw("pred", f"{told}: make the queue anew")


def _kind(text: str) -> str:
    kind = text.casefold()
    if kind not in DECISIONS:
        known = f"{kind!r} is none of {', '.join(DECISIONS)}.{meant(kind, DECISIONS)}"
        raise _Flaw("decision", known)
    return kind


def _answer(cells: Mapping, answers: Mapping[int, Answer], ids) -> Answer:
    """By row, by id, or by both if they agree."""
    row, id = cells.get("row", ""), cells.get("id", "")
    if row:
        if not row.isdecimal() or int(row) not in answers:
            raise _Flaw("row", f"the answers have no row {row!r}")
        answer = answers[int(row)]
        if id and id != answer.id:
            raise _Flaw("id", f"is {id!r}, and row {row} of the answers {answer.id!r}")
        return answer
    if not id:
        raise _Flaw("row", "is empty, and there is no id")
    if id not in ids:
        raise _Flaw("id", f"the answers have no {id!r}.{meant(id, ids)}")
    if len(ids[id]) > 1:
        rows = ", ".join(map(str, ids[id][:5]))
        raise _Flaw("id", f"{id!r} stands in rows {rows}: give the row")
    return answers[ids[id][0]]


def _date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        told = f"{text!r} is no date" if text else "is empty"
        raise _Flaw("date", f"{told}: write 2024-01-31") from None


def _accepted(code: str, answer: Answer, tree: Taxonomy, own) -> str:
    if not answer.pred:
        raise _Flaw("decision", f"row {answer.row} has no answer: override or reject")
    if code and _node(code, tree, own) != answer.pred:
        told = f"{code!r} is not the answer, {answer.pred!r}: write override"
        raise _Flaw("code", told)
    return answer.pred


def _overridden(code: str, answer: Answer, tree: Taxonomy, own) -> str:
    if not code:
        raise _Flaw("code", "is empty: which code instead?")
    node = _node(code, tree, own)
    if node == answer.pred:
        raise _Flaw("code", f"{code!r} is the answer itself: write accept")
    return node


def _rejected(code: str, answer: Answer, tree: Taxonomy, own) -> str:
    if code:
        raise _Flaw("code", f"{code!r}: a reject names no code; or write override")
    return ""


def _node(code: str, tree: Taxonomy, own: Own) -> str:
    """The tree's own code of a node as somebody wrote it."""
    try:
        return find_node(code, tree, own, guess=True)
    except TaxonomyError as error:
        raise _Flaw("code", str(error)) from None


RULES: dict[str, Callable[..., str]] = {
    ACCEPT: _accepted,
    OVERRIDE: _overridden,
    REJECT: _rejected,
}
