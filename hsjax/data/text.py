"""Texts of a record -> streams of token ids.

The tokenizer is one `tokenizers.Tokenizer`, stored with the run as `tokenizer.json`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer

from hsjax.data.prepared import AT_ONCE
from hsjax.data.record import Record
from hsjax.data.stored_records import StoredRecords
from hsjax.data.tokens import (
    BETWEEN_COLUMNS,
    Tokens,
    fill_tokens,
    no_tokens,
    tokenize,
)
from hsjax.progress import progress


def each_text(records: Iterable[Record], columns: Sequence[str]) -> Iterator[str]:
    """One text per record: its present columns joined by ' ; ', '' where none is."""
    for r in records:
        yield BETWEEN_COLUMNS.join(r.texts[c] for c in columns if r.texts.get(c))


def stream_texts(records: Iterable[Record], columns: Sequence[str]) -> list[str]:
    """`each_text`, all of them."""
    return [*each_text(records, columns)]


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
        tokens = no_tokens(len(texts), self.length)
        if texts:
            fill_tokens(tokens, self.tokenizer, texts)
        return tokens

    def lengths(self) -> np.ndarray:
        """(N,) tokens of each text; all are made once, some at a time."""
        places = np.arange(len(self.records))
        starts = range(AT_ONCE, len(places), AT_ONCE)
        parts = progress(np.split(places, starts), "lengths of texts", unit="parts")
        return np.concatenate([self.at(part).lengths() for part in parts])


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
