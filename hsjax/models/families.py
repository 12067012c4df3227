"""What a family of published encoders is: settings, and names of its tensors."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hsjax.models.published_files import PublishedError


class Entry(NamedTuple):
    """One of our arrays and the tensors that it is made of.

    Attributes:
      ours: path in the encoder's parameters, "layer0/attention/qkv/kernel", or
        "stats/..." for a running statistic.
      theirs: tensor names without the family's prefix; several are concatenated along
        their axis 0 (query, key, value), which they share in equal parts.
      layout: `same`; `linear` = (out, in) -> (in, out); `conv` = (out, in, height,
        width) -> (height, width, in, out); `squeeze` = a leading axis of size 1
        dropped; `lift` = a vector, with leading axes of size 1 added.
    """

    ours: str
    theirs: tuple[str, ...]
    layout: str = "same"


def picture_inputs(settings: dict) -> tuple:
    """Shapes of what an image encoder is given: one picture and its weight."""
    side = settings.get("image_size", 224)
    height, width = side if isinstance(side, tuple) else (side, side)
    picture = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
    return picture, jax.ShapeDtypeStruct((1,), np.float32)


def text_inputs(settings: dict) -> tuple:
    """Shapes of what a text encoder is given: the ids and the mask of one token."""
    ids = jax.ShapeDtypeStruct((1, 1), np.int32)
    return ids, jax.ShapeDtypeStruct((1, 1), np.bool_)


class Family(NamedTuple):
    """An architecture of published encoders as a table.

    Attributes:
      name: `model_type` of config.json.
      prefixes: each taken off the tensors' names where they start with it ("bert.").
      settings: config.json -> keyword arguments of `module`, except its `dtype`;
        PublishedError on an option that the module does not have.
      module: the flax module.
      entries: settings -> one Entry per parameter and statistic of the module.
      unused: (regex, why) of tensors that are rightly not read: poolers, heads.
      inputs: settings -> shapes that the module can be initialised with, before
        `training`.
    """

    name: str
    prefixes: tuple[str, ...]
    settings: Callable[[Mapping], dict]
    module: Callable[..., nn.Module]
    entries: Callable[[dict], list[Entry]]
    unused: tuple[tuple[str, str], ...] = ()
    inputs: Callable[[dict], tuple] = picture_inputs


def flat(tree: Mapping, prefix: str = "") -> dict:
    """Path "layer0/attention/qkv/kernel" -> leaf of nested mappings."""
    found = {}
    for key, value in tree.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}/") if inner else {prefix + key: value}
    return found


def parameter_shapes(
    module: Callable[..., nn.Module], settings: dict, inputs: tuple
) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter, and below stats/ of every statistic.

    Args:
      inputs: see `Family.inputs`, of these settings.
    """
    made = module(**settings, dtype=jnp.dtype(jnp.float32))
    init = functools.partial(made.init, training=False)
    variables = jax.eval_shape(init, jax.random.key(0), *inputs)
    stats = {"stats": variables["stats"]} if "stats" in variables else {}
    return {k: v.shape for k, v in flat({**variables["params"], **stats}).items()}


# of a layer of either tower of CLIP; see `block`
CLIP_LAYER = {
    "attention/qkv": tuple(f"self_attn.{x}_proj" for x in "qkv"),
    "attention/out": ("self_attn.out_proj",),
    "attention_norm": ("layer_norm1",),
    "mlp_in": ("mlp.fc1",),
    "mlp_out": ("mlp.fc2",),
    "mlp_norm": ("layer_norm2",),
}


def linear(ours: str, *theirs: str, bias: bool = True) -> list[Entry]:
    """Entries of a dense layer; several of theirs are one of ours, side by side."""
    kernel = Entry(f"{ours}/kernel", tuple(f"{t}.weight" for t in theirs), "linear")
    if not bias:
        return [kernel]
    return [kernel, Entry(f"{ours}/bias", tuple(f"{t}.bias" for t in theirs))]


def norm(ours: str, theirs: str) -> list[Entry]:
    """Entries of a layer norm."""
    return [
        Entry(f"{ours}/scale", (f"{theirs}.weight",)),
        Entry(f"{ours}/bias", (f"{theirs}.bias",)),
    ]


def block(ours: str, theirs: str, table: Mapping[str, tuple[str, ...]]) -> list[Entry]:
    """Entries of a TransformerBlock.

    Args:
      ours, theirs: names of the block.
      table: part of ours -> their part or parts: {"mlp_in": ("intermediate.dense",)};
        what ends with `norm` is a layer norm, the rest dense layers.
    """
    entries = []
    for part, names in table.items():
        full = [f"{theirs}.{name}" for name in names]
        make = norm if part.endswith("norm") else linear
        entries += make(f"{ours}/{part}", *full)
    return entries


def setting(config: Mapping, key: str, default=None):
    """A value of config.json; null is none.

    Raises:
      PublishedError: it is not there, and there is no default.
    """
    if config.get(key) is not None:
        return config[key]
    if default is None:
        raise PublishedError(f"config.json lacks {key}")
    return default


def only(config: Mapping, key: str, *known) -> None:
    """A setting that may be absent, but not something else.

    Raises:
      PublishedError: with the value and the known ones.
    """
    if key in config and config[key] not in known:
        names = ", ".join(map(repr, known))
        raise PublishedError(
            f"config.json: {key} is {config[key]!r}; only {names} is known"
        )
