"""The word that a misspelt one may stand for."""

import difflib
from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` of a word that is nearly a known one, '' otherwise.

    >>> meant("SKU", ["sku", "title"])
    " Did you mean 'sku'?"
    """
    small = {name.casefold(): name for name in reversed([*known])}
    close = difflib.get_close_matches(word.casefold(), small, n=1, cutoff=0.5)
    return f" Did you mean {small[close[0]]!r}?" if close else ""
