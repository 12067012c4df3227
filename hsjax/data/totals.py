"""What a catalogue amounts to, in numbers for people."""

from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import IMAGE, BatchSpec
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import Record
from hsjax.data.text import TEXTS_AT_ONCE, stream_texts
from hsjax.taxonomy import Taxonomy


def has_text(record: Record, columns: Sequence[str]) -> bool:
    """Is any of these columns filled?"""
    return any(record.texts.get(column) for column in columns)


def record_facts(
    records: Sequence[Record],
    labels: np.ndarray,
    outside: np.ndarray,
    *,
    tree: Taxonomy,
    streams: Mapping[str, Sequence[str]],
    spec: BatchSpec,
    tokenizer: Tokenizer | None,
    quarantine: Quarantine,
) -> dict[str, int]:
    """Counts of rows, by their names for people.

    A text is one that the model reads; nothing present: nothing that it sees.

    Args:
      labels: (N, L); outside: (N,) bool, both of `encode_labels`.
      streams: text stream of the model -> its columns.
    """
    read = [name for name in spec.modalities if name != IMAGE]  # raw or as features
    columns = [column for stream in read for column in streams[stream]]
    texts = [has_text(r, columns) for r in records]
    pictures = [bool(r.image_key) for r in records]
    seen = pictures if IMAGE in spec.modalities else [False] * len(pictures)
    none = sum(not (a or b) for a, b in zip(texts, seen, strict=True))
    dropped = quarantine.dropped()
    return {
        "rows read": len(records) + dropped,
        "rows dropped": dropped,
        "usable rows": len(records),
        "rows without text": texts.count(False),
        "rows without picture": pictures.count(False),
        "rows with nothing present": none,
        **cut_texts(records, streams=streams, spec=spec, tokenizer=tokenizer),
        **quarantine.tally,
        "labels that end early": early_labels(records, labels, tree),
        "labels outside the tree": int(outside.sum()),
    }


def early_labels(records: Sequence[Record], labels: np.ndarray, tree: Taxonomy) -> int:
    """Labels that are unknown below an inner node, or end there."""
    early = np.array([bool(r.path) and not r.complete for r in records], bool)
    for level, stop in enumerate(tree.stop):
        known = labels[:, level] >= 0
        early[known] |= stop[labels[known, level]]
    return int(early.sum())


def cut_texts(
    records: Sequence[Record],
    *,
    streams: Mapping[str, Sequence[str]],
    spec: BatchSpec,
    tokenizer: Tokenizer | None,
) -> dict[str, int]:
    """Texts of each stream that have more tokens than the model reads."""
    found = {}
    if tokenizer:  # one from elsewhere may bring its own
        tokenizer.no_padding()
        tokenizer.no_truncation()
    for stream, length in spec.lengths:
        texts = stream_texts(records, streams[stream])
        # a token is at least one byte, and two mark the ends
        texts = [text for text in texts if len(text.encode()) > length - 2]
        count = 0
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            encodings = tokenizer.encode_batch(texts[first : first + TEXTS_AT_ONCE])
            count += sum(len(encoding) > length for encoding in encodings)
        found[f"texts of {stream} cut at {length} tokens"] = count
    return found
