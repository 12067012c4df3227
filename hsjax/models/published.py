"""Published encoders as towers of the classifier, to be trained on or kept frozen.

`model.text.published` and `model.image.published` name a directory or a hub name. The
run keeps the encoder's config.json, so that it answers without the original later.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from hsjax.batch import IMAGE
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.names import Family
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


def with_published(
    checkpoints: Mapping[str, Checkpoint], params: Mapping, stats: Mapping
) -> tuple[dict, dict]:
    """Parameters and statistics of a fresh model with the published towers in place.

    Raises:
      CheckpointError: tensors that do not fit; `load_parameters` says which.
    """
    params, stats = dict(params), dict(stats)
    for tower, checkpoint in checkpoints.items():
        if tower not in params:
            raise CheckpointError(
                f"model.{tower}.published is set, but model.modalities has no {tower}"
            )
        family = family_of(tower, checkpoint.config)
        _, loaded, running = load_parameters(family, checkpoint)
        params[tower] = _like(loaded, params[tower])
        if running:
            stats[tower] = _like(running, stats[tower])
    return params, stats


def _like(loaded: Mapping, fresh: Mapping) -> dict:
    """`loaded` in the order and with the dtypes of `fresh`."""
    return {
        name: _like(loaded[name], value)
        if isinstance(value, Mapping)
        else np.asarray(loaded[name], value.dtype)
        for name, value in fresh.items()
    }
