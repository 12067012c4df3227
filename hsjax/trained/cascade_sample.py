"""The products that a stage of a cascade is timed on."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.buckets import answered_lengths, needed_buckets
from hsjax.data.columns import columns_for
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record, load_records
from hsjax.data.text import tokenize_streams
from hsjax.inference.predict import Run
from hsjax.trained.ensemble import Member

PICTURES = 32  # that an encoder is timed on
LOOKED = 256  # rows of the file that are looked through for them


class Sample(NamedTuple):
    """Products that fill a batch, repeated where there are fewer.

    Attributes:
      pictures: some encoded ones of the file.
      lost: why there are none, in words.
    """

    records: Sequence[Record]
    pictures: Sequence[bytes | Path]
    lost: str = ""


def draw_sample(member: Member, source: str | None, stores: Collection[str]) -> Sample:
    """A batch of a member's rows.

    Args:
      source: file of the rows, None = the run's own.
      stores: modalities that are read from feature stores.
    """
    config = member.config
    order = np.random.default_rng(0).permutation(len(member.records))
    rows = np.resize(order, config.eval.batch_size)
    records = [member.records[i] for i in rows.tolist()]
    sees = member.run is not None and IMAGE in config.model.modalities
    if not sees and IMAGE not in stores:
        return Sample(records, ())
    try:
        return Sample(records, *_pictures(config, source))
    except CatalogueError as error:
        return Sample(records, (), str(error))


def _pictures(config, source: str | None) -> tuple[list[bytes | Path], str]:
    """Some pictures as the file has them, which records need not keep; why none.

    Raises:
      CatalogueError: the file cannot be read.
    """
    path = source or config.data.path
    data = columns_for(config.data, path, Quarantine())
    data.columns.update(label=(), text=(), metadata=())
    data.label_map, data.rows, data.image.cache = "", LOOKED, False
    records = load_records(data, quarantine=Quarantine(), labelled=False)
    found = [r.image for r in records if r.image is not None][:PICTURES]
    return found, "" if found else f"the first {LOOKED} rows of {path} have no picture"


def with_pictures(
    records: Sequence[Record], pictures: Sequence[bytes | Path]
) -> list[Record]:
    """The same with pictures as the file has them, for those that were decoded."""
    return [
        replace(r, image=pictures[i % len(pictures)]) if r.image_key else r
        for i, r in enumerate(records)
    ]


def of_each_length(
    run: Run, records: Sequence[Record]
) -> Iterator[tuple[float, list[Record]]]:
    """(share of the products, full batches of them) for each length of their texts.

    Few products would fill a batch of each length with padding, which many do not.
    """
    buckets = answered_lengths(run.spec)
    if not buckets:
        yield 1.0, list(records)
        return
    streams = {s: run.config.data.text.streams[s] for s in run.spec.streams}
    lengths = dict(run.spec.lengths)
    tokens = tokenize_streams(records, run.tokenizer, streams=streams, lengths=lengths)
    needed = needed_buckets(tokens, buckets)
    for bucket in np.unique(needed).tolist():
        members = np.flatnonzero(needed == bucket)
        whole = np.resize(members, run.config.eval.batch_size).tolist()
        yield len(members) / len(records), [records[i] for i in whole]
