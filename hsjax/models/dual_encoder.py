"""Pairs of a text and an image tower in the layout of VisionTextDualEncoder.

transformers' model of that name: with pooled states x of `text_model` and y of
`vision_model`, and two projections without bias,

    text = unit(W_t x),  image = unit(W_v y),  logits = exp(logit_scale) image . text

Its BERTs and ViTs pool by tanh(A x + b) of the first token's state. With A = s 1, b = 0
and W / s in place of W, for a small power of two s, that is W x to the last bits of
float32: tanh(s x) / s = x (1 - (s x)^2 / 3 + ...). So a `cls` tower is exact there.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.atomic import write_atomically
from hsjax.batch import IMAGE
from hsjax.models.one_tower import KIND, PARTS, families_of
from hsjax.models.own_families import OWN_IMAGE, OWN_TEXT
from hsjax.models.preprocessing import RESAMPLINGS, Preprocessing
from hsjax.models.published_files import (
    CONFIG,
    PREPROCESSOR,
    SINGLE,
    write_tensors,
)
from hsjax.models.published_weights import to_tensors

SMALL = 2.0**-14
ALONE = {"text": "clip_text_model", IMAGE: "clip_vision_model"}  # a tower of `clip`
# where transformers pools by a layer and tanh
POOLERS = {"albert": "pooler"}
POOLERS |= dict.fromkeys(("bert", "roberta", "xlm-roberta"), "pooler.dense")
POOLERS |= dict.fromkeys(("vit", "deit"), "pooler.dense")
POOLED = {"clip_text_model": "eot"}  # what transformers answers with; `cls` otherwise
# without such an answer, or a class of its own there
UNKNOWN = {"distilbert", "resnet", "vgg", *OWN_IMAGE, *OWN_TEXT}


class Tower(NamedTuple):
    """One side of a pair.

    Attributes:
      config: config.json of the encoder; params, stats: as `load_parameters` gives.
      pool: what makes one vector of its states.
      kernel: (D, E) of the projection; bias: (E,), None = none.
    """

    config: Mapping
    params: Mapping
    stats: Mapping
    pool: str
    kernel: Float[np.ndarray, "D E"]
    bias: Float[np.ndarray, "E"] | None


def write_pair(
    directory: Path, towers: Mapping[str, Tower], *, scale: float, look: Preprocessing
) -> None:
    """config.json, model.safetensors (float32) and preprocessor_config.json.

    Args:
      towers: "text" and "image".
      scale: 1 / temperature.
      look: of the pictures.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": KIND,
        "architectures": ["VisionTextDualEncoderModel"],
        "dtype": "float32",
        "projection_dim": int(towers["text"].kernel.shape[1]),
        "logit_scale_init_value": float(np.log(scale)),
    }
    tensors = {"logit_scale": np.array(np.log(scale), np.float32)}
    for name, tower in towers.items():
        key, prefix, projection = PARTS[name]
        config[key] = alone(name, tower.config) | {"pool": tower.pool}
        own, kernel, bias = _tower_tensors(name, tower)
        tensors |= {prefix + k: v for k, v in own.items()}
        tensors[f"{projection}.weight"] = kernel.T
        if bias is not None:
            tensors[f"{projection}.bias"] = np.asarray(bias, np.float32)
    write_tensors(directory / SINGLE, tensors)
    _write(directory / CONFIG, config)
    write_preprocessor(directory, look)


def write_encoder(
    directory: Path, name: str, config: Mapping, params: Mapping, stats: Mapping
) -> None:
    """config.json and model.safetensors (float32) of a tower, as its family writes it.

    What the family has above its states (a pooler, a head) is not there.

    Args:
      name: "text" or "image".
      config: config.json of the encoder, with `pool` where it is not the family's own.
      params, stats: as `load_parameters` gives.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = alone(name, config)
    if "projection" in params:  # CLIP's own, by the class that has it
        side = {"text": "Text", IMAGE: "Vision"}[name]
        config["architectures"] = [f"CLIP{side}ModelWithProjection"]
        config["projection_dim"] = int(params["projection"]["kernel"].shape[1])
    family = families_of(name)[config["model_type"]]
    settings = family.settings(config)
    tensors = to_tensors(family, settings, params, stats)
    write_tensors(directory / SINGLE, tensors)
    _write(directory / CONFIG, config)


def write_preprocessor(directory: Path, look: Preprocessing) -> None:
    """preprocessor_config.json."""
    _write(directory / PREPROCESSOR, preprocessor(look))


def alone(name: str, config: Mapping) -> dict:
    """config.json of a tower by itself, in float32."""
    key = PARTS[name][0]
    config = {**config[key]} if key in config else dict(config)
    kind = config.get("model_type", "clip")
    config["model_type"] = ALONE[name] if kind == "clip" else kind
    for gone in ("architectures", "torch_dtype", "transformers_version"):
        config.pop(gone, None)
    if config["model_type"] in ("vit", "deit"):
        config["pooler_act"] = "tanh"
        config.pop("pooler_output_size", None)
    return config | {"dtype": "float32"}


def _tower_tensors(name: str, tower: Tower):
    """(the encoder's tensors, kernel (D, E), bias) as transformers computes.

    A last linear map of the encoder (CLIP's) is multiplied into the projection.
    """
    config = alone(name, tower.config)
    family = families_of(name)[config["model_type"]]
    settings = family.settings(config)
    tensors = to_tensors(family, settings, tower.params, tower.stats)
    kernel = np.asarray(tower.kernel, np.float32)
    if "projection" in tower.params:
        kernel = np.asarray(tower.params["projection"]["kernel"], np.float32) @ kernel
    if pooler := POOLERS.get(family.name):
        width = settings["width"]
        tensors[f"{pooler}.weight"] = SMALL * np.eye(width, dtype=np.float32)
        tensors[f"{pooler}.bias"] = np.zeros(width, np.float32)
        kernel = kernel / np.float32(SMALL)
    if family.name == "dinov2":  # of its pretraining; transformers asks for it
        tensors["embeddings.mask_token"] = np.zeros((1, settings["width"]), np.float32)
    return tensors, kernel, tower.bias


def caveats(towers: Mapping[str, Tower]) -> list[str]:
    """What transformers would do otherwise with a pair, a sentence each."""
    told = []
    for name, tower in towers.items():
        kind = alone(name, tower.config)["model_type"]
        pooled = POOLED.get(kind, "cls")
        if kind in UNKNOWN:
            told.append(
                f"transformers cannot run this pair: its dual encoder knows no {kind}"
                f" as {name} tower; hsjax reads it"
            )
        elif tower.pool != pooled:
            told.append(
                f"the {name} tower is pooled by {tower.pool}, as config.json says;"
                f" transformers would pool by {pooled}, so that its vectors differ"
            )
        if tower.bias is not None and np.any(tower.bias):
            told.append(
                f"the {name} projection has a bias, which transformers leaves out:"
                " train with model.joint_bias=False, and on features without PCA"
            )
    return told


def preprocessor(look: Preprocessing) -> dict:
    """preprocessor_config.json: the inverse of `read_preprocessing`."""
    height, width = look.resize
    crop = dict(zip(("height", "width"), look.size, strict=True))
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": RESAMPLINGS.index(look.resample),
        "do_center_crop": look.resize != look.size,
        "crop_size": crop,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(look.mean),
        "image_std": list(look.std),
    }


def _write(path: Path, values: Mapping) -> None:
    write_atomically(path, json.dumps(values, indent=2, sort_keys=True) + "\n")
