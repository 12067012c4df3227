"""Towers that hsjax trained from scratch, as families of their own.

Their directory is laid out as any published one: config.json has the arguments of the
module, model.safetensors its parameters and statistics by their own names. So what one
run learns, by SimCLR or otherwise, another makes features with or trains on.
"""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn

from hsjax.models.families import (
    Entry,
    Family,
    parameter_shapes,
    picture_inputs,
    setting,
    text_inputs,
)
from hsjax.models.resnet import ResNet
from hsjax.models.scratch_towers import SCRATCH_POOL
from hsjax.models.text import TextEncoder
from hsjax.models.vit import VisionTransformer

# arguments of the modules that a config's group has by the same name
RESNET = ("stem", "block", "stages", "widths", "norm")
VIT = ("patch", "width", "depth", "heads", "mlp")
TEXT = ("width", "depth", "heads", "mlp", "pre_norm", "bag", "bag_dropout")
POOLED = ("vit", "text")  # what of `OWN` may pool in several ways


def _family(
    kind: str,
    module: Callable[..., nn.Module],
    arguments: Sequence[str],
    inputs: Callable[[dict], tuple],
    **fixed,
) -> Family:
    def settings(config: Mapping) -> dict:
        found = {k: _tuples(setting(config, k)) for k in (*arguments, "dropout")}
        if kind in POOLED:
            found["pool"] = setting(config, "pool", SCRATCH_POOL)
        return found | fixed

    def entries(settings: dict) -> list[Entry]:
        names = parameter_shapes(module, settings, inputs(settings))
        return [Entry(name, (name.replace("/", "."),)) for name in names]

    return Family(f"hsjax-{kind}", (), settings, module, entries, inputs=inputs)


def _tuples(value):
    return tuple(value) if isinstance(value, list) else value


OWN_IMAGE = {
    # running statistics stay as they were, as of any published ResNet
    "hsjax-resnet": _family(
        "resnet", ResNet, RESNET, picture_inputs, frozen_stats=True
    ),
    "hsjax-vit": _family("vit", VisionTransformer, (*VIT, "grid"), picture_inputs),
}
OWN_TEXT = {
    "hsjax-text": _family(
        "text", TextEncoder, (*TEXT, "vocab_size", "max_length"), text_inputs
    )
}


def own_image_config(c, size: tuple[int, int]) -> dict:
    """config.json of a tower of a config's `model.image`, trained from scratch.

    Args:
      size: (height, width) of the pictures it has seen.
    """
    config = {"model_type": f"hsjax-{c.family}", "dropout": c.dropout}
    if c.family == "vit":
        config |= {"pool": c.pool or SCRATCH_POOL}
        config |= {"grid": [side // c.patch for side in size]}
    keys = VIT if c.family == "vit" else RESNET
    return config | {key: _lists(c[key]) for key in keys}


def own_text_config(c, *, vocab_size: int, max_length: int) -> dict:
    """config.json of a tower of `model.text`, or of a stream's own group there."""
    config = {"model_type": "hsjax-text", "dropout": c.dropout}
    config |= {"pool": c.pool or SCRATCH_POOL}
    config |= {"vocab_size": vocab_size, "max_length": max_length}
    return config | {key: c[key] for key in TEXT}


def _lists(value):
    return list(value) if isinstance(value, tuple) else value
