"""Cells of a CSV file that a spreadsheet shows, and does not carry out.

A cell that begins with = + - or @, or with a tab or a line break, is a formula to a
spreadsheet (CWE-1236, https://owasp.org/www-community/attacks/CSV_Injection). Behind
an apostrophe it is text. So is one that begins with an apostrophe and would be a
formula without it: what is written can be told from what was there before.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hsjax.atomic import finished

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def safe_cell(value):
    """A text that is no formula; what is no text, such as a number, stays.

    >>> [safe_cell(x) for x in ("=1+1", "'=1+1", "boot", "-3", -3.0)]
    ["'=1+1", "''=1+1", 'boot', "'-3", -3.0]
    """
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


def plain_cell(text: str) -> str:
    """What `safe_cell` was given.

    >>> [plain_cell(x) for x in ("'=1+1", "''=1+1", "'tis", "=1")]
    ['=1+1', "'=1+1", "'tis", '=1']
    """
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def write_csv(
    path: Path | str, header: Sequence[str], rows: Iterable[Sequence]
) -> None:
    """A CSV file in UTF-8, whole or not at all, of which no cell is a formula."""
    with (
        finished(path) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([safe_cell(name) for name in header])
        for row in rows:
            writer.writerow([safe_cell(cell) for cell in row])
