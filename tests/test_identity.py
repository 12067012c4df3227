"""A run knows the encoders and stores that it stands on, and refuses others."""

import json
import logging
import shutil

import numpy as np
import pytest
from encoders import (
    frozen,
    path_of,
    published,
    records,
    write_bert,
)
from runs import TEXT, command, report, run_config, sentence, train_run

import hsjax
from hsjax.batch import BatchSpec
from hsjax.data.features import text_key
from hsjax.data.records import CatalogueError
from hsjax.data.run_stores import read_places
from hsjax.data.store import add_part, start_store
from hsjax.evaluation.predictions import read_predictions
from hsjax.models.published_files import PublishedError
from hsjax.models.published_towers import NOT_CHOSEN, settle
from hsjax.tasks import registry as tasks
from hsjax.taxonomy import Taxonomy
from hsjax.train.kept import keep_encoders, kept_encoders, kept_stores
from hsjax.train.watch import tell_idle_settings
from hsjax.trained.opening import resolved
from hsjax.trained.scoring import evaluate_run

PART = {"part": "test", "corrupt": "", "seed": 0}
SHORT = {"train.steps": 2, "train.eval_every": 1, "optim.schedule": "constant"}


@pytest.fixture(scope="module")
def store(stores):
    return stores / "title"


def names_of(shop):
    """A file with a name of every class, which a label text needs."""
    path = shop.with_name("names.csv")
    codes = sorted({r.path[-1] for r in records(run_config(path_of(shop))) if r.path})
    path.write_text("\n".join(["code,name", *(f"{c},goods {c}" for c in codes)]))
    return str(path)


def on_titles(shop, folder, **changes):
    text = {
        **path_of(shop),
        **TEXT,
        **SHORT,
        "data.columns.text": ("title",),
        "taxonomy.names": names_of(shop),
    }
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


@pytest.mark.slow
def test_a_store_may_move(shop, store, run, tmp_path):
    workdir, place = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(run, workdir)
    shutil.copytree(store, place)
    shutil.rmtree(workdir / "kept_stores")  # as an older run, which needs the store
    kept = json.loads((workdir / "features.json").read_text())
    kept["title"]["folder"] = str(tmp_path / "gone")
    (workdir / "features.json").write_text(json.dumps(kept))
    both = r"--features=title=DIR, in Python with features=\{'title': DIR\}"
    with pytest.raises(CatalogueError, match=both):
        hsjax.load(workdir)
    with pytest.raises(CatalogueError, match="Did you mean 'title'"):
        hsjax.load(workdir, features={"titel": place})
    asked = f"--run={workdir}", f"--features=title={place}", "--zero_shot=name"
    process = command(*asked, f"--output={tmp_path / 'out'}", module="hsjax.evaluate")
    error = process.communicate(timeout=600)[1]
    assert process.returncode == 0, error
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    mine = read_predictions(run / "predictions.parquet")
    np.testing.assert_array_equal(found.log_prob, mine.log_prob)
    assert report(tmp_path / "out")["metrics"]["zero_shot/title_rows"] > 0
    # a run that goes on finds it there, too, and remembers
    train_run(on_titles(shop, place, **{"train.steps": 3}), workdir)
    assert kept_stores(workdir)["title"]["folder"] == str(place)


def test_places_are_read_in_one_way_only():
    assert read_places(["title=a", "image=b,brand=c"]) == dict(
        title="a", image="b", brand="c"
    )
    with pytest.raises(CatalogueError, match="write MODALITY=DIR"):
        read_places(["title"])


