"""A run on cached features answers new products after its stores are gone."""

import json
import logging
import shutil

import numpy as np
import pytest
from runs import TEXT, train_run
from safetensors.numpy import load_file, save_file
from test_live_features import on_features

import hsjax
from hsjax.data.records import CatalogueError
from hsjax.features import store_encoder
from hsjax.train.kept import kept_stores

GOODS = [{"title": f"a grey boot of felt {k}"} for k in range(5)] + [{"title": ""}]


@pytest.fixture
def place(stores, tmp_path):
    """Stores that this test may remove: components of titles as `title`."""
    shutil.copytree(stores / "title" / "pca", tmp_path / "stores" / "title")
    return tmp_path / "stores"


@pytest.fixture
def workdir(shop, place, tmp_path):
    steps = {"train__steps": 2, "train__eval_every": 2}
    config = on_features(shop, place, "title", **TEXT, **steps)
    train_run(config, tmp_path / "run")
    return tmp_path / "run"


def answered(workdir, **options):
    run = hsjax.load(workdir, **options)
    return run.predict(run.records(GOODS))


def test_components_are_kept_with_the_run(workdir, place, caplog):
    kept = workdir / "kept_stores" / "title"
    assert {p.name for p in kept.iterdir()} == {"store.json", "pca.safetensors"}
    with_store = answered(workdir)
    shutil.rmtree(place)
    with caplog.at_level(logging.WARNING, "hsjax"):
        alone = answered(workdir)
    assert f"{place / 'title'} is gone: what it held is encoded anew" in caplog.text
    np.testing.assert_allclose(alone.log_prob, with_store.log_prob, atol=1e-5)
    np.testing.assert_allclose(alone.prob, with_store.prob, atol=1e-5)
    assert alone.present["title"].tolist() == [True] * 5 + [False]
    (kept / "pca.safetensors").unlink()
    with pytest.raises(CatalogueError, match="other principal components"):
        answered(workdir)


def test_a_place_that_was_named_is_not_passed_over(workdir, place, tmp_path):
    shutil.rmtree(place)
    with pytest.raises(CatalogueError, match="holds no features"):
        answered(workdir, features={"title": tmp_path / "elsewhere"})
    shutil.rmtree(workdir / "kept_stores")  # a run of an older version
    with pytest.raises(CatalogueError, match="--features=title=DIR"):
        answered(workdir)


def test_other_components_of_the_same_rows_are_refused(workdir, place):
    """Another machine may give them other signs, and all facts stay the same."""
    path = place / "title" / "pca.safetensors"
    found = load_file(path)
    save_file(found | {"components": -found["components"]}, path)
    with pytest.raises(CatalogueError, match="other principal components in pca.safe"):
        answered(workdir)
    features = kept_stores(workdir)
    del features["title"]["components"]  # an older run cannot know
    (workdir / "features.json").write_text(json.dumps(features))
    assert len(answered(workdir)) == len(GOODS)


def test_an_encoder_that_moved_is_named_in_the_store_of_the_run(
    place, bert, tmp_path, workdir
):
    moved = tmp_path / "moved"
    shutil.copytree(bert, moved)
    expected = answered(workdir)
    shutil.rmtree(place)
    path = workdir / "kept_stores" / "title" / "store.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"source": str(tmp_path / "gone")}))
    store_encoder._loaded.cache_clear()
    with pytest.raises(CatalogueError, match="write its new place as 'source' into"):
        answered(workdir)
    path.write_text(json.dumps(facts | {"source": str(moved)}))
    found = answered(workdir)
    np.testing.assert_allclose(found.log_prob, expected.log_prob, atol=1e-5)
