"""Tables of scores, from papers and from reports, and what the auditor says of them."""

import csv
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hsjax.data.records import CatalogueError
from hsjax.evaluation.audit import FactsOf, Figure, Finding, audit_figures

_LEVEL = re.compile(r"\b(level|digits) ?(\d+)\b|\b(\d+) digits?\b")
_WORDS = {  # what a table says -> what we call it
    **{"accuracy": "accuracy", "acc": "accuracy", "f1": "f1", "precision": "precision"},
    **{"recall": "recall", "macro": "macro", "weighted": "weighted", "f measure": "f1"},
    **{"hierarchical": "hierarchical", "f score": "f1", "f1 score": "f1", "f 1": "f1"},
    **{"hp": "hierarchical precision", "hr": "hierarchical recall"},
    **{"hf1": "hierarchical f1", "hf": "hierarchical f1", "avg": "", "averaged": ""},
}
_KNOWN = re.compile(
    r"(hierarchical/)?(f1|precision|recall)|accuracy|(macro|weighted)_(f1|precision|recall)"
)
_NUMBER = re.compile(r"([-−]?)(?=[.,]?\d)(\d*)(?:[.,](\d+))?\s*(%?)")
_AVERAGED = re.compile(r"±|\+-|\+/-|[\[(]")  # a deviation or an interval stands beside


class Audit(NamedTuple):
    """What was found in the figures of one model.

    Attributes:
      swapped: the figures are possible with the macro and weighted F1 exchanged.
    """

    model: str
    figures: int
    findings: list[Finding]
    swapped: bool


def audit_models(
    models: Mapping[str, Mapping[str, Figure]], facts: FactsOf
) -> list[Audit]:
    """The findings of each model, and whether an exchange of two rows explains them.

    Raises:
      CatalogueError: the facts contradict each other.
    """
    audits = []
    for model, figures in models.items():
        try:
            findings = audit_figures(figures, facts)
            other = _exchanged(figures)
            swapped = findings and other != figures and not audit_figures(other, facts)
        except ValueError as error:
            raise CatalogueError(f"what is known of the classes: {error}") from None
        audits.append(Audit(model, len(figures), findings, bool(swapped)))
    return audits


