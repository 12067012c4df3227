"""The encoder that made a feature store, found again and known to be the same."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hsjax.batch import IMAGE
from hsjax.data.quarantine import CatalogueError
from hsjax.data.run_stores import OWN
from hsjax.data.store import SOURCE, differences
from hsjax.features.frozen_encoder import (
    STATES,
    FrozenEncoder,
    fingerprint,
    picture_encoder,
    text_encoder,
)
from hsjax.features.reduce import PCA_FACTS
from hsjax.models.one_tower import tower_of
from hsjax.models.preprocessing import Preprocessing, from_facts
from hsjax.models.published_files import (
    PublishedError,
    PublishedModel,
    read_published,
)

KEPT = 4  # encoders that stay loaded
OF_STORES = {"format", "modality", "dtype", "shape", *PCA_FACTS}  # not an encoder's


class _Use(NamedTuple):
    """How a store used its encoder, by the names of a config's `extract` group."""

    encoder: str
    modality: str  # text or image: streams of one encoder share it
    pool: str
    length: int
    dtype: str
    states: bool
    prefix: str
    tokens: int = 0
    rows: int = 32


def store_encoder(
    folder: Path | str, facts: Mapping, *, max_pixels: int
) -> FrozenEncoder:
    """What made the vectors of a store, with the store's own settings.

    Args:
      facts: of store.json.
      max_pixels: larger pictures are refused.

    Raises:
      CatalogueError: it is not where it was, or is another.
    """
    use = _Use(
        encoder=encoder_source(folder, facts),
        modality=IMAGE if "preprocessing" in facts else "text",
        pool="" if facts["pool"] == STATES else facts["pool"],
        length=facts.get("length", 0),
        dtype=facts["compute"],
        states=facts["pool"] == STATES,
        prefix=facts.get("prefix", ""),
    )
    look = from_facts(facts["preprocessing"]) if "preprocessing" in facts else None
    try:
        encoder = _loaded(use, look, max_pixels)
    except PublishedError as error:
        raise CatalogueError(
            f"{folder} lacks some items, and its encoder cannot be loaded ({error}). If"
            f" it has moved, {_again(folder, facts)}"
        ) from None
    _check_same(folder, facts, encoder.facts)
    return encoder


def store_model(folder: Path | str, facts: Mapping, tower: str) -> PublishedModel:
    """The published model whose `text` or `image` tower made the vectors of a store.

    Raises:
      CatalogueError: the store does not say where it is, or it is another by now.
      PublishedError: it cannot be used.
    """
    published = tower_of(read_published(encoder_source(folder, facts)), tower)
    _check_same(folder, facts, facts | {"weights": fingerprint(published)})
    return published


def encoder_source(folder: Path | str, facts: Mapping) -> str:
    """Directory or hub name of the encoder that made a store.

    Raises:
      CatalogueError: the store does not say it.
    """
    if not facts.get(SOURCE) or "weights" not in facts:
        raise CatalogueError(
            f"{folder} does not say where its encoder is: {_again(folder, facts)}"
        )
    return facts[SOURCE]


def _again(folder: Path | str, facts: Mapping) -> str:
    if Path(folder).parent.name == OWN:  # which no extraction fills
        return f"write its new place as {SOURCE!r} into {Path(folder) / 'store.json'}"
    whole = Path(folder).parent if "pca" in facts else folder
    return (
        f"run --config.task=extract with --workdir={whole} and"
        " --config.extract.encoder=ITS NEW PLACE (with the same encoder nothing is"
        " encoded again)"
    )


def _check_same(folder: Path | str, facts: Mapping, made: Mapping) -> None:
    """CatalogueError where today's encoder would make other vectors."""
    held, now = (
        {k: v for k, v in x.items() if k not in OF_STORES} for x in (facts, made)
    )
    if told := differences(held, now):
        raise CatalogueError(
            f"{facts[SOURCE]} is no longer the encoder that {folder} was made with"
            f" ({told}): bring that one back, or extract into a new folder and train"
            " on it"
        )


@functools.lru_cache(KEPT)
def _loaded(use: _Use, look: Preprocessing | None, max_pixels: int) -> FrozenEncoder:
    """Kept, as a run may answer one product at a time; of pictures if they have a look.

    The folder's own files are not part of what it is known by: an encoder that changes
    under a running process is not noticed.
    """
    if look is None:
        return text_encoder(use)
    return picture_encoder(use, max_pixels=max_pixels, look=look)
