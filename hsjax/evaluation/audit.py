"""What a table of scores cannot be, told in words.

A printed figure stands for all values that round to it, so that only what no rounding
explains is refused. The mathematics is in `audit_bounds`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from hsjax.evaluation.audit_bounds import (
    ROUNDING,
    accuracy_bounds,
    extreme_shares,
    f1_bounds,
    harmonic,
    hierarchical_recall_bounds,
    is_share_of,
    weighted_bounds,
    weighted_f1_bounds,
)

SCORES = ("f1", "precision", "recall")
AVERAGES = ("macro", "weighted", "")  # '' = the table does not say which
COUNTED = ("accuracy", "weighted_recall")  # one quantity: right rows / all rows
HIERARCHICAL = tuple(f"hierarchical/{score}" for score in SCORES)


class Figure(NamedTuple):
    """A printed share: the true one lies in low..high, cut to 0..1.

    Attributes:
      text: as it was printed.
      averaged: over several runs.
    """

    low: float
    high: float
    text: str
    averaged: bool = False


class Facts(NamedTuple):
    """What is known of the rows of a level; the more, the tighter the bounds.

    Attributes:
      classes: C, those with support. None = unknown.
      rows: n. None = unknown.
      largest: no class has a larger share than this.
      shares: (C,) p_c; None = unknown.
    """

    classes: int | None = None
    rows: int | None = None
    largest: float = 1.0
    shares: np.ndarray | None = None


class Finding(NamedTuple):
    """Figures that cannot all be right, and why, in words."""

    names: tuple[str, ...]
    sentence: str


Figures = Mapping[str, Figure]  # level2/macro_f1, hierarchical/f1, accuracy -> it
FactsOf = Mapping[str, Facts]  # level2, or '' of a flat table -> what is known


def audit_figures(figures: Figures, facts: FactsOf) -> list[Finding]:
    """All that is impossible in the figures of one model; [] = nothing was found."""
    if found := list(_ranges(figures)):
        return found
    return [finding for check in CHECKS for finding in check(figures, facts)]


def _ranges(figures: Figures) -> Iterator[Finding]:
    for name, figure in figures.items():
        if figure.low > figure.high:  # both ends were cut to 0..1
            yield Finding((name,), f"{name} {figure.text} is no share")


def _averages(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    """Weighted scores outside what macro scores and class shares allow."""
    for level, known in facts.items():
        for score in SCORES:
            names = [_name(level, f"macro_{score}"), _name(level, f"weighted_{score}")]
            if score == "recall" and names[1] not in figures:
                names[1] = _name(level, "accuracy")  # the same thing
            if known.classes and all(name in figures for name in names):
                yield from _average(figures, names, known)


def _average(figures: Figures, names: list[str], known: Facts) -> Iterator[Finding]:
    macro, weighted = (figures[name] for name in names)
    shares = known.shares
    if shares is None:
        known_of = {"rows": known.rows, "largest": known.largest}
        shares = extreme_shares(known.classes, **known_of)
    low, high = weighted_bounds(macro[:2], shares)
    what = f"{names[1]} {weighted.text}"
    given = f"{names[0]} {macro.text} over {known.classes:,} classes allows"
    if weighted.high < low - ROUNDING:
        deficit = known.classes * (1 - macro.low)
        sentence = f"{what} is below {_percent(low)}, the least that {given}"
        if 0 < deficit <= 1:
            needed = _percent((1 - weighted.high) / deficit)
            sentence += f": a class would need {needed} of the rows"
        yield Finding(tuple(names), sentence)
    elif weighted.low > high + ROUNDING:
        told = f"{what} is above {_percent(high)}, the most that {given}"
        yield Finding(tuple(names), told)


def _recall_is_accuracy(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    """sum p_c recall_c is the share of right rows, whatever the classifier."""
    for level in _levels(figures):
        names = tuple(_name(level, part) for part in COUNTED)
        found = [figures[name] for name in names if name in figures]
        if len(found) == 2 and _outside(found[0], found[1][:2]):
            told = f"{_told(figures, names)} must be equal: they are one quantity"
            yield Finding(names, told)


def _f1_of_its_parts(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    """A mean F1 outside what the means of precision and recall allow."""
    for level in _levels(figures):
        for average in AVERAGES:
            kind = f"{average}_" if average else ""
            names = [_name(level, kind + score) for score in SCORES]
            # weighted recall alone is the accuracy, which has a check of its own
            if average != "weighted" or names[1] in figures:
                yield from _f1(figures, names)


def _f1(figures: Figures, names, *, exact: bool = False) -> Iterator[Finding]:
    """An F1 against precision and recall, or one; exact = their harmonic mean."""
    known = [name for name in names[1:] if name in figures]
    if names[0] not in figures or not known:
        return
    f1, precision, recall = (figures.get(name, (0.0, 1.0)) for name in names)
    low, high = f1_bounds(precision[:2], recall[:2])
    bounds = (harmonic(precision[0], recall[0]) if exact else low), high
    if _outside(f1, bounds):
        allow = "allow" if known[1:] else "alone allows"
        told = f"{_told(figures, known)} {allow} {_between(bounds)}"
        yield Finding((names[0], *known), f"{names[0]} {f1.text}: {told}")


def _weighted_f1_of_accuracy(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    for level in _levels(figures):
        name = _name(level, "weighted_f1")
        for other in (_name(level, part) for part in COUNTED):
            if name in figures and other in figures:
                bounds = weighted_f1_bounds(figures[other][:2])
                if _outside(figures[name], bounds):
                    told = f"{name} {figures[name].text}: {_told(figures, [other])}"
                    told += f" allows {_between(bounds)}"
                    yield Finding((name, other), told)


def _hierarchical_f1(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    """hF1 is the harmonic mean of hP and hR; a mean over runs has bounds only."""
    averaged = [figures[name].averaged for name in HIERARCHICAL if name in figures]
    yield from _f1(figures, HIERARCHICAL, exact=not any(averaged))


def _hierarchical_recall(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    """hR outside what the accuracies of the levels allow, or their weighted F1."""
    levels = [level for level in _levels(figures) if level]
    recall = figures.get("hierarchical/recall")
    if recall is None or not levels:
        return
    bounds = [_accuracy(figures, level) for level in levels]
    rows = [facts.get(level, Facts()).rows for level in levels]
    allowed = hierarchical_recall_bounds(bounds, None if None in rows else rows)
    if _outside(recall, allowed):
        told = (
            f"hierarchical/recall {recall.text}: where {', '.join(levels)} are all the"
            f" levels that it counts, their figures allow {_between(allowed)}"
        )
        yield Finding(("hierarchical/recall",), told)


def _accuracy(figures: Figures, level: str) -> tuple[float, float]:
    """All that the figures of a level leave for its accuracy."""
    low, high = 0.0, 1.0
    for part in COUNTED:
        if found := figures.get(_name(level, part)):
            low, high = max(low, found.low), min(high, found.high)
    if found := figures.get(_name(level, "weighted_f1")):
        least, most = accuracy_bounds((max(found.low, 0.0), min(found.high, 1.0)))
        low, high = max(low, least), min(high, most)
    return (low, high) if low <= high else (0.0, 1.0)  # a finding of another check


def _whole_rows(figures: Figures, facts: FactsOf) -> Iterator[Finding]:
    """Shares of rows that no whole number of rows gives."""
    rows = {_name(x, part): f.rows for x, f in facts.items() for part in COUNTED}
    levels = [level for level in _levels(figures) if level]
    every = [facts.get(level, Facts()).rows for level in levels]
    if levels and None not in every:
        rows["hierarchical/recall"] = sum(every)
    for name, count in rows.items():
        figure = figures.get(name)
        counted = figure and count and not figure.averaged
        if counted and not is_share_of(figure[:2], count):
            told = f"{name} {figure.text} is no whole number of {count:,} rows"
            yield Finding((name,), told)


# each gives what it finds in the figures of one model
CHECKS = (
    _averages,
    _recall_is_accuracy,
    _f1_of_its_parts,
    _weighted_f1_of_accuracy,
    _hierarchical_f1,
    _hierarchical_recall,
    _whole_rows,
)


def _levels(figures: Figures) -> list[str]:
    """level1, level2, ... or digits2, ... in order; '' is a table without levels."""
    found = {name.rpartition("/")[0] for name in figures} - {"hierarchical"}
    return sorted(found, key=lambda level: int(re.sub(r"\D", "", level) or 0))


def _name(level: str, score: str) -> str:
    return f"{level}/{score}" if level else score


def _told(figures: Figures, names) -> str:
    return " and ".join(f"{name} {figures[name].text}" for name in names)


def _outside(figure: Figure, bounds: tuple[float, float]) -> bool:
    low, high = bounds
    return figure.high < low - ROUNDING or figure.low > high + ROUNDING


def _between(bounds: tuple[float, float]) -> str:
    return f"{_percent(bounds[0])} to {_percent(bounds[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
