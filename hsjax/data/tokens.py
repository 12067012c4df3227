"""Texts -> token ids, padded to one length."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

BETWEEN_COLUMNS = " ; "
TEXTS_AT_ONCE = 4096  # whose tokens are Python's


class Tokens(NamedTuple):
    """Token ids of N texts.

    Attributes:
      ids: (N, T) int32, 0-padded.
      mask: (N, T) bool.
      words: (N, T) int16, the whitespace-separated word of a token; -1 = special.
    """

    ids: np.ndarray
    mask: np.ndarray
    words: np.ndarray

    def at(self, index: np.ndarray) -> "Tokens":
        """Those of the texts at these places."""
        return Tokens(*(array[index] for array in self))

    def lengths(self) -> np.ndarray:
        """(N,) tokens of each text."""
        return self.mask.sum(axis=1)


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tokens:
    """Ids of each text, cut at `length`, special tokens kept; '' gives no token."""
    ids, mask, words = no_tokens(len(texts), length)
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        rows = slice(first, first + TEXTS_AT_ONCE)
        fill_tokens(Tokens(ids[rows], mask[rows], words[rows]), tokenizer, texts[rows])
    tokenizer.no_truncation()
    return Tokens(ids, mask, words)


def fill_tokens(
    tokens: Tokens, tokenizer: Tokenizer, texts: Sequence[str], *, bare: bool = False
) -> None:
    """Writes the tokens of some texts into `tokens`, which are those of no text.

    Args:
      tokenizer: that cuts where `tokens` end, and does not pad.
      bare: does a text of which only special tokens are left have these?
    """
    encodings = tokenizer.encode_batch(list(texts))
    specials = [encoding.special_tokens_mask for encoding in encodings]
    # some tokenizers make nothing of invisible characters
    used = [
        row
        for row, (text, special) in enumerate(zip(texts, specials, strict=True))
        if text.strip() and (bare or not all(special))
    ]
    counts = np.array([len(specials[row]) for row in used], np.int64)
    total, first = int(counts.sum()), np.cumsum(counts) - counts
    row = np.repeat(np.array(used, np.int64), counts)
    column = np.arange(total) - np.repeat(first, counts)
    flat = chain.from_iterable
    ids = flat(encodings[i].ids for i in used)
    tokens.ids[row, column] = np.fromiter(ids, np.int32, count=total)
    tokens.mask[row, column] = True
    special = np.fromiter(flat(specials[i] for i in used), bool, count=total)
    spans = flat(flat(encodings[i].offsets for i in used))
    start, end = np.fromiter(spans, np.int64, count=2 * total).reshape(-1, 2).T
    body = ~special & (end > start)
    word, begins = _words_of_characters(texts)
    # the numbers only grow along a text, so the last character has the largest
    last = begins[row[body]] + end[body] - 1
    tokens.words[row[body], column[body]] = word[last]


def _words_of_characters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each character of all texts in a row, the number of its word in its text.

    A space is of the next word, as byte-level pieces carry the space before a word.

    Returns:
      (characters,) numbers, and (N,) where each text begins.
    """
    characters = np.array([*"".join(texts)], "U1")
    sizes = np.array([len(text) for text in texts], np.int64)
    begins = np.cumsum(sizes) - sizes
    space = np.strings.isspace(characters)
    after = np.concatenate([[True], space])[:-1]
    after[begins[sizes > 0]] = True
    count = np.cumsum(~space & after)
    before = np.concatenate([[0], count])
    words = before[begins + sizes] - before[begins]  # (N,) of each text
    number = count - np.repeat(before[begins], sizes) - ~space
    return np.clip(number, 0, np.repeat(np.maximum(words - 1, 0), sizes)), begins


def no_tokens(count: int, length: int) -> Tokens:
    """Of so many texts that have none."""
    ids = np.zeros((count, length), np.int32)
    mask = np.zeros((count, length), bool)
    return Tokens(ids, mask, np.full((count, length), -1, np.int16))


def drop_tokens(tokens: Tokens, keep_word: np.ndarray) -> Tokens:
    """Takes words out of tokenized texts and closes the gaps.

    Args:
      keep_word: (N, W) bool per word; a token of a word beyond W is kept.
    """
    word = np.clip(tokens.words, 0, keep_word.shape[1] - 1)
    keep = np.take_along_axis(keep_word, word.astype(np.intp), axis=1)
    free = (tokens.words < 0) | (tokens.words >= keep_word.shape[1])
    keep = tokens.mask & (keep | free)
    # a text that lost every word is as good as absent
    keep &= (keep & (tokens.words >= 0)).any(axis=1, keepdims=True)
    order = np.argsort(~keep, axis=1, kind="stable")
    mask = np.take_along_axis(keep, order, axis=1)
    ids = np.where(mask, np.take_along_axis(tokens.ids, order, axis=1), 0)
    words = np.where(mask, np.take_along_axis(tokens.words, order, axis=1), -1)
    return Tokens(ids, mask, words)