@pytest.mark.slow
def test_several_streams_on_features_and_a_raw_one_beside(shop, store, tmp_path):
    products = [r.texts for r in records(run_config(path_of(shop)))]
    keys = sorted({text_key(p["brand"]) for p in products} - {""})
    start_store(tmp_path / "brand", {"shape": [5]})
    vectors = np.random.default_rng(0).normal(size=(len(keys), 5))
    add_part(tmp_path / "brand", keys, vectors.astype(np.float32))
    names = ("title", "brand", "words")
    config = on_titles(shop, store, **{"model.modalities": names}).unlock()
    config.data.columns.text = ("title", "brand")
    config.data.text.streams.brand = ("brand",)
    config.data.text.streams.words = ("title", "brand")
    config.data.features.brand = str(tmp_path / "brand")
    train_run(config.lock(), tmp_path / "run")
    run = hsjax.load(tmp_path / "run")
    joints = {"title_joint", "brand_joint", "text_joint"}
    assert joints | {"text"} <= run.params.keys()
    assert not {"title", "brand", "words"} & run.params.keys()
    assert kept_stores(tmp_path / "run").keys() == {"title", "brand"}
    known = next(p for p in products if p["title"] and p["brand"])
    answers = run.predict(run.records([known, {**known, "brand": ""}]))
    assert answers.present["brand"].tolist() == [True, False]
    assert np.isfinite(answers.log_prob).all()


def test_a_warm_start_needs_no_store_of_its_source(shop, store, run, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(run, source)
    text = (source / "features.json").read_text()
    (source / "features.json").write_text(text.replace(str(store), "/gone"))
    text = (source / "config.json").read_text()
    (source / "config.json").write_text(text.replace(str(store), "/gone"))
    train_run(on_titles(shop, store, init_from=str(source)), tmp_path / "run")
    assert hsjax.load(tmp_path / "run").step


@pytest.mark.slow
def test_a_published_run_needs_its_originals_once(shop, resnet, tmp_path, caplog):
    bert = write_bert(tmp_path, shop)
    config = frozen(shop, bert, resnet, **SHORT)
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


def test_weights_that_have_changed_are_refused(shop, bert, tmp_path):
    """Of a run whose checkpoints are gone: it would begin with other towers."""
    text = {"model.modalities": ("title",), "objective.contrastive": 0.0}
    config = published(shop, bert, "", **text)
    (tmp_path / "report.json").write_text("{}")
    keep_encoders({"text": {"source": str(bert), "weights": "0"}}, tmp_path)
    tree = Taxonomy.from_paths([("42", "4202")])
    with pytest.raises(PublishedError, match="no longer the encoder that"):
        tasks.beginning(config, tmp_path, tree)


def test_settings_that_do_nothing_on_features_are_told(caplog):
    config = run_config(**{"data.text.word_drop": 0.5, "model.text.dropout": 0.2})
    params = {"title_joint": {"kernel": np.zeros(2)}, "text": {"x": np.zeros(2)}}
    spec = BatchSpec((), None, 3, features=(("title", (8,)), ("image", (8,))))
    with caplog.at_level(logging.INFO, "hsjax"):
        tell_idle_settings(config, params, spec)
    told = "data.text.word_drop, data.image.crop, data.image.flip"
    assert f"title, image: as features, they are not touched by {told}" in caplog.text
    assert "is frozen" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "hsjax"):
        tell_idle_settings(config, params, BatchSpec((("title", 8),), (1, 8, 8), 3))
    assert not caplog.text


def test_a_file_of_a_first_try_is_removed(tmp_path):
    keep_encoders({"text": {"config": {}}}, tmp_path)
    assert kept_encoders(tmp_path)
    keep_encoders({}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["check", "baseline"])
def test_other_tasks_know_the_encoders_too(shop, bert, resnet, tmp_path, task):
    text = train_run(frozen(shop, bert, resnet, task=task), tmp_path)
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
    config = published(shop, bert, resnet, init_from=str(run)).unlock()
    assert "reads texts by another tokenizer than" in sentence(config, tmp_path)
    # a stream with a tower of its own reads by the same tokenizer
    config.model.modalities = ("title", "brand", "image")
    config.data.text.streams.brand = ("brand",)
    config.model.text.brand = config.model.text.copy_and_resolve_references()
    config.model.text.brand.published = ""
    config.init_rules = (("text/.*", "fresh"), (".*", "load"))
    told = sentence(config.lock(), tmp_path)
    assert "begin with ('brand/.*', 'fresh')" in told


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
