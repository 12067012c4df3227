"""Markdown tables, and numbers as people read them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

DASH = "–"  # nothing was measured


def table(head: Sequence[str], rows: Iterable[Sequence], *, empty: str = "") -> str:
    """A Markdown table; columns of numbers are flush right.

    Args:
      empty: sentence instead of a table of nothing but dashes; '' = the table anyway.

    >>> print(table(["name", "rows"], [["a|b", 1200]]))
    | name | rows |
    | :--- | ---: |
    | a\\|b | 1,200 |
    """
    rows = [list(map(_text, row)) for row in rows] or [[DASH] * len(head)]
    if empty and all(text == DASH for row in rows for text in row[1:]):
        return empty
    columns = zip(*rows, strict=True)
    rule = ["---:" if all(map(_number, column)) else ":---" for column in columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def cell(metrics: Mapping[str, float], name: str, *, scale: float = 100.0) -> str:
    """`91.2 [90.5, 91.9]`, a dash where the metric was not measured."""
    value, low, high = (
        scale * float(metrics.get(key, math.nan))
        for key in (name, f"{name}_low", f"{name}_high")
    )
    if not math.isfinite(value):
        return DASH
    digits = 1 if scale == 100 else 2
    if not math.isfinite(low + high):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def signed(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else DASH


def _text(value) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return DASH
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.2f}"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    text = "" if value is None else str(value)
    # a tag in a product's title is text, wherever the page is shown
    plain = re.sub(r"<(?=[A-Za-z/!])", "&lt;", " ".join(text.split()))
    return plain.replace("|", "\\|") or DASH


def _number(text: str) -> bool:
    return text == DASH or bool(re.fullmatch(r"[-+]?\d[\d,.]*( (\[|\(|to ).*)?", text))
