"""Words of texts that give the leaf away, and texts without them.

How much a word tells is the mutual information of two facts of a row, in bits: is the
word in the text (W), and which leaf is the label (C)?

    I(W; C) = sum over w in {0, 1} and leaves c:  p(w, c) log2[p(w, c) / (p(w) p(c))]

(Cover & Thomas, Elements of Information Theory, eq. 2.28), with shares of rows for p.

A word is a run of letters, digits and their marks, in lower case; what is between words
is punctuation, and an English 's belongs to the word before it. So `T-Shirt` has the
words `t` and `shirt`, and `Men's` is another spelling of `men`. What is written without
spaces, as Chinese is, is one word.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy import sparse
from scipy.special import xlogy

# accents that stand alone and the vowel signs of Indic scripts are no \w
_MARKS = "".join(
    c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c)[0] == "M"
)
_WORD = re.compile(rf"([^\W_](?:[^\W_]|[{_MARKS}])*)(?:['’][sS]\b)?")
_CERTAIN = 12  # decimals of bits that do not hang on the order of a sum


class GiveAway(NamedTuple):
    """A word and what it says of the leaf.

    Attributes:
      bits: mutual information of its presence and the leaf.
      rows: training rows that have it.
      leaf: the one that most of them have; share: of these rows.
    """

    word: str
    bits: float
    rows: int
    leaf: str
    share: float


class Stripped(NamedTuple):
    """A text without some words; how many it had, and how many of them are gone."""

    text: str
    words: int
    gone: int


class Hiding(NamedTuple):
    """Which words a row loses: each of `words` with probability `share`.

    The draw is a hash of seed, row and word: no other row and no order matters, and a
    larger share hides all that a smaller one hides.
    """

    words: frozenset[str]
    share: float
    seed: int

    def hides(self, id: str, word: str) -> bool:
        """Does the row of this id lose the word?"""
        if word not in self.words or self.share >= 1:
            return word in self.words
        digest = hashlib.sha256(f"{self.seed}\0{id}\0{word}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def words_of(text: str) -> list[str]:
    """The words of a text, in order, each in lower case and one spelling of accents."""
    return [_name(match) for match in _WORD.finditer(text)]


def _name(match: re.Match) -> str:
    return unicodedata.normalize("NFKC", match[1]).casefold()


def without_words(text: str, hidden: Callable[[str], bool]) -> Stripped:
    """Takes out every word that is `hidden`.

    What stays keeps its spelling: `(White-Blue)` without blue is `(White)`. Punctuation
    that has no word left in its run goes with it; a text without any word is ''.
    """
    kept, words, gone = [], 0, 0
    for run in text.split():
        found = list(_WORD.finditer(run))
        stays = [not hidden(_name(match)) for match in found]
        words, gone = words + len(found), gone + stays.count(False)
        if all(stays):
            kept.append(run)
        elif any(stays):
            kept.append(_rest(run, found, stays))
    if not gone:
        return Stripped(text, words, 0)
    return Stripped("" if gone == words else " ".join(kept), words, gone)


def _rest(run: str, found: Sequence[re.Match], stays: Sequence[bool]) -> str:
    """A run of some words without the others, each with what is before it."""
    starts = [0, *(match.end() for match in found)]
    pieces = [
        (run[start : match.start()], match[0])
        for start, match, stay in zip(starts, found, stays, strict=False)
        if stay
    ]
    (_, first), *more = pieces
    opening, closing = run[: found[0].start()], run[starts[-1] :]
    return "".join([opening, first, *(x for pair in more for x in pair), closing])


def giveaway_words(
    texts: Sequence[str],
    leaves: Integer[np.ndarray, "N"],
    names: Sequence[str],
    *,
    count: int,
) -> list[GiveAway]:
    """The `count` words that tell most of the leaf, the most telling one first.

    Words of equal information stand in alphabetical order, and one without any is left
    out, so that there may be fewer.

    Args:
      texts: N, of training rows.
      leaves: number of each row's leaf; names: of these numbers.
    """
    found = [set(words_of(text)) for text in texts]
    words = sorted(set().union(*found))
    number = {word: i for i, word in enumerate(words)}
    row = np.repeat(np.arange(len(found)), [len(x) for x in found])
    column = np.array([number[word] for x in found for word in sorted(x)], np.int64)
    present = _ones(row, column, (len(found), len(words)))
    leaf = _ones(np.arange(len(leaves)), leaves, (len(leaves), len(names)))
    joint = sparse.csr_array(present.T @ leaf)
    bits = _bits(joint, np.bincount(leaves, minlength=len(names)), rows=len(leaves))
    most, rows = _commonest(joint), joint.sum(axis=1)
    order = np.argsort(-bits, kind="stable")[:count]
    return [
        GiveAway(
            word=words[i],
            bits=float(bits[i]),
            rows=int(rows[i]),
            leaf=names[most[i]],
            share=float(joint[i, most[i]] / rows[i]),
        )
        for i in order[bits[order] > 0].tolist()
    ]


def _ones(rows, columns, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def _bits(
    joint: sparse.csr_array, leaves: Integer[np.ndarray, "C"], *, rows: int
) -> Float[np.ndarray, "W"]:
    """I(W; C) of every word, from (W, C) counts of rows with a word and a leaf.

    With f(n) = n log2 n and N rows, N I = sum over c [f(n_wc) + f(n_c - n_wc) - f(n_c)]
    - f(n_w) - f(N - n_w) + f(N), whose sum is 0 at leaves that never have the word: no
    dense (W, C) table is needed.
    """

    def f(n):
        return xlogy(n, n) / np.log(2)

    here, of_leaf = joint.data, leaves[joint.indices]
    terms = f(here) + f(of_leaf - here) - f(of_leaf)
    word = np.repeat(np.arange(joint.shape[0]), np.diff(joint.indptr))
    total = np.bincount(word, weights=terms, minlength=joint.shape[0])
    of_word = joint.sum(axis=1)
    bits = (total - f(of_word) - f(rows - of_word) + f(rows)) / rows
    return np.maximum(np.round(bits, _CERTAIN), 0)


def _commonest(joint: sparse.csr_array) -> Integer[np.ndarray, "W"]:
    """Column of the largest count of each row, the first of equals."""
    word = np.repeat(np.arange(joint.shape[0]), np.diff(joint.indptr))
    order = np.lexsort((joint.indices, -joint.data, word))
    return joint.indices[order[joint.indptr[:-1]]]
