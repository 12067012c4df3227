"""Encoders of a trained run -> a directory in Hugging Face's layout.

Of a run on texts and pictures that is a pair, VisionTextDualEncoder; of a run with one
tower, or of one that is asked for, that encoder alone.
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
from hsjax.inference.export_folder import (
    Exported,
    check_output,
    encoder_name,
    write_card,
)
from hsjax.inference.export_towers import (
    side_of,
    tower_alone,
    tower_group,
    towers_of_run,
)
from hsjax.inference.predict import Run, load_run, vocabulary
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
from hsjax.models.own_families import own_image_config, own_text_config
from hsjax.models.preprocessing import Preprocessing, from_facts
from hsjax.models.published_files import find_directory
from hsjax.models.published_towers import tower_settings
from hsjax.models.published_weights import load_parameters
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
    modality: str = "",
) -> list[str]:
    """Writes the pair of a run, or the one encoder that it has.

    Towers that were trained or kept in the run are its own; of cached features the
    encoder is read from where the store says. A pair has their projections, too.

    Args:
      features: modality -> folder, of feature stores that have moved.
      modality: the encoder of this one alone, '' = all that there is.

    Returns:
      What a reader of the directory has to know, a sentence each; its README.md says
      the same.

    Raises:
      PublishedError: a pair with a tower from scratch, a pooling with parameters that
        no layout holds, a modality without a tower, an `output` with something else.
      CatalogueError, WorkdirError: there is no such run, no such store, or its encoder
        is no longer what the features came from.
    """
    sides = [tower_alone(workdir, modality)] if modality else towers_of_run(workdir)
    check_output(output, KIND if len(sides) > 1 else "")
    # an encoder alone is the run's own, whose stores nobody asks for
    run = load_run(workdir, features=features, answering=len(sides) > 1)
    if len(sides) == 1:
        return _export_encoder(run, workdir, output, *sides)
    return _export_pair(run, workdir, output, sides)


def _export_pair(run: Run, workdir: Path, output: Path, sides) -> list[str]:
    by_modality = {m: _tower(run, workdir, m) for m in sides}
    towers = {side_of(m): tower for m, tower in by_modality.items()}
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
    write_encoder(output, side_of(modality), config, tower.params, tower.stats)
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
        side, folder = side_of(modality), stores.get(modality)
        source = entries.get(side, {}).get("source", "trained from scratch")
        source = store_facts(folder)[SOURCE] if folder else source
        family = alone(side, tower.config)["model_type"]
        name = encoder_name(source)
        encoders.append(Exported(modality, name, family, tower.pool))
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
    kernel, bias = _projection(run, side_of(modality))
    return _trained_tower(run, workdir, modality)._replace(kernel=kernel, bias=bias)


def _trained_tower(run: Run, workdir: Path, modality: str) -> Tower:
    """Of the run's own parameters, without the projection."""
    side, own = side_of(modality), modality in run.config.model.text
    name = modality if own else side  # of its parameters
    config = kept_published(workdir).get(side)
    if own or config is None:
        config = _own_config(run, modality)
    pool = tower_group(run.config, modality).pool
    pool = tower_settings(side, config, pool=pool)["pool"]
    none = np.zeros((0, 0), np.float32)
    return Tower(config, run.params[name], run.stats.get(name, {}), pool, none, None)


def _own_config(run: Run, modality: str) -> dict:
    """config.json of a tower that began with random parameters."""
    c = run.config.model
    if modality == IMAGE:
        return own_image_config(c.image, tuple(run.spec.image[1:]))
    return own_text_config(
        c.text[modality] if modality in c.text else c.text,
        vocab_size=vocabulary(run.tokenizer),
        max_length=max(length for _, length in run.spec.lengths),
    )


def _stored_tower(run: Run, folder: Path, modality: str) -> Tower:
    """The encoder that made a store, with the run's projection.

    Principal components, (x - mean) @ C, are multiplied into the projection.
    """
    facts, side = store_facts(folder), side_of(modality)
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
