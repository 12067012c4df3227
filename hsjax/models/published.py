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
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.names import Family
from hsjax.models.preprocessing import read_preprocessing
from hsjax.models.pretrained import (
    Checkpoint,
    CheckpointError,
    find_family,
    load_parameters,
    read_checkpoint,
)
from hsjax.models.text_families import TEXT_FAMILIES

TOWERS = ("text", IMAGE)


def family_of(tower: str, config: Mapping) -> Family:
    """The family of a config.json; images and texts of one name (clip) are two."""
    families = IMAGE_FAMILIES if tower == IMAGE else TEXT_FAMILIES
    return families[config["model_type"]]


def published_encoder(
    config: Mapping, *, dropout: float, dtype: jnp.dtype, name: str
) -> nn.Module:
    """The module of a config.json, in the place of the tower `name`."""
    family = family_of(name, config)
    settings = family.settings(config) | {"dropout": dropout}
    return family.module(**settings, dtype=dtype, name=name)


def read_published(config) -> dict[str, Checkpoint]:
    """{tower: checkpoint} of the towers for which a whole config names one.

    Raises:
      CheckpointError: a checkpoint that cannot be used, or of an unknown family.
    """
    found = {}
    for tower in TOWERS:
        if name := config.model[tower].published:
            checkpoint = read_checkpoint(name)
            find_family(checkpoint, IMAGE_FAMILIES if tower == IMAGE else TEXT_FAMILIES)
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