def _exchanged(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Macro F1 as weighted F1 and the other way round, where a level has both."""
    other = dict(figures)
    for name in figures:
        level, slash, score = name.rpartition("/")
        weighted = f"{level}{slash}weighted_f1"
        if score == "macro_f1" and weighted in figures:
            other[name], other[weighted] = figures[weighted], figures[name]
    return other


def audit_text(audits: list[Audit], facts: FactsOf) -> str:
    """What to print: every model, what is impossible in it, what was not checked."""
    lines = []
    for audit in audits:
        told = f"{len(audit.findings)} impossible" if audit.findings else "possible"
        lines.append(f"{audit.model}: {audit.figures} figures, {told}")
        lines += [f"  - {finding.sentence}" for finding in audit.findings]
        if audit.swapped:
            lines.append("  = all possible if macro and weighted F1 were exchanged")
    for level in sorted(level for level, known in facts.items() if not known.classes):
        told = f" of {level}" if level else ""
        lines.append(
            f"macro against weighted scores{told} was not checked: say how many classes"
            f" there are, for example --classes={level + ':' if level else ''}8"
        )
    return "\n".join(lines)


def metric_name(text: str) -> str:
    """Our name of what a table calls a metric; '' = none that is audited.

    >>> metric_name("Macro F1 (Level 2)"), metric_name("hF1"), metric_name("Top-3 acc")
    ('level2/macro_f1', 'hierarchical/f1', '')
    """
    plain = re.sub(r"<[^>]*>|[^a-z0-9]+", " ", text.lower()).strip()
    level = ""
    if match := _LEVEL.search(plain):
        kind, number, digits = match.groups()
        level = f"{kind}{number}/" if kind else f"digits{digits}/"
        plain = f"{plain[: match.start()]} {plain[match.end() :]}"
    for said, ours in sorted(_WORDS.items(), key=lambda pair: -len(pair[0])):
        plain = re.sub(rf"\b{said}\b", ours, plain)
    words = sorted(
        plain.split(), key=("hierarchical", "macro", "weighted").__contains__
    )
    name = "_".join(reversed(words)).replace("hierarchical_", "hierarchical/")
    return level + name if _KNOWN.fullmatch(name) else ""


def read_figure(text: str, *, percent: bool) -> Figure | None:
    """The values that round to a printed number; None where there is none.

    Args:
      percent: a number without a sign is in percent, too.

    >>> read_figure("<b>98.66%</b>", percent=False)[:2]
    (0.98655, 0.98665)
    """
    text = re.sub(r"<[^>]*>|\*", "", text).strip()
    match = _NUMBER.match(text)
    if not match:
        return None
    minus, whole, decimals, sign = match.groups()
    scale = 100 if sign or percent else 1
    half = 0.5 * 10.0 ** -len(decimals or "")
    value = float(f"{whole or 0}.{decimals or 0}") * (-1 if minus else 1)
    low, high = (round(x / scale, 12) for x in (value - half, value + half))
    averaged = bool(_AVERAGED.search(text))
    return Figure(max(low, 0.0), min(high, 1.0), text, averaged)


def read_table(path: Path) -> dict[str, dict[str, Figure]]:
    """Model -> metric -> figure of a CSV file.

    Models are columns and metrics rows, or the other way round; where the metrics are
    rows, a row without figures is a heading of those below it. Columns are divided by
    commas, semicolons or tabs. Numbers are shares or percentages, told by a percent
    sign or, for a whole model, by any number above 1.

    Raises:
      CatalogueError: no such file, nothing in it that is audited, two models of one
        name, or a score that is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            read = csv.reader(file, delimiter=max(",;\t", key=head.count))
            lines = [line for line in read if any(map(str.strip, line))]
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{path}: no table to read: {error}") from None
    if lines and sum(bool(metric_name(name)) for name in lines[0][1:]) > 1:
        columns = itertools.zip_longest(*lines, fillvalue="")
        lines = [list(column) for column in columns]
    models = _columns(lines, path)
    if not models:
        raise CatalogueError(
            f"{path}: no metric was recognised; name rows or columns like 'Macro F1"
            " Level 2', 'weighted recall', 'accuracy', 'hF1' or 'level3/macro_f1'"
        )
    return models


def _is_percent(cells: list[str], model: str, path: Path) -> bool:
    """Are the numbers of a column without a percent sign in percent, not shares?

    Raises:
      CatalogueError: some are, and some are not.
    """
    plain = [cell for cell in cells if "%" not in cell]
    found = [read_figure(cell, percent=False) for cell in plain]
    values = [(f.low, cell) for f, cell in zip(found, plain, strict=True) if f]
    large = [cell for low, cell in values if low > 1]
    small = [cell for low, cell in values if 0 < low < 0.99]
    if large and small:
        raise CatalogueError(
            f"{path}: {model!r} has {large[0]!r} and {small[0]!r}: write all as shares,"
            " or put a percent sign behind those that are in percent"
        )
    return bool(large)


def _columns(lines: list[list[str]], path: Path) -> dict[str, dict[str, Figure]]:
    """Of a table whose first line names models and whose first column metrics."""
    head, *body = lines or [[]]
    rows, heading = [], ""
    for name, *values in body:
        if not any(map(str.strip, values)):
            heading = name
        elif metric := metric_name(name) or metric_name(f"{heading} {name}"):
            rows.append((metric, values))
    models: dict[str, dict[str, Figure]] = {}
    for column, model in enumerate(head[1:]):
        cells = [v[column] if column < len(v) else "" for _, v in rows]
        percent, figures = _is_percent(cells, model, path), {}
        for (metric, _), cell in zip(rows, cells, strict=True):
            figure = read_figure(cell, percent=percent)
            if figure:
                figures[metric] = figure
            elif any(map(str.isdigit, cell)):
                raise CatalogueError(
                    f"{path}: {metric} of {model!r} is {cell!r}; write a number, such"
                    " as 0.913, 91.3 % or 91.3 ± 0.2"
                )
        if figures and model in models:
            raise CatalogueError(f"{path}: two models are called {model!r}; rename one")
        if figures:
            models[model] = figures
    return models
