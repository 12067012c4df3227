"""Texts of a record -> streams of token ids.

The tokenizer is one `tokenizers.Tokenizer`, stored with the run as `tokenizer.json`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from hsjax.data.prepared import AT_ONCE
from hsjax.data.record import Record
from hsjax.data.stored_records import StoredRecords
from hsjax.progress import progress

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


def each_text(records: Iterable[Record], columns: Sequence[str]) -> Iterator[str]:
    """One text per record: its present columns joined by ' ; ', '' where none is."""
    for r in records:
        yield BETWEEN_COLUMNS.join(r.texts[c] for c in columns if r.texts.get(c))


def stream_texts(records: Iterable[Record], columns: Sequence[str]) -> list[str]:
    """`each_text`, all of them."""
    return [*each_text(records, columns)]


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tokens:
    """Ids of each text, cut at `length`, special tokens kept; '' gives no token."""
    ids, mask, words = _no_tokens(len(texts), length)
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        rows = slice(first, first + TEXTS_AT_ONCE)
        _fill(Tokens(ids[rows], mask[rows], words[rows]), tokenizer, texts[rows])
    tokenizer.no_truncation()
    return Tokens(ids, mask, words)


def _fill(tokens: Tokens, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """Writes the tokens of some texts into `tokens`, which are those of no text."""
    encodings = tokenizer.encode_batch(list(texts))
    specials = [encoding.special_tokens_mask for encoding in encodings]
    # some tokenizers make nothing of invisible characters
    used = [
        row
        for row, (text, special) in enumerate(zip(texts, specials, strict=True))
        if text.strip() and not all(special)
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


class StoredTokens:
    """Tokens of a prepared catalogue's texts, made whenever they are asked for."""

    def __init__(self, records, columns: Sequence[str], tokenizer, length: int):
        self.records, self.columns, self.length = records, tuple(columns), length
        # one of its own: threads read, and nobody else may change how it cuts
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(length)

    def at(self, index: np.ndarray) -> Tokens:
        """Those of the texts at these places."""
        texts = stream_texts(self.records.batch(index), self.columns)
        tokens = _no_tokens(len(texts), self.length)
        if texts:
            _fill(tokens, self.tokenizer, texts)
        return tokens

    def lengths(self) -> np.ndarray:
        """(N,) tokens of each text; all are made once, some at a time."""
        places = np.arange(len(self.records))
        starts = range(AT_ONCE, len(places), AT_ONCE)
        parts = progress(np.split(places, starts), "lengths of texts", unit="parts")
        return np.concatenate([self.at(part).lengths() for part in parts])


def _no_tokens(count: int, length: int) -> Tokens:
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


def tokenize_streams(
    records: Sequence[Record],
    tokenizer: Tokenizer | None,
    *,
    streams: Mapping[str, Sequence[str]],
    lengths: Mapping[str, int],
) -> dict[str, Tokens | StoredTokens]:
    """Stream name -> tokens of every record; without streams no tokenizer is needed."""
    if isinstance(records, StoredRecords):
        return {
            name: StoredTokens(records, columns, tokenizer, lengths[name])
            for name, columns in streams.items()
        }
    return {
        name: tokenize(tokenizer, stream_texts(records, columns), lengths[name])
        for name, columns in streams.items()
    }
