"""Cells of a CSV file that a spreadsheet shows, and does not carry out.

A cell that begins with = + - or @, or with a tab or a line break, is a formula to a
spreadsheet (CWE-1236, https://owasp.org/www-community/attacks/CSV_Injection). Behind
an apostrophe it is text. So is one that begins with an apostrophe and would be a
formula without it: what is written can be told from what was there before.
"""

import re

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
