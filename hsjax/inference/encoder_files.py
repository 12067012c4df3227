"""Published encoders of a trained run -> a directory in Hugging Face's layout.

Of a run on texts and pictures that is a pair, VisionTextDualEncoder; of a run with one
published tower, that encoder alone.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.data.store import SOURCE, store_facts
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.features.frozen_encoder import STATES
from hsjax.features.reduce import load_reduction
from hsjax.features.store_encoder import encoder_source, store_model
from hsjax.inference.export_folder import Exported, check_output, write_card
from hsjax.inference.predict import Run, load_run
from hsjax.inference.tokenizer_files import write_tokenizer
from hsjax.models.dual_encoder import (
    Tower,
    alone,
    caveats,
    write_encoder,
    write_pair,
    write_preprocessor,
)
from hsjax.models.one_tower import KIND, families_of
from hsjax.models.preprocessing import Preprocessing, from_facts
from hsjax.models.published_files import PublishedError, find_directory
from hsjax.models.published_towers import tower_settings
from hsjax.models.published_weights import load_parameters
from hsjax.train.config import read_config
from hsjax.train.kept import kept_encoders, kept_published


class _Reading(NamedTuple):
    """How a text tower reads: at most `length` tokens of `prefix` and a text."""

    tokenizer: Tokenizer
    length: int
    prefix: str


def export_run(
    workdir: Path,
    output: Path,
    *,
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> list[str]:
    """Writes the pair of a run, or the one encoder that it has.

    Towers that were trained or kept in the run are its own; of cached features the
    encoder is read from where the store says. A pair has their projections, too.

    Args:
      features: modality -> folder, of feature stores that have moved.

    Returns:
      What a reader of the directory has to know, a sentence each; its README.md says
      the same.

    Raises:
      PublishedError: towers from scratch, a pooling with parameters that no layout
        holds, an `output` with something else.
      CatalogueError, WorkdirError: there is no such run, no such store, or its encoder
        is no longer what the features came from.
    """
    sides = _sides(workdir)
    check_output(output, KIND if len(sides) > 1 else "")
    # an encoder alone is the run's own, whose stores nobody asks for
    run = load_run(workdir, features=features, answering=len(sides) > 1)
    if len(sides) == 1:
        return _export_encoder(run, workdir, output, *sides)
    return _export_pair(run, workdir, output, sides)


def _sides(workdir: Path) -> list[str]:
    """The modalities to export: a text stream and the image, or one of both.

    Raises:
      PublishedError: see `export_run`.
    """
    config, published = read_config(workdir), kept_published(workdir)
    modalities, stores = list(config.model.modalities), stores_of(config)
    texts = [m for m in modalities if m != IMAGE]
    found = texts[:1] + [IMAGE] * (IMAGE in modalities)
    # a stream may have a tower of its own, which is always from scratch
    own = [m for m in found if _side(m) in published and m not in config.model.text]
    for modality in own:
        if config.model[_side(modality)].pool == "map":
            raise PublishedError(
                f"{workdir}: its {modality} tower has attention pooling, whose"
                " parameters no layout holds"
            )
    scratch = [m for m in found if m not in stores and m not in own]
    if len(found) == 2 and not scratch:
        return found
    trained = [m for m in own if m not in stores]
    if len(trained) == 1:
        return trained
    if scratch:
        modality, side = scratch[0], _side(scratch[0])
        raise PublishedError(
            f"{workdir}: its {modality} tower was trained from scratch, and the layout"
            f" is one of published encoders: set model.{side}.published, or"
            f" data.features.{modality}, and train again"
        )
    raise PublishedError(
        f"{workdir} has no pair: it was trained on {', '.join(modalities)} alone, and"
        " on features, whose encoder is as it was"
    )


def _side(modality: str) -> str:
    return IMAGE if modality == IMAGE else "text"


def _export_pair(run: Run, workdir: Path, output: Path, sides) -> list[str]:
    by_modality = {m: _tower(run, workdir, m) for m in sides}
    towers = {_side(m): tower for m, tower in by_modality.items()}
    reading, look = _reading(run, sides[0]), _look(run)
    write_pair(output, towers, scale=_scale(run), look=look)
    write_tokenizer(output, reading.tokenizer, length=reading.length)
    told = caveats(towers) + _told(reading)
    texts = [m for m in run.config.model.modalities if m != IMAGE]
    if texts[1:]:
        told.append(f"of the text streams {', '.join(texts)} it holds the first")
    _write_card(run, workdir, output, by_modality, told)
    return told


def _export_encoder(run: Run, workdir: Path, output: Path, modality) -> list[str]:
    tower = _trained_tower(run, workdir, modality)
    config = {**tower.config, "pool": tower.pool}
    write_encoder(output, _side(modality), config, tower.params, tower.stats)
    told = [f"one vector of its states is their {tower.pool}, as config.json says"]
    if modality == IMAGE:
        write_preprocessor(output, _look(run))
    else:
        reading = _reading(run, modality)
        write_tokenizer(output, reading.tokenizer, length=reading.length)
        told += _told(reading)
    _write_card(run, workdir, output, {modality: tower}, told)
    return told


def _write_card(run: Run, workdir: Path, output: Path, towers: Mapping, told) -> None:
    """`towers`: by modality."""
    stores, entries = stores_of(run.config), kept_encoders(workdir)
    encoders = []
    for modality, tower in towers.items():
        side, folder = _side(modality), stores.get(modality)
        source = store_facts(folder)[SOURCE] if folder else entries[side]["source"]
        family = alone(side, tower.config)["model_type"]
        encoders.append(Exported(modality, source, family, tower.pool))
    write_card(output, workdir.resolve().name, encoders, told)


def _told(reading: _Reading) -> list[str]:
    return [f"texts are read with {reading.prefix!r} before them"] * bool(
        reading.prefix
    )


def _scale(run: Run) -> float:
    """1 / temperature, as `ProductClassifier` has it."""
    c = run.config.objective
    if "temperature" not in run.params:
        return 1 / c.temperature
    return min(float(np.exp(run.params["temperature"])), c.max_scale)


def _tower(run: Run, workdir: Path, modality: str) -> Tower:
    if folder := stores_of(run.config).get(modality):
        return _stored_tower(run, Path(folder), modality)
    kernel, bias = _projection(run, _side(modality))
    return _trained_tower(run, workdir, modality)._replace(kernel=kernel, bias=bias)


def _trained_tower(run: Run, workdir: Path, modality: str) -> Tower:
    """Of the run's own parameters, without the projection."""
    side = _side(modality)
    config, pool = kept_published(workdir)[side], run.config.model[side].pool
    pool = tower_settings(side, config, pool=pool)["pool"]
    none = np.zeros((0, 0), np.float32)
    return Tower(config, run.params[side], run.stats.get(side, {}), pool, none, None)


