"""A run knows the encoders and stores that it stands on, and refuses others."""

import json
import logging
import shutil

import numpy as np
import pytest
from runs import TEXT, run_config, train_run
from stores import extraction, path_of, write_bert, write_images
from test_mistakes import sentence
from test_published import published

import hsjax
from hsjax.data.records import CatalogueError
from hsjax.data.run_stores import read_places
from hsjax.evaluation.predictions import read_predictions
from hsjax.models.published import NOT_CHOSEN, settle
from hsjax.opening import resolved
from hsjax.scoring import evaluate_run
from hsjax.train.workdir import keep_encoders, kept_encoders, kept_stores

PART = {"part": "test", "corrupt": "", "seed": 0}
SHORT = {"train.steps": 2, "train.eval_every": 1, "optim.schedule": "constant"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory, shop):
    return write_bert(tmp_path_factory.mktemp("bert"), shop)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("resnet"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, shop, bert):
    folder = tmp_path_factory.mktemp("store") / "title"
    train_run(extraction(shop, bert, "title", stored="float32"), folder)
    return folder


def on_titles(shop, folder, **changes):
    text = {**path_of(shop), **TEXT, **SHORT, "data.columns.text": ("title",)}
    return run_config({**text, "data.features.title": str(folder), **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory, shop, store):
    workdir = tmp_path_factory.mktemp("run") / "run"
    train_run(on_titles(shop, store), workdir)
    return workdir


def another(store, folder):
    """A copy whose facts say that another encoder made it."""
    shutil.copytree(store, folder)
    facts = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(facts | {"weights": "0"}))
    return folder


def test_a_run_keeps_what_its_store_was(shop, store, run, tmp_path, monkeypatch):
    kept = kept_stores(run)["title"]
    assert kept["folder"] == str(store)
    assert kept["facts"] == json.loads((store / "store.json").read_text())
    # wherever it is asked from
    monkeypatch.chdir(tmp_path)
    assert hsjax.load(run).config.data.features.title == str(store)


def test_another_store_is_refused(shop, store, run, tmp_path):
    other = another(store, tmp_path / "other")
    for steps in (2, 4):  # a run that is done, and one that is to go on
        told = sentence(on_titles(shop, other, **{"train.steps": steps}), run)
        assert f"{other} holds other features than {run} was trained on" in told
        assert "-> '0')" in told
    with pytest.raises(CatalogueError, match="holds other features than"):
        hsjax.load(run, features={"title": other})
    asked = {**PART, "source": None, "features": {"title": other}}
    with pytest.raises(CatalogueError, match="holds other features than"):
        evaluate_run(run, tmp_path / "x", **asked)
    raw = on_titles(shop, "")
    assert f"data.features.title: '{store}' -> ''" in sentence(raw, run)


def test_a_store_may_move(shop, store, run, tmp_path):
    workdir, place = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(run, workdir)
    shutil.copytree(store, place)
    kept = json.loads((workdir / "features.json").read_text())
    kept["title"]["folder"] = str(tmp_path / "gone")
    (workdir / "features.json").write_text(json.dumps(kept))
    with pytest.raises(CatalogueError, match="--features=title=DIR"):
        hsjax.load(workdir)
    with pytest.raises(CatalogueError, match="Did you mean 'title'"):
        hsjax.load(workdir, features={"titel": place})
    features = read_places([f"title={place}"])
    evaluate_run(workdir, tmp_path / "out", source=None, features=features, **PART)
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    mine = read_predictions(run / "predictions.parquet")
    np.testing.assert_array_equal(found.log_prob, mine.log_prob)
    # a run that goes on finds it there, too, and remembers
    train_run(on_titles(shop, place, **{"train.steps": 3}), workdir)
    assert kept_stores(workdir)["title"]["folder"] == str(place)
    with pytest.raises(CatalogueError, match="write MODALITY=DIR"):
        read_places(["title"])


