"""Words that are names: few texts have them."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from hsjax.data.record import Record
from hsjax.data.stored_records import StoredRecords
from hsjax.data.text import each_text, stream_texts

RARE = 0.001  # of the texts: rarer words are taken for names


def rare_words(texts: Sequence[str], length: int, *, share: float = RARE) -> np.ndarray:
    """(N, W) bool: which words of each text stand in fewer than `share` of the texts.

    Names of makers and models mostly do, words for what a thing is mostly do not.

    Args:
      length: W, of a text of so many tokens no more words are seen.
    """
    return _rare(texts, _common_words(texts, share), length)


class StoredRareWords:
    """`rare_words` of a prepared catalogue: `[index]` is (B, W), read when asked."""

    def __init__(self, records: StoredRecords, columns: Sequence[str], length: int):
        self.records, self.columns, self.length = records, tuple(columns), length
        self.common = _common_words(each_text(records, columns), RARE)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        texts = stream_texts(self.records.batch(index), self.columns)
        return _rare(texts, self.common, self.length)


def names_in(records: Sequence[Record], columns: Sequence[str], length: int):
    """`rare_words` of one text stream of records, whatever they are kept in."""
    if isinstance(records, StoredRecords):
        return StoredRareWords(records, columns, length)
    return rare_words(stream_texts(records, columns), length)


def _common_words(texts: Iterable[str], share: float) -> frozenset[str]:
    counts: Counter[str] = Counter()
    filled = 0
    for text in texts:
        words = set(text.lower().split())
        counts.update(words)
        filled += bool(words)
    least = max(2, share * filled)  # of few texts, what stands in one
    return frozenset(word for word, count in counts.items() if count >= least)


def _rare(texts: Sequence[str], common: frozenset, length: int) -> np.ndarray:
    found = np.zeros((len(texts), length), bool)
    for row, text in enumerate(texts):
        for place, word in enumerate(text.lower().split()[:length]):
            found[row, place] = word not in common
    return found
