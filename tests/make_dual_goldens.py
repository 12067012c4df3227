"""Writes tests/parity/dual_*.npz: what transformers says of exported pairs.

    python tests/make_dual_goldens.py

Needs torch. A pair's towers are the random models of the other goldens; projections
are drawn. hsjax writes the pair, transformers' VisionTextDualEncoderModel reads it,
which is refused where a tensor is missing or left over, and answers in float32.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from layouts import PARITY, read_golden, write_layout
from test_parity_image import write_golden
from tiny import TEXTS, drawn, ragged_tree, tiny_batch, tiny_config, tiny_spec

from hsjax.models.build import Model, build_model
from hsjax.models.dual import Tower, tower_of, write_pair
from hsjax.models.preprocessing import Preprocessing
from hsjax.models.pretrained import read_checkpoint
from hsjax.models.published import (
    TOWERS,
    published_configs,
    published_start,
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
    golden = read_golden(text)
    write_layout(folder / "text", golden.config, golden.tensors)
    (folder / "image").mkdir(parents=True)
    write_golden(picture, folder / "image")
    checkpoints = {t: tower_of(read_checkpoint(folder / t), t) for t in TOWERS}
    # CLIP's texts have their own
    config = pair_config("" if text == "clip" else pool, changes)
    tree = ragged_tree(0)
    spec = tiny_spec(config, tree, (1, SIDE, SIDE))
    configs = published_configs(checkpoints)
    model = build_model(config, spec, tree, vocab_size=0, published=configs)
    batch = tiny_batch(spec, tree, ROWS) | {"image": pictures()}
    ids, mask = batch["title_ids"], batch["title_mask"]
    last = np.arange(dict(TEXTS)["title"])[None] == mask.sum(axis=1, keepdims=True) - 1
    batch["title_ids"] = np.where(last, END, ids).astype(np.int32)
    params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
    start = published_start(checkpoints)
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


def answer(folder: Path, batch: dict) -> tuple[dict, dict]:
    """(answers, {tensor: shape} as it saves them) of transformers' model."""
    import torch
    from safetensors.numpy import load_file
    from transformers import VisionTextDualEncoderModel

    model, told = VisionTextDualEncoderModel.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(told.values()), told
    pixels = (batch["image"][:, 0].astype(np.float32) / 255 - 0.5) / 0.5
    with torch.no_grad():
        found = model.eval()(
            input_ids=torch.tensor(batch["title_ids"]).long(),
            attention_mask=torch.tensor(batch["title_mask"]).long(),
            pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2)),
        )
    model.save_pretrained(folder / "again")
    saved = load_file(folder / "again" / "model.safetensors")
    shapes = {name: tensor.shape for name, tensor in saved.items()}
    return {name: found[name].numpy() for name in ANSWERS}, shapes


def main() -> None:
    for name in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            pair = build_pair(name, Path(folder))
            target = Path(folder) / "pair"
            write_pair(target, pair.towers, scale=scale_of(pair), look=LOOK)
            found, shapes = answer(target, pair.batch)
        path = PARITY / f"dual_{name}.npz"
        np.savez_compressed(path, shapes=json.dumps(shapes), **found)
        print(f"{path} {path.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
