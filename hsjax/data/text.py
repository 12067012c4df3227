"""Texts of a record -> streams of token ids.

The tokenizer is trained on the catalogue itself, or comes from a directory or the hub;
either way it is one `tokenizers.Tokenizer`, stored with the run as `tokenizer.json`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from hsjax.data.records import CatalogueError, Record
from hsjax.data.tokenizer_folder import load_tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BETWEEN_COLUMNS = " ; "
RARE = 0.001  # of the texts: rarer words are taken for names
TEXTS_AT_ONCE = 4096  # whose tokens are Python's
_LONG_WORD = re.compile(r"(\S{100})\S+")  # no word; merges would take minutes
_ALPHABET = 1000  # letters of a WordPiece vocabulary; rarer ones are [UNK]


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


def stream_texts(records: Iterable[Record], columns: Sequence[str]) -> list[str]:
    """One text per record: its present columns joined by ' ; ', '' where none is."""
    return [
        BETWEEN_COLUMNS.join(r.texts[c] for c in columns if r.texts.get(c))
        for r in records
    ]


def make_tokenizer(config, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of `config.data.text`: trained on `texts`, or loaded.

    Raises:
      CatalogueError: the named tokenizer cannot be loaded.
    """
    if config.tokenizer == "train":
        return train_tokenizer(
            texts, kind=config.kind, size=config.vocab_size, lowercase=config.lowercase
        )
    return load_tokenizer(config.tokenizer)


def train_tokenizer(
    texts: Iterable[str], *, kind: str, size: int, lowercase: bool
) -> Tokenizer:
    """WordPiece or byte-level BPE vocabulary of at most `size` entries."""
    texts = [_LONG_WORD.sub(r"\1", text) for text in texts]
    if kind == "wordpiece":
        return _finish(_train_wordpiece(texts, size=size, lowercase=lowercase))
    if kind != "bpe":
        raise CatalogueError(f"data.text.kind is {kind!r}; known: wordpiece, bpe")
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    steps = [normalizers.NFC()] + [normalizers.Lowercase()] * lowercase
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _finish(tokenizer)


def _train_wordpiece(texts: Sequence[str], *, size: int, lowercase: bool) -> Tokenizer:
    """A vocabulary that depends on the texts alone.

    The library numbers `##c` pieces in the random order of a hash map and breaks ties
    of merges by these numbers; naming them first, sorted, fixes both.
    """

    def empty(vocabulary=None) -> Tokenizer:
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    tokenizer, letters, inside = empty(), Counter(), set()
    for text in texts:
        clean = tokenizer.normalizer.normalize_str(text)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(clean):
            letters.update(word)
            inside.update(word[1:])
    common = sorted(letters, key=lambda c: (-letters[c], c))[:_ALPHABET]
    pieces = [f"##{c}" for c in sorted(inside.intersection(common))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL, *pieces],
        show_progress=False,
        limit_alphabet=_ALPHABET,
        initial_alphabet=common,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # anew, as the pieces are special only while training
    tokenizer = empty(tokenizer.get_vocab())
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tokens:
    """Ids of each text, cut at `length`, special tokens kept; '' gives no token."""
    ids = np.zeros((len(texts), length), np.int32)
    mask = np.zeros((len(texts), length), bool)
    words = np.full((len(texts), length), -1, np.int16)
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
) -> dict[str, Tokens]:
    """Stream name -> tokens of every record; without streams no tokenizer is needed."""
    return {
        name: tokenize(tokenizer, stream_texts(records, columns), lengths[name])
        for name, columns in streams.items()
    }


def rare_words(texts: Sequence[str], length: int, *, share: float = RARE) -> np.ndarray:
    """(N, W) bool: which words of each text stand in fewer than `share` of the texts.

    Names of makers and models mostly do, words for what a thing is mostly do not.

    Args:
      length: W, of a text of so many tokens no more words are seen.
    """
    split = [text.lower().split() for text in texts]
    counts = Counter(chain.from_iterable(map(set, split)))
    least = max(2, share * sum(map(bool, split)))  # of few texts, what stands in one
    found = np.zeros((len(texts), length), bool)
    for row, words in enumerate(split):
        for place, word in enumerate(words[:length]):
            found[row, place] = counts[word] < least
    return found
