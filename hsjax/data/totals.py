"""What a catalogue amounts to, in numbers for people."""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import IMAGE, BatchSpec
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import Record
from hsjax.data.stored_records import labels_of
from hsjax.data.text import each_text
from hsjax.data.tokens import TEXTS_AT_ONCE
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
    there = (2 * has_text(r, columns) + bool(r.image_key) for r in records)
    there = np.fromiter(there, np.uint8, count=len(records))
    texts, pictures = there >= 2, there % 2 == 1
    none = ~texts & ~(pictures & (IMAGE in spec.modalities))
    dropped = quarantine.dropped()
    return {
        "rows read": len(records) + dropped,
        "rows dropped": dropped,
        "usable rows": len(records),
        "rows without text": int((~texts).sum()),
        "rows without picture": int((~pictures).sum()),
        "rows with nothing present": int(none.sum()),
        **cut_texts(records, streams=streams, spec=spec, tokenizer=tokenizer),
        **quarantine.tally,
        "labels that end early": early_labels(records, labels, tree),
        "labels outside the tree": int(outside.sum()),
    }


def early_labels(records: Sequence[Record], labels: np.ndarray, tree: Taxonomy) -> int:
    """Labels that are unknown below an inner node, or end there."""
    early = np.array([bool(p) and not ends for p, ends, _ in labels_of(records)], bool)
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
        texts = each_text(records, streams[stream])
        # a token is at least one byte, and two mark the ends
        texts = (text for text in texts if len(text.encode()) > length - 2)
        count = 0
        while some := [*islice(texts, TEXTS_AT_ONCE)]:
            count += sum(len(x) > length for x in tokenizer.encode_batch(some))
        found[f"texts of {stream} cut at {length} tokens"] = count
    return found
