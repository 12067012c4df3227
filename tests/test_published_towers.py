"""Published encoders as towers of the classifier: trained, frozen, kept, reloaded."""

import functools
import json

import jax
import numpy as np
import pytest
from encoders import FROZEN, frozen, published, write_images
from goldens import read_golden
from runs import report, run_config, sentence, train_run
from tiny import leaves

import hsjax
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.published_files import PublishedError, read_published
from hsjax.models.published_start import published_start
from hsjax.models.published_towers import (
    family_of,
    published_encoder,
    tower_settings,
)
from hsjax.models.published_weights import load_parameters
from hsjax.models.text_families import TEXT_FAMILIES
from hsjax.settings.choices import check_choices
from hsjax.settings.model_flaws import stream_flaws
from hsjax.tasks import registry as tasks
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError
from hsjax.trained.opening import resolved


@pytest.mark.slow
def test_frozen_towers_stay_and_the_run_needs_no_original(shop, bert, resnet, tmp_path):
    train_run(frozen(shop, bert, resnet), tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert kept["data"]["image"]["size"] == [24, 24]
    run = hsjax.load(tmp_path / "run")
    for tower, families, place in (
        ("text", TEXT_FAMILIES, bert),
        ("image", IMAGE_FAMILIES, resnet),
    ):
        checkpoint = read_published(place)
        family = families[checkpoint.config["model_type"]]
        _, params, stats = load_parameters(family, checkpoint)
        for mine, theirs in ((run.params, params), (run.stats, stats)):
            if theirs:
                found, expected = leaves(mine[tower]), leaves(theirs)
                assert found.keys() == expected.keys()
                for name, value in expected.items():
                    np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert report(tmp_path / "run")["metrics"]["count/rows"] > 0


@pytest.mark.slow
def test_the_last_layer_may_be_trained(shop, bert, resnet, tmp_path):
    last = read_published(bert).config["num_hidden_layers"] - 1
    rules = ((rf"text/layer{last}/.*", 0.1, True), FROZEN)
    rules += tuple(run_config().optim.rules)
    train_run(published(shop, bert, resnet, **{"optim.rules": rules}), tmp_path)
    run = hsjax.load(tmp_path)
    _, params, _ = load_parameters(TEXT_FAMILIES["bert"], read_published(bert))
    before, after = leaves(params), leaves(run.params["text"])
    moved = {n for n in before if not np.array_equal(before[n], after[n])}
    assert moved
    assert all(f"layer{last}" in name for name in moved)


@pytest.mark.parametrize(
    ("tower", "pool", "found"),
    [
        ("text", "", "mean"),
        ("text", "eot", "eot"),
        ("text", "map", "map"),
        ("image", "", "cls"),
        ("image", "mean", "mean"),
        ("image", "max", "max"),
        ("image", "map", "map"),
    ],
)
def test_pools_are_reached_by_name(shop, bert, tmp_path, tower, pool, found):
    vit = write_images(tmp_path, "vit")
    place = {f"model.{tower}.pool": pool}
    config, checkpoints = resolved(published(shop, bert, vit, **place))
    assert config.model[tower].pool == found
    encoder = published_encoder(
        checkpoints[tower].config,
        dropout=0.0,
        pool=config.model[tower].pool,
        dtype=np.dtype(np.float32),
        name=tower,
    )
    assert encoder.pool == found
    family = family_of(tower, checkpoints[tower].config)
    inputs = family.inputs(tower_settings(tower, checkpoints[tower].config))
    init = functools.partial(encoder.init, training=False)
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
    fresh = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), shapes)
    start = published_start({tower: checkpoints[tower]})({tower: fresh})[tower]
    assert ("pool" in start) == (found == "map")
    new = {k: v for k, v in leaves(start).items() if (np.asarray(v) == 7).all()}
    assert all(name.startswith("['pool']") for name in new)


def test_a_pool_that_config_json_names_is_the_encoders_own(resnet):
    config = read_golden("clip_text_model").config
    assert tower_settings("text", config)["pool"] == "eot"
    assert tower_settings("text", config | {"pool": "mean"})["pool"] == "mean"
    assert (
        tower_settings("text", config | {"pool": "mean"}, pool="max")["pool"] == "max"
    )
    image = read_published(resnet).config
    with pytest.raises(PublishedError, match="is 'cls'; resnet has mean"):
        tower_settings("image", image, pool="cls")


def test_init_from_goes_over_published_towers(shop, bert, tmp_path, monkeypatch):
    text = {"model.modalities": ("title",), "objective.contrastive": 0.0}
    config = published(shop, bert, "", **text, init_from="elsewhere")
    source = lambda config, tree: lambda fresh: {**fresh, "head": "loaded"}  # noqa: E731
    monkeypatch.setattr(tasks, "source_parameters", source)
    fresh = {"text": {"position": np.zeros(1, np.float32)}, "head": "fresh"}
    tree = Taxonomy.from_paths([("42", "4202")])
    start = tasks.beginning(config, tmp_path, tree)(fresh)
    assert start["head"] == "loaded"
    assert start["text"]["position"].any()


def test_streams_that_cannot_be_built_are_told():
    config = run_config().unlock()
    config.data.text.streams.text = ("title",)
    assert not stream_flaws(config)
    config.data.features.text = "somewhere"
    assert "the name 'text' is taken" in stream_flaws(config)[0]
    config = run_config().unlock()
    config.data.text.streams.brand = ("brand",)
    config.model.text.brand = config.model.text.copy_and_resolve_references()
    del config.model.text.brand.published
    assert not stream_flaws(config)
    config.model.text.brand.published = "minilm"
    assert "model.text.brand.published: a stream with" in stream_flaws(config)[0]


def test_features_of_what_is_no_modality_are_refused():
    config = run_config().unlock()
    config.data.features.titel = "somewhere"
    with pytest.raises(ConfigError, match="Did you mean 'title'"):
        check_choices(config.lock())


MISTAKES = [
    ({"data.text.length": 500}, "positions"),
    ({"model.text.published": "/nowhere/at/all"}, "no such directory"),
    ({"model.modalities": ("image",), "objective.contrastive": 0.0}, "no raw text"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, bert, resnet, tmp_path, changes, words):
    assert words in sentence(published(shop, bert, resnet, **changes), tmp_path)