def test_a_warm_start_needs_no_store_of_its_source(shop, store, run, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(run, source)
    text = (source / "features.json").read_text()
    (source / "features.json").write_text(text.replace(str(store), "/gone"))
    text = (source / "config.json").read_text()
    (source / "config.json").write_text(text.replace(str(store), "/gone"))
    train_run(on_titles(shop, store, init_from=str(source)), tmp_path / "run")
    assert hsjax.load(tmp_path / "run").step


def test_a_published_run_needs_its_originals_once(shop, resnet, tmp_path, caplog):
    bert = write_bert(tmp_path, shop)
    rules = (("text/.*", 0.0, False), *run_config().optim.rules)
    config = published(shop, bert, resnet, **SHORT, **{"optim.rules": rules})
    with config.unlocked():
        config.data.image.resize, config.data.image.size = NOT_CHOSEN[0]
    workdir = tmp_path / "run"
    with caplog.at_level(logging.INFO, "hsjax"):
        train_run(config, workdir)
    assert "text is frozen, yet its dropout of 0.1 stays on" in caplog.text
    kept = kept_encoders(workdir)
    assert kept["text"]["source"] == str(bert)
    assert len(kept["text"]["weights"]) == 64
    held = json.loads((workdir / "config.json").read_text())["config"]
    assert held["data"]["text"]["tokenizer"] == "published"
    assert held["data"]["image"]["size"] == held["data"]["image"]["resize"] == [24, 24]
    assert held["model"]["text"]["pool"] == held["model"]["image"]["pool"] == "mean"

    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (bert / name).unlink()
    assert "is done" in train_run(config, workdir)
    longer = config.copy_and_resolve_references().unlock()
    longer.train.steps = 3
    train_run(longer.lock(), workdir)
    assert hsjax.load(workdir).step
    assert kept_encoders(workdir) == kept
    # what has no checkpoint would need it
    shutil.rmtree(workdir / "checkpoints")
    longer.unlock().train.steps = 4
    assert str(bert) in sentence(longer.lock(), workdir)


def test_a_file_of_a_first_try_is_removed(tmp_path):
    keep_encoders({"text": {"config": {}}}, tmp_path)
    assert kept_encoders(tmp_path)
    keep_encoders({}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["check", "baseline"])
def test_other_tasks_know_the_encoders_too(shop, bert, resnet, tmp_path, task):
    text = train_run(published(shop, bert, resnet, task=task), tmp_path)
    if task == "check":
        count = int(text.split("| parameters | ")[1].split(" ")[0].replace(",", ""))
        config, checkpoints = resolved(published(shop, bert, resnet))
        sizes = [
            np.prod(c.tensors.header(name)[0], dtype=int)
            for c in checkpoints.values()
            for name in c.tensors
        ]
        assert count > 0.8 * sum(sizes)
        assert tuple(config.data.image.size) == (24, 24)


def test_sizes_that_were_chosen_stay(shop, bert, resnet):
    chosen = {"data.image.resize": (40, 40), "data.image.size": (32, 32)}
    config, _ = resolved(published(shop, bert, resnet, **chosen))
    assert tuple(config.data.image.size) == (32, 32)
    image = run_config().data.image
    start = settle(run_config(), {})
    assert start.data.image.to_dict() == image.to_dict()
    from configs.base import get_config

    image = get_config().data.image
    assert (image.resize, image.size) == NOT_CHOSEN[0]


def test_a_source_with_another_tokenizer_is_refused(shop, bert, resnet, run, tmp_path):
    config = published(shop, bert, resnet, init_from=str(run))
    assert "reads texts by another tokenizer than" in sentence(config, tmp_path)


def test_a_tokenizer_that_does_not_fit_is_refused(shop, bert, resnet, tmp_path):
    broken = tmp_path / "bert"
    shutil.copytree(bert, broken)
    facts = json.loads((broken / "tokenizer.json").read_text())
    words = facts["model"]["vocab"]
    words |= {f"more{i}": len(words) + i for i in range(9)}
    (broken / "tokenizer.json").write_text(json.dumps(facts))
    told = sentence(published(shop, broken, resnet), tmp_path / "run")
    assert "do not belong together" in told


def test_an_untrained_head_has_no_say(shop, store, tmp_path):
    resnet_free = {"objective.classification": 0.0, "objective.contrastive": 1.0}
    changes = {**resnet_free, "model.modalities": ("title", "image")}
    config = on_titles(shop, store, **changes, **{"train.monitor": "loss"})
    train_run(config, tmp_path / "run")
    found = read_predictions(tmp_path / "run" / "predictions.parquet")
    assert not found.prob.any()
    assert np.isnan(found.log_prob).all()
    assert set(found.topk_codes.ravel()) == {""}
    assert set(found.decoded["path"].ravel()) == {""}
    assert set(found.truth[:, 0]) != {""}
    run = hsjax.load(tmp_path / "run")
    answers = run.predict(run.records([{"title": "a red boot"}]), confidence=0.5)
    assert answers.confident.tolist() == [""]
    assert answers.embeddings["text"].any()

    titles = tmp_path / "titles.csv"
    titles.write_text("title\na red boot\n")
    options = {**PART, "source": str(titles), "zero_shot": "name"}
    with pytest.raises(CatalogueError, match="--zero_shot scores rows by their label"):
        evaluate_run(tmp_path / "run", tmp_path / "out", **options)
