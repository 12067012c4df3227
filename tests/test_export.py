"""A pair of published encoders leaves in Hugging Face's layout, and comes back."""

import functools
import io
import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoders import (
    ALIGN,
    END_TO_END,
    extraction,
    path_of,
    published,
    write_images,
)
from goldens import read_golden, write_golden
from ml_collections import ConfigDict
from pairs import ANSWERS, LOOK, PAIRS, build_pair, scale_of
from PIL import Image
from runs import TEXT, command, run_config, train_run
from runs import sentence as train_sentence
from safetensors.numpy import load_file
from tiny import leaves
from tokenizers import Tokenizer

import hsjax
from hsjax.data.records import CatalogueError
from hsjax.data.store import start_store
from hsjax.inference.encoder_files import export_run
from hsjax.inference.export_folder import encoder_name
from hsjax.inference.export_towers import tower_group, towers_of_run
from hsjax.models.dual_encoder import (
    Tower,
    caveats,
    write_encoder,
    write_pair,
)
from hsjax.models.one_tower import tower_of
from hsjax.models.preprocessing import read_preprocessing
from hsjax.models.published_files import PublishedError, read_published
from hsjax.models.published_start import published_start
from hsjax.models.published_towers import (
    family_of,
    read_towers,
    settle,
    tower_settings,
)
from hsjax.models.published_weights import load_parameters
from hsjax.tasks.extraction import open_encoder
from hsjax.tasks.registry import user_errors
from hsjax.train.kept import keep_encoders
from hsjax.train.workdir import write_config

EXPORT = "hsjax.export"
every_pair = pytest.mark.parametrize("name", PAIRS)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("vit"), "vit")


def exported(pair, folder: Path) -> Path:
    write_pair(folder, pair.towers, scale=scale_of(pair), look=LOOK)
    return folder


def answers(pair) -> dict:
    """By the names of transformers."""
    outputs, _ = jax.jit(pair.model.apply)(pair.params, pair.stats, pair.batch)
    logits = outputs.scale * outputs.image @ outputs.text.T
    found = (logits, outputs.text, outputs.image)
    return dict(zip(ANSWERS, map(np.asarray, found), strict=True))


@every_pair
def test_transformers_says_the_same_of_an_exported_pair(name, tmp_path):
    pair = build_pair(name, tmp_path)
    assert caveats(pair.towers) == []
    found = answers(pair)
    golden = read_golden(f"dual_{name}")
    for answer in ANSWERS:
        np.testing.assert_allclose(found[answer], golden.outputs[answer], atol=1e-5)
    written = load_file(exported(pair, tmp_path / "pair") / "model.safetensors")
    assert {k: list(v.shape) for k, v in written.items()} == golden.facts["shapes"]


@every_pair
def test_a_tower_comes_back_as_it_was(name, tmp_path):
    pair = build_pair(name, tmp_path)
    folder = exported(pair, tmp_path / "pair")
    config = run_config().unlock()
    config.model.text.published = config.model.image.published = str(folder)
    for tower, checkpoint in read_towers(config).items():
        family = family_of(tower, checkpoint.config)
        _, params, stats = load_parameters(family, checkpoint)
        expected = leaves(pair.params[tower])
        if name == "clip":  # its last linear map is part of the projection now
            expected = {k: v for k, v in expected.items() if "['projection']" not in k}
        found = leaves(params)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
        assert not stats
        settings = tower_settings(tower, checkpoint.config)
        assert settings["pool"] == pair.towers[tower].pool
    assert read_preprocessing(checkpoint.preprocessor) == LOOK


def test_what_transformers_does_otherwise_is_told(tmp_path):
    pair = build_pair("bert_vit", tmp_path, {"model.joint_bias": True}, pool="mean")
    told = " ".join(caveats(pair.towers))
    assert "the text tower is pooled by mean" in told
    assert "transformers would pool by cls" in told
    assert told.count("has a bias") == 2
    assert "image tower is pooled" not in told
    config = json.loads((exported(pair, tmp_path / "p") / "config.json").read_text())
    assert config["text_config"]["pool"] == "mean"
    assert config["model_type"] == "vision-text-dual-encoder"
    tensors = load_file(tmp_path / "p" / "model.safetensors")
    np.testing.assert_array_equal(
        tensors["text_projection.bias"], pair.towers["text"].bias
    )
    other = Tower({"model_type": "resnet"}, {}, {}, "mean", np.zeros((2, 2)), None)
    assert "cannot run this pair" in caveats({"image": other})[0]


