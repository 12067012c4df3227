"""Shapes of published families with random parameters, trained on a catalogue."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoders import path_of
from runs import ROOT, run_config, sentence, train_run

import hsjax
from hsjax.models.one_tower import families_of
from hsjax.models.published_files import PublishedError, read_published

TINY = sorted((ROOT / "configs/fashion/tiny").iterdir())


@pytest.mark.parametrize("folder", TINY, ids=lambda folder: folder.name)
def test_every_tiny_family_is_one_that_can_be_built(folder):
    published = read_published(folder, shape_only=True)
    assert not published.tensors
    kind = published.config["model_type"]
    side = "text" if kind in families_of("text") else "image"
    family = families_of(side)[kind]
    settings = family.settings(published.config)
    module = family.module(**settings, dtype=jnp.dtype("float32"))
    shapes = jax.eval_shape(
        lambda *x: module.init(jax.random.key(0), *x, training=False),
        *family.inputs(settings | {"image_size": (64, 48)}),
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) < 2_000_000
    assert (folder / "preprocessor_config.json").exists() == (side == "image")
    with pytest.raises(PublishedError, match="has neither model.safetensors"):
        read_published(folder)


def shape_of(folder: Path, source: Path) -> Path:
    """The directory without its weights and its tokenizer."""
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    return folder


def test_a_run_begins_at_random_and_answers_without_the_directory(shop, bert, tmp_path):
    encoder = shape_of(tmp_path / "bert", bert)
    config = run_config({**path_of(shop), "train.steps": 2, "train.eval_every": 2})
    config = config.unlock()
    config.update_from_flattened_dict(
        {
            "model.modalities": ("title",),
            "objective.contrastive": 0.0,
            "model.text.published": str(encoder),
            "model.text.random": True,
        }
    )
    train_run(config.lock(), tmp_path / "run")
    kept = json.loads((tmp_path / "run/config.json").read_text())["config"]
    assert kept["data"]["text"]["tokenizer"] == "train"
    shutil.rmtree(encoder)
    run = hsjax.load(tmp_path / "run")
    theirs = read_published(bert).tensors
    name = next(n for n in theirs if n.endswith("word_embeddings.weight"))
    mine = np.asarray(run.params["text"]["token_embedding"])
    assert mine.shape == theirs[name].shape
    assert np.abs(mine - theirs[name]).max() > 0.1
    (answer,) = run.predict(run.records([{"title": "red shoes"}])).decoded["path"]
    assert answer[0]


def test_half_a_choice_is_refused(shop, tmp_path):
    config = run_config({**path_of(shop), "model.text.random": True})
    assert "model.text.random is of an encoder's shape" in sentence(config, tmp_path)
