"""Small models of two published towers, and how they are exported."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from goldens import write_golden
from tiny import TEXTS, drawn, ragged_tree, tiny_batch, tiny_config, tiny_spec

from hsjax.models.build import Model, build_model
from hsjax.models.dual_encoder import Tower
from hsjax.models.one_tower import tower_of
from hsjax.models.preprocessing import Preprocessing
from hsjax.models.published_files import read_published
from hsjax.models.published_start import published_start
from hsjax.models.published_towers import (
    TOWERS,
    tower_configs,
    tower_settings,
)

PAIRS = {
    "bert_vit": ("bert", "vit"),
    "roberta_dinov2": ("roberta", "dinov2"),
    "albert_deit": ("albert", "deit"),
    "clip": ("clip", "clip_image"),
}
SIDE, ROWS, END, POOL = 20, 4, 3, "cls"
HALF = (0.5, 0.5, 0.5)
LOOK = Preprocessing(HALF, HALF, (SIDE, SIDE), (SIDE, SIDE), "bicubic")
ANSWERS = ("logits_per_image", "text_embeds", "image_embeds")


class Pair(NamedTuple):
    """A small model of two published towers.

    Attributes:
      towers: as they are exported.
    """

    model: Model
    params: dict
    stats: dict
    batch: dict
    towers: dict[str, Tower]


def build_pair(name: str, folder: Path, changes=(), pool: str = POOL) -> Pair:
    """Of a name in `PAIRS`; `changes` are dotted keys of the config."""
    text, picture = PAIRS[name]
    write_golden(text, folder / "text")
    write_golden(picture, folder / "image")
    encoders = {t: tower_of(read_published(folder / t), t) for t in TOWERS}
    # CLIP's texts have their own
    config = pair_config("" if text == "clip" else pool, changes)
    tree = ragged_tree(0)
    spec = tiny_spec(config, tree, (1, SIDE, SIDE))
    configs = tower_configs(encoders)
    model = build_model(config, spec, tree, vocab_size=0, published=configs)
    batch = tiny_batch(spec, tree, ROWS) | {"image": pictures()}
    ids, mask = batch["title_ids"], batch["title_mask"]
    last = np.arange(dict(TEXTS)["title"])[None] == mask.sum(axis=1, keepdims=True) - 1
    batch["title_ids"] = np.where(last, END, ids).astype(np.int32)
    params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
    start = published_start(encoders)
    params, stats = start(drawn(params)), start(drawn(stats)) if stats else {}
    towers = {}
    for tower, found in configs.items():
        kernel = params[f"{tower}_joint"]["projection"]
        used = tower_settings(tower, found, pool=config.model[tower].pool)["pool"]
        own = (params[tower], stats.get(tower, {}), used, np.asarray(kernel["kernel"]))
        towers[tower] = Tower(found, *own, kernel.get("bias"))
    return Pair(model, params, stats, batch, towers)


def pair_config(pool: str, changes):
    config = tiny_config(model__joint_bias=False, model__text__pool=pool)
    config.model.image.mean, config.model.image.std = LOOK.mean, LOOK.std
    config.update_from_flattened_dict(dict(changes))
    return config


def pictures() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (ROWS, 1, SIDE, SIDE, 3), np.uint8)


def scale_of(pair: Pair) -> float:
    return float(np.exp(pair.params["temperature"]))
