"""A tokenizer that is trained on the catalogue itself, or loaded."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from hsjax.data.quarantine import CatalogueError
from hsjax.data.tokenizer_folder import load_tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LONG_WORD = re.compile(r"(\S{100})\S+")  # no word; merges would take minutes
_ALPHABET = 1000  # letters of a WordPiece vocabulary; rarer ones are [UNK]


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
    texts = _Shortened(texts)
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


class _Shortened:
    """Texts without the ends of words that are none; each pass reads them anew."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = texts if iter(texts) is not texts else list(texts)

    def __iter__(self) -> Iterator[str]:
        return (_LONG_WORD.sub(r"\1", text) for text in self.texts)


def _train_wordpiece(texts: Iterable[str], *, size: int, lowercase: bool) -> Tokenizer:
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