@pytest.mark.slow
def test_a_run_that_trained_its_towers_is_exported(shop, bert, vit, tmp_path):
    train_run(published(shop, bert, vit, **ALIGN, **END_TO_END), tmp_path / "run")
    assert export_run(tmp_path / "run", tmp_path / "pair") == []
    run, pair = hsjax.load(tmp_path / "run"), read_published(tmp_path / "pair")
    tensors, scale = pair.tensors, np.exp(run.params["temperature"])
    np.testing.assert_allclose(np.exp(tensors["logit_scale"]), scale, rtol=1e-6)
    kernel = np.asarray(run.params["image_joint"]["projection"]["kernel"])
    found = tensors["visual_projection.weight"].T * 2.0**-14
    np.testing.assert_array_equal(found, kernel)
    look = read_preprocessing(pair.preprocessor)
    assert look.size == (24, 24)
    text = "Women's red cotton dress"
    mine = Tokenizer.from_file(str(tmp_path / "pair" / "tokenizer.json"))
    theirs = run.tokenizer.encode(text)
    assert mine.encode(text).ids == [i for i in theirs.ids if i]

    # the command writes the same, over what was there
    process = command(
        f"--run={tmp_path / 'run'}", f"--output={tmp_path / 'pair'}", module=EXPORT
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == f"all files: {tmp_path / 'pair'}\n"
    again = read_published(tmp_path / "pair")
    assert again.config == pair.config
    for name in pair.tensors:
        np.testing.assert_array_equal(again.tensors[name], pair.tensors[name])

    # features of its towers are what the run's projections are given
    for modality, items in (("title", [text]), ("image", [png()])):
        encoder = open_encoder(extraction(shop, tmp_path / "pair", modality))
        assert encoder.facts["pool"] == "cls"
        (batch,) = encoder.encode(items)
        side = "text" if modality == "title" else "image"
        joint = run.params[f"{side}_joint"]["projection"]["kernel"]
        x = np.asarray(batch.vectors) @ np.asarray(joint)
        answer = run.predict(run.records([{modality: items[0]}]))
        expected = answer.embeddings[side]
        np.testing.assert_allclose(x / np.linalg.norm(x), expected, atol=1e-5)

    # and a new run begins with these towers, their pooling and their looks
    config = published(shop, tmp_path / "pair", tmp_path / "pair")
    checkpoints = read_towers(config)
    config = settle(config, checkpoints)
    assert config.data.text.tokenizer == "published"
    assert config.data.image.size == (24, 24)
    fresh = {t: jax.tree.map(np.zeros_like, run.params[t]) for t in checkpoints}
    started = published_start(checkpoints)(fresh)
    for tower in ("text", "image"):
        found, expected = leaves(started[tower]), leaves(run.params[tower])
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert config.model.text.pool == "cls"


def png():
    """24 x 24 pixels: what the towers here see, so that nothing is cut or resized."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


ONE = {
    **TEXT,
    "model.image.published": "",
    "data.image.resize": (18, 18),
    "data.image.size": (16, 16),
    "model.text.pool": "cls",
    "train.steps": 2,
    "train.eval_every": 2,
}


@pytest.mark.slow
def test_the_only_published_tower_is_exported_alone(shop, bert, vit, tmp_path):
    train_run(published(shop, bert, vit, **ONE), tmp_path / "run")
    told = " ".join(export_run(tmp_path / "run", tmp_path / "bert"))
    assert "their cls" in told
    card = (tmp_path / "bert" / "README.md").read_text()
    assert f"- {told}\n" in card
    assert f"| title | {bert.name} | bert | cls |" in card
    assert not re.search(r"[| `]/", card), "no place of this machine"
    run, checkpoint = hsjax.load(tmp_path / "run"), read_published(tmp_path / "bert")
    assert checkpoint.config["model_type"] == "bert"
    _, params, _ = load_parameters(family_of("text", checkpoint.config), checkpoint)
    found, expected = leaves(params), leaves(run.params["text"])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    before = read_published(bert).tensors
    name = "embeddings.word_embeddings.weight"
    assert np.abs(checkpoint.tensors[name] - before[name]).max() > 0
    encoder = open_encoder(extraction(shop, tmp_path / "bert", "title"))
    assert encoder.facts["pool"] == "cls"
    # never over an encoder, its own of before included
    with pytest.raises(PublishedError, match="take another --output"):
        export_run(tmp_path / "run", tmp_path / "bert")


@pytest.mark.parametrize("name", ["clip_text_projected", "clip_image", "resnet_basic"])
def test_an_encoder_alone_comes_back_as_it_was(name, tmp_path):
    side = "text" if "text" in name else "image"
    first = read_published(write_golden(name, tmp_path / "before"))
    settings, params, stats = load_parameters(family_of(side, first.config), first)
    write_encoder(tmp_path / "after", side, first.config, params, stats)
    second = read_published(tmp_path / "after")
    family = family_of(side, second.config)
    again = load_parameters(family, second)
    assert again[0] == settings
    for mine, theirs in zip(again[1:], (params, stats), strict=True):
        found, expected = leaves(mine), leaves(theirs)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


def on_features(shop, title, image, **changes):
    config = run_config(path_of(shop), train__steps=4, train__eval_every=4).unlock()
    config.data.features.title, config.data.features.image = str(title), str(image)
    config.data.columns.text = ("title",)
    config.update_from_flattened_dict(changes)
    return config.lock()


@pytest.mark.parametrize("reduced", [pytest.param(False, marks=pytest.mark.slow), True])
def test_heads_on_features_are_exported_with_their_encoders(
    shop,
    bert,
    stores,
    reduced,
    tmp_path,
):
    """embedding(raw text) by the exported parts = the run's own embedding."""
    shutil.copytree(stores, tmp_path / "stores")
    parts = {m: Path(m) / ("pca" if reduced else "") for m in ("title", "image")}
    folders = {m: tmp_path / "stores" / part for m, part in parts.items()}
    config = on_features(shop, **folders, **{"model.joint_bias": False}).unlock()
    if reduced:  # a second stream, with a tower from scratch
        config.data.columns.text = ("title", "brand")
        config.data.text.streams.brand = ("brand",)
        config.model.modalities = ("title", "brand", "image")
    train_run(config.lock(), tmp_path / "run")
    (tmp_path / "stores").rename(tmp_path / "moved")
    export_run(tmp_path / "run", tmp_path / "alone")  # by what the run keeps itself
    moved = {m: tmp_path / "moved" / part for m, part in parts.items()}
    notes = export_run(tmp_path / "run", tmp_path / "pair", features=moved)
    told = " ".join(notes)
    assert ("has a bias" in told) == reduced
    assert ("of the text streams title, brand it holds the first" in told) == reduced
    assert "pooled by mean" in told
    card = (tmp_path / "pair" / "README.md").read_text()
    assert all(f"- {note}\n" in card for note in notes)
    assert f"| title | {bert.name} | bert | mean |" in card
    assert not re.search(r"[| `]/", card), "no place of this machine"
    assert "--config.model.image.published=FOLDER" in card
    run = hsjax.load(tmp_path / "run", features=moved)
    text = "Women's red cotton dress"
    answer = run.predict(run.records([{"title": text}]))
    checkpoint = tower_of(read_published(tmp_path / "pair"), "text")
    family = family_of("text", checkpoint.config)
    settings, params, _ = load_parameters(family, checkpoint)
    module = family.module(**settings, dtype=jnp.dtype("float32"))
    tokenizer = Tokenizer.from_file(str(tmp_path / "pair" / "tokenizer.json"))
    ids = jnp.array([tokenizer.encode(text).ids])
    encode = jax.jit(functools.partial(module.apply, training=False))
    x = np.asarray(encode({"params": params}, ids, ids >= 0))
    tensors = load_file(tmp_path / "pair" / "model.safetensors")
    alone = load_file(tmp_path / "alone" / "model.safetensors")
    assert alone.keys() == tensors.keys()
    assert all(np.array_equal(alone[name], tensors[name]) for name in tensors)
    x = x @ tensors["text_projection.weight"].T * 2.0**-14
    if reduced:
        x = x + tensors["text_projection.bias"]
    x = x / np.linalg.norm(x)
    np.testing.assert_allclose(x, answer.embeddings["text"], atol=1e-5)

    # with other weights its vectors would not be those of the projections
    place = bert / "config.json"
    kept = place.read_text()
    place.write_text(json.dumps(json.loads(kept) | {"layer_norm_eps": 1e-5}))
    try:
        with pytest.raises(CatalogueError, match="no longer the encoder"):
            export_run(tmp_path / "run", tmp_path / "out", features=moved)
    finally:
        place.write_text(kept)
    assert not (tmp_path / "out").exists()


def workdir_of(config, folder: Path) -> Path:
    """As far as an export looks before it loads anything."""
    folder.mkdir()
    write_config(config, folder)
    (folder / "taxonomy.json").write_text("{}")
    return folder


def test_mistakes_end_in_sentences(shop, bert, vit, tmp_path):
    scratch = workdir_of(run_config(path_of(shop)), tmp_path / "scratch")
    with pytest.raises(PublishedError, match="title tower was trained from scratch"):
        export_run(scratch, tmp_path / "out")
    text = workdir_of(run_config({**path_of(shop), **TEXT}), tmp_path / "text")
    assert towers_of_run(text) == ["title"]  # alone it needs no other's layout
    config = published(shop, bert, vit, **{"model.text.published": ""})
    half = workdir_of(config, tmp_path / "half")
    keep_encoders({"image": {"config": read_published(vit).config}}, half)
    assert towers_of_run(half) == ["image"]  # without the tower from scratch
    run = workdir_of(published(shop, bert, vit), tmp_path / "run")
    keep_encoders(
        {
            t: {"config": read_published(x).config}
            for t, x in (("text", bert), ("image", vit))
        },
        run,
    )
    start_store(tmp_path / "store", {"shape": [3]})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(
        '{"config": {}}'
    )  # of an extraction
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "README.md").write_text("# Of something else\n")
    for taken in (
        scratch,
        bert,
        tmp_path / "page",
        tmp_path / "store",
        tmp_path / "other",
    ):
        with pytest.raises(PublishedError, match="take another --output"):
            export_run(run, taken)
    with pytest.raises(SystemExit, match="no workdir of a run"), user_errors():
        export_run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    pair = build_pair("bert_vit", tmp_path / "towers")
    folder = exported(pair, tmp_path / "pair")
    config = json.loads((folder / "config.json").read_text())
    del config["vision_config"]
    (folder / "config.json").write_text(json.dumps(config))
    told = train_sentence(published(shop, bert, folder), tmp_path / "run")
    assert "lacks vision_config" in told


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/me/minilm", "minilm"),
        ("../weights/minilm/", "minilm"),
        ("~/minilm", "minilm"),
        ("weights/minilm", "weights/minilm"),
        ("sentence-transformers/all-MiniLM-L6-v2@v1", None),
        ("trained from scratch", None),
    ],
)
def test_a_card_names_no_place_of_this_machine(source, name):
    assert encoder_name(source) == (name or source)


def test_a_stream_of_its_own_is_pooled_as_it_says(shop):
    config = run_config(path_of(shop)).unlock()
    own = {k: v for k, v in config.model.text.items() if not k.startswith("publ")}
    with config.model.text.unlocked():
        config.model.text.brand = ConfigDict({**own, "pool": "max"})
    assert tower_group(config, "brand").pool == "max"
    assert tower_group(config, "title").pool == config.model.text.pool
    assert tower_group(config, "image") is config.model.image
