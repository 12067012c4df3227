"""Published encoders as towers of the classifier, to be trained on or kept frozen.

`model.text.published` and `model.image.published` name a directory or a hub name. The
run keeps the encoder's config.json, so that it answers without the original later.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hsjax.batch import IMAGE
from hsjax.models.dual import families_of, tower_of
from hsjax.models.names import Family, only
from hsjax.models.preprocessing import read_preprocessing
from hsjax.models.pretrained import (
    Checkpoint,
    CheckpointError,
    find_family,
    load_parameters,
    read_checkpoint,
)

TOWERS = ("text", IMAGE)


def family_of(tower: str, config: Mapping) -> Family:
    """The family of a config.json."""
    return families_of(tower)[config["model_type"]]


def tower_settings(tower: str, config: Mapping, *, pool: str) -> dict:
    """Of the module of a config.json, in the place of a tower.

    Args:
      pool: of texts that an encoder without a pooling of its own reads (BERT's
        relatives); what a pair that hsjax saved says of its towers goes before.

    Raises:
      CheckpointError: an option that the module lacks.
    """
    settings = family_of(tower, config).settings(config)
    free = {"text": "mean", IMAGE: "cls"}[tower]
    if settings.get("pool") == free:
        only(config, "pool", "cls", "mean", "max")
        settings["pool"] = config.get("pool", free if tower == IMAGE else pool)
    return settings


def published_encoder(
    config: Mapping, *, dropout: float, pool: str, dtype: jnp.dtype, name: str
) -> nn.Module:
    """The module of a config.json, in the place of the tower `name`."""
    settings = tower_settings(name, config, pool=pool) | {"dropout": dropout}
    return family_of(name, config).module(**settings, dtype=dtype, name=name)


def read_published(config) -> dict[str, Checkpoint]:
    """{tower: checkpoint} of the towers for which a whole config names one.

    Raises:
      CheckpointError: a checkpoint that cannot be used, or of an unknown family.
    """
    found = {}
    for tower in TOWERS:
        if name := config.model[tower].published:
            checkpoint = tower_of(read_checkpoint(name), tower)
            find_family(checkpoint, families_of(tower))
            found[tower] = checkpoint
    return found


def published_configs(checkpoints: Mapping[str, Checkpoint]) -> dict[str, dict]:
    """{tower: config.json}, for `build_model`."""
    return {tower: dict(c.config) for tower, c in checkpoints.items()}


def published_start(checkpoints: Mapping[str, Checkpoint]) -> Callable:
    """`start(fresh) -> tree`: fresh parameters, or running statistics, of a model with
    those of the checkpoints in their towers.

    Raises:
      CheckpointError: tensors that do not fit; `load_parameters` says which.
    """
    towers = {}
    for tower, checkpoint in checkpoints.items():
        family = family_of(tower, checkpoint.config)
        _, params, stats = load_parameters(family, checkpoint)
        towers[tower] = _merged(params, stats)

    def start(fresh: Mapping) -> dict:
        found = {t: _like(towers[t], fresh[t]) for t in towers if t in fresh}
        return {**fresh, **found}

    return start


def _merged(params: Mapping, stats: Mapping) -> dict:
    """Both in one tree: a norm has its scale and bias there, its mean and var here."""
    found = dict(params)
    for name, value in stats.items():
        nested = isinstance(value, Mapping)
        found[name] = _merged(found.get(name, {}), value) if nested else value
    return found


def _like(loaded: Mapping, fresh: Mapping) -> dict:
    """What `fresh` has, taken from `loaded`."""
    return {
        name: _like(loaded[name], value)
        if isinstance(value, Mapping)
        else np.asarray(loaded[name], value.dtype)
        for name, value in fresh.items()
    }


def settle(config, checkpoints: Mapping[str, Checkpoint]) -> ConfigDict:
    """The config with what the published encoders say of their input.

    Mean and std of pixels and, where data.image.size is (0, 0), the sizes of pictures
    are those of preprocessor_config.json; a tokenizer `train` becomes the encoder's.

    Raises:
      CheckpointError: a tower without its modality, no tokenizer or no preprocessor,
        texts longer than the encoder has positions.
    """
    config = config.copy_and_resolve_references().unlock()
    modalities = set(config.model.modalities)
    for tower in checkpoints:
        here = {IMAGE} if tower == IMAGE else set(config.data.text.streams)
        if not here & modalities - {m for m, f in config.data.features.items() if f}:
            raise CheckpointError(
                f"model.{tower}.published is set, but no raw {tower} is a modality"
            )
    if IMAGE in checkpoints:
        look = read_preprocessing(checkpoints[IMAGE].preprocessor)
        config.model.image.mean, config.model.image.std = look.mean, look.std
        if not any(config.data.image.size):
            config.data.image.size, config.data.image.resize = look.size, look.resize
    if "text" in checkpoints:
        checkpoint, text = checkpoints["text"], config.data.text
        if text.tokenizer == "train":
            text.tokenizer = str(checkpoint.directory)
        settings = family_of("text", checkpoint.config).settings(checkpoint.config)
        lengths = [text.length, *text.lengths.to_dict().values()]
        if max(lengths) > settings["max_length"]:
            raise CheckpointError(
                f"data.text.length: texts of {max(lengths)} tokens, but"
                f" {checkpoint.directory} has {settings['max_length']} positions"
            )
    return config.lock()