def _stored_tower(run: Run, folder: Path, modality: str) -> Tower:
    """The encoder that made a store, with the run's projection.

    Principal components, (x - mean) @ C, are multiplied into the projection.
    """
    facts, side = store_facts(folder), _side(modality)
    published = store_model(folder, facts, side)
    family = families_of(side)[facts["family"]]
    _, params, stats = load_parameters(family, published)
    kernel, bias = _projection(run, modality)
    if reduction := load_reduction(folder):
        kernel = reduction.components @ kernel
        moved = -reduction.mean @ kernel
        bias = moved if bias is None else bias + moved
    pool = facts["pool"]
    if pool == STATES:  # states before any last linear map, averaged in the model
        pool = "mean"
        params = {k: v for k, v in params.items() if k != "projection"}
    return Tower(published.config, params, stats, pool, kernel, bias)


def _projection(run: Run, name: str):
    """(kernel (D, E), bias (E,) or None)."""
    found = run.params[f"{name}_joint"]["projection"]
    bias = found.get("bias")
    return np.asarray(found["kernel"]), None if bias is None else np.asarray(bias)


def _reading(run: Run, stream: str) -> _Reading:
    if folder := stores_of(run.config).get(stream):
        facts = store_facts(folder)
        place = find_directory(encoder_source(folder, facts))
        tokenizer = load_tokenizer(str(place))
        return _Reading(tokenizer, facts["length"], facts.get("prefix", ""))
    return _Reading(run.tokenizer, dict(run.spec.lengths)[stream], "")


def _look(run: Run) -> Preprocessing:
    if folder := stores_of(run.config).get(IMAGE):
        return from_facts(store_facts(folder)["preprocessing"])
    c, data = run.config.model.image, run.config.data.image
    sizes = tuple(data.resize), tuple(data.size)
    return Preprocessing(tuple(c.mean), tuple(c.std), *sizes, "bicubic")
