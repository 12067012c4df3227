"""A stage of a cascade: how it answers, and what a product costs in it, measured.

Both stages are timed alike, from what a catalogue has of a product, its texts and its
encoded picture, to a table of answers: tokenising or TF-IDF, decoding, the encoders of
cached features as if none was at hand, the model and its decodes.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.columns import model_columns
from hsjax.data.features import stores_of
from hsjax.data.image import cores
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import store_facts
from hsjax.data.text import stream_texts
from hsjax.evaluation.cascade_report import PartCost
from hsjax.evaluation.predictions import Predictions
from hsjax.features.live import Encoded
from hsjax.features.reduce import load_reduction
from hsjax.features.store_encoder import store_encoder
from hsjax.models.published_files import PublishedError
from hsjax.timing import is_noisy
from hsjax.trained.cascade_sample import (
    Sample,
    draw_sample,
    of_each_length,
    with_pictures,
)
from hsjax.trained.ensemble import Member
from hsjax.trained.programs import timed
from hsjax.trained.reports import fitted_baseline

log = logging.getLogger("hsjax")

ROUNDS = 7  # of each part of a stage, timed


class Stage(NamedTuple):
    """A run, and its `answer(records, groups, told, confidence)`.

    `told` is for a progress bar; `confidence` as of `Run.predict`.
    """

    member: Member
    answer: Callable[..., Predictions]


def open_stages(members: Sequence[Member], encode: Encoded) -> list[Stage]:
    """Members that answer; a baseline is fitted, and what stores lack encoded, once."""

    def trained(run) -> Callable:
        return lambda records, groups, told="", confidence=None: run.predict(
            records, groups=groups, confidence=confidence, progress=told, encode=encode
        )

    def fitted(member: Member) -> Callable:
        answer = fitted_baseline(member.config, member.catalogue)
        return lambda records, groups, told="", confidence=None: answer(
            records, groups, confidence
        )

    return [Stage(m, trained(m.run) if m.run else fitted(m)) for m in members]


def stage_costs(stages: Sequence[Stage], source: str | None) -> list[PartCost]:
    """Every part of both stages, each of a product as it is in the mean.

    What the cheap stage has encoded, the strong one does not encode again.

    Args:
      source: file of the members' rows, None = the runs' own.
    """
    found, encoded, load = [], set(), os.getloadavg()[0]
    for number, stage in enumerate(stages):
        member = stage.member
        sample = draw_sample(member, source, _stores(member.config))
        for modality, (folder, columns) in _stores(member.config).items():
            key = folder, columns
            if key in encoded and member.run:
                told = f"{modality}: encoded by the cheap stage"
                found.append(PartCost(number, told, 0.0, 0.0, 0.0))
                continue
            cost = _encoding(member.config, modality, folder, columns, sample)
            found.append(cost._replace(stage=number))
            # a baseline keeps no vectors for the other stage
            encoded |= {key} if member.run else set()
        found.append(_answering(stage, sample)._replace(stage=number))
    return marked(found, {"load": load, "load_after": os.getloadavg()[0]})


def marked(parts: Sequence[PartCost], loads: Mapping[str, float]) -> list[PartCost]:
    """Noisy: quartiles far apart by the whole stage, or other work on the machine."""
    found = []
    for part, total in ((x, summed(parts)[x.stage]) for x in parts):
        spread = (part.high - part.low) / total if total else 0.0
        told = {"cores": cores(), **loads, "part": {"spread": spread}}
        found.append(part._replace(noisy=part.ms > 0 and is_noisy(told)))
    return found


def summed(parts: Sequence[PartCost]) -> tuple[float, float]:
    """Milliseconds of a product in each stage; nan where a part is not measured."""
    first, second = (sum(x.ms for x in parts if x.stage == i) for i in (0, 1))
    return float(first), float(second)


def _stores(config) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Modality -> feature store that a run or baseline answers by, and its columns."""
    if config.task != "baseline":
        streams = config.data.text.streams.to_dict()
        own = stores_of(config).items()
        return {m: (folder, tuple(streams.get(m, ()))) for m, folder in own}
    folder, columns = config.baseline.features, model_columns(config)
    if not folder:
        return {}
    pictures = store_facts(folder).get("modality") == IMAGE
    return {IMAGE if pictures else " and ".join(columns): (folder, columns)}


def _encoding(
    config, modality: str, folder: str, columns: Sequence[str], sample: Sample
) -> PartCost:
    """The encoder of a store, on what the products have for it."""
    if modality == IMAGE:
        here = [r for r in sample.records if r.image_key]
        items, how = (sample.pictures if here else ()), "decoded and encoded"
    else:
        here = items = [x for x in stream_texts(sample.records, columns) if x.strip()]
        how = "tokenised and encoded"
    share = len(here) / len(sample.records)
    if not here:
        return PartCost(0, f"{modality}: no product has any", 0.0, 0.0, 0.0)
    try:
        if not items:
            raise CatalogueError(sample.lost)
        work = _encoder(folder, items, config.data.image.max_pixels)
    except (CatalogueError, PublishedError) as error:
        log.warning("what %s costs is not measured: %s", modality, error)
        told = f"{modality}: not measured, as its encoder is not at hand"
        return PartCost(0, told if items else f"{modality}: {error}", *[np.nan] * 3)
    return _timed(f"{modality}: {how}", work, items=len(items), share=share)


def _encoder(folder: str, items: Sequence, limit: int) -> Callable[[], None]:
    """What makes of items what the store would hold."""
    encoder = store_encoder(folder, store_facts(folder), max_pixels=limit)
    reduction = load_reduction(Path(folder))

    def work() -> None:
        for batch in encoder.encode(items):
            vectors = np.asarray(batch.vectors)
            if reduction:
                reduction(vectors)

    return work


def _answering(stage: Stage, sample: Sample) -> PartCost:
    """All but the encoders of stores: these are at hand by now."""
    member, records = stage.member, sample.records
    config = member.config
    if member.run is None:
        kept = config.baseline.features
        if kept:  # of these it has the vectors
            training = member.catalogue.rows("train")[: len(records)]
            records = [member.catalogue.records[i] for i in training]
        parts = ["reading features" if kept else "TF-IDF", config.baseline.kind]
    else:
        stored = stores_of(config)
        raw = [m for m in config.model.modalities if m not in stored]
        parts = ["tokenising"] * any(m != IMAGE for m in raw)
        if IMAGE in raw:
            if not sample.pictures and any(r.image_key for r in records):
                told = f"pictures are not at hand: {sample.lost}"
                return PartCost(0, told, np.nan, np.nan, np.nan)
            records = with_pictures(records, sample.pictures)
            parts.append("decoding pictures")
        parts += ["reading features"] * bool(stored) + ["model"]
    told, groups = ", ".join([*parts, "answers"]), np.arange(len(records))
    pairs = [(1.0, records)]
    if member.run is not None:
        pairs = of_each_length(member.run, records)
    found = [
        _timed(told, lambda x=some: stage.answer(x, groups), items=len(some), share=by)
        for by, some in pairs
    ]
    own = np.sum([(x.ms, x.low, x.high) for x in found], axis=0).tolist()
    return PartCost(0, told, *own)


def _timed(part: str, work: Callable, *, items: int, share: float = 1.0) -> PartCost:
    """Of a product, where this share of them has such an item."""
    found = timed(work, rounds=ROUNDS, items=items)
    times = found["ms"], *found["ms_quartiles"]
    return PartCost(0, part, *(x * share for x in times))
