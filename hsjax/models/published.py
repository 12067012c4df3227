"""Published encoders as towers of the classifier, to be trained on or kept frozen.

`model.text.published` and `model.image.published` name a directory or a hub name. The
run keeps what it has to know of the encoder (config.json, how pictures are prepared,
where it came from, a hash of its weights), so that it needs the original only once.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hsjax.batch import IMAGE
from hsjax.models.checkpoint_files import Tensors
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
from hsjax.models.resnet import ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.vgg import VGG
from hsjax.models.vit import VisionTransformer

TOWERS = ("text", IMAGE)
# what makes one vector of the states; `map` has parameters that no checkpoint has
POOLS = {
    TextEncoder: ("cls", "mean", "max", "eot", "map"),
    VisionTransformer: ("cls", "mean", "max", "map"),
    ResNet: ("mean",),
    VGG: ("fc7", "mean"),
}
SCRATCH_POOL = "mean"  # of a tower from scratch that is not told another one
# data.image.resize and size where nobody chose: of configs/base.py, or all zeros
NOT_CHOSEN = (((36, 36), (32, 32)), ((0, 0), (0, 0)))


def family_of(tower: str, config: Mapping) -> Family:
    """The family of a config.json."""
    return families_of(tower)[config["model_type"]]


def tower_settings(tower: str, config: Mapping, *, pool: str = "") -> dict:
    """Of the module of a config.json, in the place of a tower.

    Args:
      pool: '' = the one that hsjax wrote into config.json, else the family's own.

    Raises:
      CheckpointError: an option that the module lacks, a pool that it cannot do.
    """
    family = family_of(tower, config)
    settings, known = family.settings(config), POOLS[family.module]
    only(config, "pool", *known)
    own = config.get("pool") or settings.get("pool") or known[0]
    if pool and pool not in known:
        raise CheckpointError(
            f"model.{tower}.pool is {pool!r}; {family.name} has {', '.join(known)}"
        )
    return settings | {"pool": pool or own}


def published_encoder(
    config: Mapping, *, dropout: float, pool: str, dtype: jnp.dtype, name: str
) -> nn.Module:
    """The module of a config.json, in the place of the tower `name`."""
    settings = tower_settings(name, config, pool=pool) | {"dropout": dropout}
    return family_of(name, config).module(**settings, dtype=dtype, name=name)


def read_published(
    config, kept: Mapping[str, Mapping] = MappingProxyType({})
) -> dict[str, Checkpoint]:
    """{tower: checkpoint} of the towers for which a whole config names one.

    Args:
      kept: tower -> what `kept_form` gave when the run began: that encoder is not read
        again, so its checkpoint has no tensors.

    Raises:
      CheckpointError: a checkpoint that cannot be used, or of an unknown family.
    """
    found = {}
    for tower in TOWERS:
        if not (name := config.model[tower].published):
            continue
        if tower in kept and kept[tower]["source"] == name:
            entry = kept[tower]
            place, look = Path(entry["directory"]), entry["preprocessor"]
            found[tower] = Checkpoint(entry["config"], Tensors({}), place, look)
            continue
        checkpoint = tower_of(read_checkpoint(name), tower)
        find_family(checkpoint, families_of(tower))
        found[tower] = checkpoint
    return found


def kept_form(checkpoint: Checkpoint, *, source: str, weights: str) -> dict:
    """What a run keeps of an encoder, for `read_published`.

    Args:
      source: as the config names it.
      weights: hash of its config and tensors.
    """
    place = checkpoint.directory.resolve()
    return {
        "source": source,
        "directory": str(place),
        # of a hub name: the cache calls a snapshot by its commit
        "revision": place.name if place.parent.name == "snapshots" else "",
        "weights": weights,
        "config": dict(checkpoint.config),
        "preprocessor": checkpoint.preprocessor,
    }


def published_configs(checkpoints: Mapping[str, Checkpoint]) -> dict[str, dict]:
    """{tower: config.json}, for `build_model`."""
    return {tower: dict(c.config) for tower, c in checkpoints.items()}


def check_vocabulary(checkpoints: Mapping[str, Checkpoint], size: int) -> None:
    """Does the text tower have a row for every one of `size` token ids?

    Raises:
      CheckpointError: the tokenizer is another's.
    """
    if "text" not in checkpoints:
        return
    checkpoint = checkpoints["text"]
    rows = family_of("text", checkpoint.config).settings(checkpoint.config)
    if size > rows["vocab_size"]:
        raise CheckpointError(
            f"the tokenizer has {size} entries, {checkpoint.directory} has"
            f" {rows['vocab_size']}: they do not belong together; leave"
            " data.text.tokenizer as it is in configs/base.py"
        )


def published_start(checkpoints: Mapping[str, Checkpoint]) -> Callable:
    """`start(fresh) -> tree`: fresh parameters, or running statistics, of a model with
    those of the checkpoints in their towers.

    Attention pooling (`map`) stays fresh.

    Raises:
      CheckpointError: tensors that do not fit; `load_parameters` says which.
    """
    towers = {}
    for tower, checkpoint in checkpoints.items():
        family = family_of(tower, checkpoint.config)
        _, params, stats = load_parameters(family, checkpoint)
        towers[tower] = _merged(params, stats)

    def start(fresh: Mapping) -> dict:
        found = {}
        for tower in towers.keys() & fresh.keys():
            new = {"pool"} - towers[tower].keys()
            mine = {k: v for k, v in fresh[tower].items() if k not in new}
            found[tower] = {**fresh[tower], **_like(towers[tower], mine)}
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
    if lacking := sorted(fresh.keys() - loaded.keys()):
        raise CheckpointError(
            f"the checkpoint lacks {', '.join(lacking)}, which model.image.pool needs"
        )
    return {
        name: _like(loaded[name], value)
        if isinstance(value, Mapping)
        else np.asarray(loaded[name], value.dtype)
        for name, value in fresh.items()
    }


def settle(config, checkpoints: Mapping[str, Checkpoint]) -> ConfigDict:
    """The config with what it leaves to its encoders written out.

    A pool '' is named. Of published encoders, mean and std of pixels, and where nobody
    chose data.image.resize and size, these, are those of preprocessor_config.json; the
    tokenizer `train` becomes `published`.

    Raises:
      CheckpointError: a tower without its modality or a pool that it lacks, no
        preprocessor, texts longer than the encoder has positions.
    """
    config = config.copy_and_resolve_references().unlock()
    for tower in TOWERS:
        c, pool = config.model[tower], SCRATCH_POOL
        if tower in checkpoints:
            _check_tower(config, tower)
            found = checkpoints[tower].config
            pool = tower_settings(tower, found, pool=c.pool)["pool"]
        c.pool = c.pool or pool
    if IMAGE in checkpoints:
        look, c = read_preprocessing(checkpoints[IMAGE].preprocessor), config.data.image
        config.model.image.mean, config.model.image.std = look.mean, look.std
        if (tuple(c.resize), tuple(c.size)) in NOT_CHOSEN:
            c.size, c.resize = look.size, look.resize
    if "text" in checkpoints:
        if config.data.text.tokenizer == "train":
            config.data.text.tokenizer = "published"
        _check_lengths(config.data.text, checkpoints["text"])
    return config.lock()


def _check_tower(config, tower: str) -> None:
    """CheckpointError where a published tower would stand idle."""
    modalities = set(config.model.modalities)
    on_features = {m for m, folder in config.data.features.items() if folder}
    own = set(config.model.text)  # streams with a tower of their own
    here = {IMAGE} if tower == IMAGE else set(config.data.text.streams) - own
    if not here & modalities - on_features:
        raise CheckpointError(
            f"model.{tower}.published is set, but no raw {tower} is a modality"
        )


def _check_lengths(text, checkpoint: Checkpoint) -> None:
    settings = family_of("text", checkpoint.config).settings(checkpoint.config)
    lengths = [text.length, *text.lengths.to_dict().values()]
    if max(lengths) > settings["max_length"]:
        raise CheckpointError(
            f"data.text.length: texts of {max(lengths)} tokens, but"
            f" {checkpoint.directory} has {settings['max_length']} positions"
        )
