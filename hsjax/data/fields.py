"""A field of a row as text."""

import datetime
import decimal
import json
import re
from typing import Any

LONGEST_TEXT = 20_000  # characters; no product has more to say, a torn file has
EMPTY_WORDS = frozenset(("nan", "NaN", "NaT", "None", "<NA>", "null", "NULL"))
BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")
UNREADABLE = "\ufffd"
# of HTML: an entity, or a tag
MARKUP = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-z]{2,6});|</?[A-Za-z][^<>]{0,200}>"
)
# why a row of such fields gets no code
NOTHING = "nothing to classify: neither text nor picture that the model reads"


def as_text(value: Any) -> str:
    """A field as stripped text: whole numbers without '.0'; None, NaN, 'nan' are ''."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace").replace("\0", UNREADABLE)
    elif isinstance(value, float | decimal.Decimal):
        if value != value:
            return ""
        value = str(int(value)) if _is_whole(value) else str(value)
    elif isinstance(value, list | tuple):
        value = " ".join(filter(None, map(as_text, value)))
    elif isinstance(value, datetime.datetime):
        value = value.isoformat(sep=" ")
    text = str(value).strip()
    return "" if text in EMPTY_WORDS else text


def listed(text: str) -> list[str] | None:
    """The texts of a JSON list that stands in a field; None where it is none.

    Exports of shops write categories and pictures so.

    >>> listed('["Shoes >> Boots"]'), listed("[]"), listed("[new] boots")
    (['Shoes >> Boots'], [], None)
    """
    if not re.match(r'\[\s*["\]]', text):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(x, str) for x in found):
        return None
    return [*filter(None, map(as_text, found))]


def _is_whole(value: float | decimal.Decimal) -> bool:
    return abs(value) < 1e15 and value == int(value)
