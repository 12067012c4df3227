"""Published encoders as towers of the classifier, to be trained on or kept frozen.

`model.text.published` and `model.image.published` name a directory or a hub name. The
run keeps what it has to know of the encoder (config.json, how pictures are prepared,
where it came from, a hash of its weights), so that it needs the original only once.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from hsjax.batch import IMAGE
from hsjax.models.depth import AS_EVER, Execution
from hsjax.models.families import Family, only
from hsjax.models.one_tower import families_of, tower_family, tower_of
from hsjax.models.preprocessing import read_preprocessing
from hsjax.models.published_files import (
    LazyTensors,
    PublishedError,
    PublishedModel,
    read_published,
)
from hsjax.models.resnet import ResNet
from hsjax.models.scratch_towers import SCRATCH_POOL, STATES
from hsjax.models.text import TextEncoder
from hsjax.models.vgg import VGG
from hsjax.models.vit import VisionTransformer

TOWERS = ("text", IMAGE)
# what makes one vector of the states; `map` has parameters that nobody publishes
POOLS = {
    TextEncoder: ("cls", "mean", "max", "eot", "map"),
    VisionTransformer: ("cls", "mean", "max", "map"),
    ResNet: ("mean",),
    VGG: ("fc7", "mean"),
}
DEEP = (TextEncoder, VisionTransformer)  # towers of equal layers
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
      PublishedError: an option that the module lacks, a pool that it cannot do.
    """
    family = family_of(tower, config)
    settings, known = family.settings(config), POOLS[family.module]
    only(config, "pool", *known)
    own = config.get("pool") or settings.get("pool") or known[0]
    if pool and pool not in known:
        raise PublishedError(
            f"model.{tower}.pool is {pool!r}; {family.name} has {', '.join(known)}"
        )
    return settings | {"pool": pool or own}


def published_encoder(
    config: Mapping,
    *,
    dropout: float,
    pool: str,
    dtype: jnp.dtype,
    how: Execution = AS_EVER,
    name: str,
) -> nn.Module:
    """The module of a config.json as the tower `name`; pool `none` keeps states."""
    settings = tower_settings(name, config, pool="" if pool == STATES else pool)
    settings |= {"dropout": dropout} | ({"pool": pool} if pool == STATES else {})
    module = family_of(name, config).module
    settings |= {"how": how} if module in DEEP else {}
    return module(**settings, dtype=dtype, name=name)


def read_towers(
    config, kept: Mapping[str, Mapping] = MappingProxyType({})
) -> dict[str, PublishedModel]:
    """{tower: its published model} of the towers for which a whole config names one.

    Args:
      kept: tower -> what `kept_form` gave when the run began: that encoder is not read
        again, so it has no tensors.

    Raises:
      PublishedError: a model that cannot be used, or of an unknown family.
    """
    found = {}
    for tower in TOWERS:
        if not (name := config.model[tower].published):
            continue
        if tower in kept and kept[tower]["source"] == name:
            entry = kept[tower]
            place, look = Path(entry["directory"]), entry["preprocessor"]
            found[tower] = PublishedModel(entry["config"], LazyTensors({}), place, look)
            continue
        bare = config.model[tower].random
        published = tower_of(read_published(name, shape_only=bare), tower)
        tower_family(published, tower, asked=f"model.{tower}.published names it")
        found[tower] = published
    return found


def kept_form(published: PublishedModel, *, source: str, weights: str) -> dict:
    """What a run keeps of an encoder, for `read_towers`.

    Args:
      source: as the config names it.
      weights: hash of its config and tensors.
    """
    place = published.directory.resolve()
    return {
        "source": source,
        "directory": str(place),
        # of a hub name: the cache calls a snapshot by its commit
        "revision": place.name if place.parent.name == "snapshots" else "",
        "weights": weights,
        "config": dict(published.config),
        "preprocessor": published.preprocessor,
    }


def tower_configs(encoders: Mapping[str, PublishedModel]) -> dict[str, dict]:
    """{tower: config.json}, for `build_model`."""
    return {tower: dict(c.config) for tower, c in encoders.items()}


def check_vocabulary(encoders: Mapping[str, PublishedModel], size: int) -> None:
    """Does the text tower have a row for every one of `size` token ids?

    Raises:
      PublishedError: the tokenizer is another's.
    """
    if "text" not in encoders:
        return
    published = encoders["text"]
    rows = family_of("text", published.config).settings(published.config)
    if size > rows["vocab_size"]:
        raise PublishedError(
            f"the tokenizer has {size} entries, {published.directory} has"
            f" {rows['vocab_size']}: they do not belong together; leave"
            " data.text.tokenizer as it is in configs/base.py"
        )


def settle(config, encoders: Mapping[str, PublishedModel]) -> ConfigDict:
    """The config with what it leaves to its encoders written out.

    A pool '' is named. Of published encoders, mean and std of pixels, and where nobody
    chose data.image.resize and size, these, are those of preprocessor_config.json; the
    tokenizer `train` becomes `published`.

    Raises:
      PublishedError: a tower without its modality or a pool that it lacks, no
        preprocessor, texts longer than the encoder has positions.
    """
    config = config.copy_and_resolve_references().unlock()
    for tower in TOWERS:
        c, pool = config.model[tower], SCRATCH_POOL
        if tower in encoders:
            _check_tower(config, tower)
            found = encoders[tower].config
            pool = tower_settings(tower, found, pool=c.pool)["pool"]
        c.pool = c.pool or pool
    if IMAGE in encoders:
        look, c = read_preprocessing(encoders[IMAGE].preprocessor), config.data.image
        config.model.image.mean, config.model.image.std = look.mean, look.std
        if (tuple(c.resize), tuple(c.size)) in NOT_CHOSEN:
            c.size, c.resize = look.size, look.resize
    if "text" in encoders:
        if config.data.text.tokenizer == "train" and not config.model.text.random:
            config.data.text.tokenizer = "published"
        _check_lengths(config.data.text, encoders["text"])
    return config.lock()


def _check_tower(config, tower: str) -> None:
    """PublishedError where a published tower would stand idle."""
    modalities = set(config.model.modalities)
    on_features = {m for m, folder in config.data.features.items() if folder}
    own = set(config.model.text)  # streams with a tower of their own
    here = {IMAGE} if tower == IMAGE else set(config.data.text.streams) - own
    if not here & modalities - on_features:
        raise PublishedError(
            f"model.{tower}.published is set, but no raw {tower} is a modality"
        )


def _check_lengths(text, published: PublishedModel) -> None:
    settings = family_of("text", published.config).settings(published.config)
    lengths = [text.length, *text.lengths.to_dict().values()]
    if max(lengths) > settings["max_length"]:
        raise PublishedError(
            f"data.text.length: texts of {max(lengths)} tokens, but"
            f" {published.directory} has {settings['max_length']} positions"
        )
