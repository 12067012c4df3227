"""Published encoders as towers of the classifier: trained, frozen, kept, reloaded."""

import json

import jax
import numpy as np
import pytest
from runs import report, run_config, train_run
from stores import path_of, write_bert, write_images
from test_mistakes import sentence

import hsjax
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.pretrained import load_parameters, read_checkpoint
from hsjax.models.text_families import TEXT_FAMILIES

FROZEN = (r"(text|image)/.*", 0.0, False)


@pytest.fixture(scope="module")
def bert(tmp_path_factory, shop):
    return write_bert(tmp_path_factory.mktemp("bert"), shop)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("resnet"))


def published(shop, bert, resnet, **changes):
    config = run_config(path_of(shop), train__steps=6, train__eval_every=3).unlock()
    config.model.text.published, config.model.image.published = str(bert), str(resnet)
    config.data.image.size = config.data.image.resize = (0, 0)
    config.data.text.length = 12
    config.update_from_flattened_dict(changes)
    return config.lock()


def leaves(tree):
    return {jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(tree)}


def test_frozen_towers_stay_and_the_run_needs_no_original(shop, bert, resnet, tmp_path):
    rules = (FROZEN, *run_config().optim.rules)
    config = published(shop, bert, resnet, **{"optim.rules": rules})
    train_run(config, tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert kept["data"]["image"]["size"] == [24, 24]
    run = hsjax.load(tmp_path / "run")
    for tower, families, place in (
        ("text", TEXT_FAMILIES, bert),
        ("image", IMAGE_FAMILIES, resnet),
    ):
        checkpoint = read_checkpoint(place)
        family = families[checkpoint.config["model_type"]]
        _, params, stats = load_parameters(family, checkpoint)
        for mine, theirs in ((run.params, params), (run.stats, stats)):
            if theirs:
                found, expected = leaves(mine[tower]), leaves(theirs)
                assert found.keys() == expected.keys()
                for name, value in expected.items():
                    np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert report(tmp_path / "run")["metrics"]["count/rows"] > 0


def test_the_last_layer_may_be_trained(shop, bert, resnet, tmp_path):
    last = read_checkpoint(bert).config["num_hidden_layers"] - 1
    rules = ((rf"text/layer{last}/.*", 0.1, True), FROZEN)
    rules += tuple(run_config().optim.rules)
    train_run(published(shop, bert, resnet, **{"optim.rules": rules}), tmp_path)
    run = hsjax.load(tmp_path)
    _, params, _ = load_parameters(TEXT_FAMILIES["bert"], read_checkpoint(bert))
    before, after = leaves(params), leaves(run.params["text"])
    moved = {n for n in before if not np.array_equal(before[n], after[n])}
    assert moved
    assert all(f"layer{last}" in name for name in moved)


MISTAKES = [
    ({"data.text.length": 500}, "positions"),
    ({"model.text.published": "/nowhere/at/all"}, "no such directory"),
    ({"model.modalities": ("image",), "objective.contrastive": 0.0}, "no raw text"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, bert, resnet, tmp_path, changes, words):
    assert words in sentence(published(shop, bert, resnet, **changes), tmp_path)
