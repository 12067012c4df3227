"""Runs on cached features answer for what no store holds; token and patch states."""

import io
import json
import pickle
import shutil

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoders import LENGTH, extraction, path_of, records, write_images
from ml_collections import ConfigDict
from PIL import Image
from runs import (
    TEXT,
    metric_lines,
    prepare_run,
    run_config,
    sentence,
    train_run,
)
from safetensors.numpy import load_file, save_file

from hsjax.data.batches import prefetched
from hsjax.data.corrupt import corrupt_records
from hsjax.data.examples import Augmentation, assemble
from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.records import CatalogueError
from hsjax.data.store import FeatureStore
from hsjax.evaluation.predictions import read_predictions
from hsjax.features import store_encoder
from hsjax.features.encoded_batches import EncodedBatch
from hsjax.features.fill import fill_store
from hsjax.features.frozen_encoder import FrozenEncoder
from hsjax.features.live import embed, encode_missing
from hsjax.inference.predict import load_run
from hsjax.tasks.extraction import open_encoder
from hsjax.train.start import training_order
from hsjax.trained.scoring import evaluate_run

LIMIT = 10**6  # pixels
BROKEN = 7  # row of the picture that cannot be decoded


def on_features(shop, folder, *modalities, **changes):
    config = run_config(path_of(shop), **changes).unlock()
    config.data.columns.text = ("title",)
    config.data.features = ConfigDict({m: str(folder / m) for m in modalities})
    return config.lock()


@pytest.fixture(scope="module")
def run(tmp_path_factory, shop, stores):
    workdir = tmp_path_factory.mktemp("run") / "run"
    train_run(on_features(shop, stores, "title", "image", train__steps=4), workdir)
    return workdir


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 26, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def goods(tmp_path_factory, shop):
    """New titles and pictures; some lack one, and a picture is cut off."""
    rows = pq.read_table(shop).to_pylist()[:40]
    for i, row in enumerate(rows):
        row["title"] = f"{row['title'] or 'spare'} of steel {i}" if i != 3 else None
        row["image"] = picture(i) if i != 4 else None
    rows[BROKEN - 1]["image"] = rows[BROKEN - 1]["image"][:900]
    path = tmp_path_factory.mktemp("goods") / "goods.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def listing(folder):
    return sorted((p.name, p.stat().st_mtime_ns) for p in folder.rglob("*"))


def ready(run, stores, tmp_path, items, encoders):
    """The same run beside stores that hold the items."""
    shutil.copytree(stores, tmp_path / "stores")
    for modality, encoder in encoders.items():
        config = extraction("unread", encoder, modality, stored="float32")
        loaded = open_encoder(config)
        fill_store(config, lambda stored: items, loaded, tmp_path / "stores" / modality)
    shutil.copytree(run, tmp_path / "run")
    moved = {m: tmp_path / "stores" / m for m in ("title", "image")}
    return load_run(tmp_path / "run", features=moved)


def same(a, b):
    np.testing.assert_allclose(a.log_prob, b.log_prob, atol=1e-5)
    for key, values in a.present.items():
        np.testing.assert_array_equal(values, b.present[key])


def test_products_that_no_store_holds_are_answered(
    run, stores, goods, bert, resnet, tmp_path
):
    before, options = listing(stores), {"part": "test", "corrupt": "", "seed": 0}
    evaluate_run(run, tmp_path / "out", source=str(goods), **options)
    assert listing(stores) == before  # a user's store is never written to
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    assert len(found) == 40
    lacks = {m: np.flatnonzero(~found.present[m]) + 1 for m in ("title", "image")}
    assert {m: x.tolist() for m, x in lacks.items()} == {
        "title": [4],
        "image": [5, BROKEN],
    }
    notes = (tmp_path / "out" / "quarantine.csv").read_text()
    assert [x.split(",")[1] for x in notes.splitlines() if "truncated" in x] == ["7"]

    raw = run_config(path_of(goods)).unlock()
    raw.data.image.cache = False
    other = ready(run, stores, tmp_path, records(raw), {"title": bert, "image": resnet})
    same(found, other.predict(other.records(goods)))


@pytest.mark.slow
def test_damaged_texts_are_encoded_anew(run, stores, shop, bert, tmp_path):
    config = on_features(shop, stores, "title", "image")
    damaged = corrupt_records(records(config), "word_drop:0.5", seed=3)
    options = {"part": "test", "corrupt": "word_drop:0.5", "seed": 3}
    evaluate_run(run, tmp_path / "out", source=None, **options)
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    other = ready(run, stores, tmp_path, damaged, {"title": bert})
    rows = {r.row: r for r in damaged}
    expected = other.predict([rows[row] for row in found.row.tolist()])
    np.testing.assert_allclose(found.log_prob, expected.log_prob, atol=1e-5)
    clean = load_run(run).predict(
        [{r.row: r for r in records(config)}[row] for row in found.row.tolist()]
    )
    assert np.abs(clean.log_prob - found.log_prob).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pca": 0.9},
        {"states": True},
        {"pca": 0.9, "states": True},
        {"stored": "float16"},
        {"dtype": "bfloat16"},
    ],
)
def test_embed_gives_what_the_store_holds(shop, bert, tmp_path, changes):
    config = extraction(shop, bert, "title", **{"stored": "float32", **changes})
    train_run(config, tmp_path / "store")
    folder = tmp_path / "store" / "pca" if "pca" in changes else tmp_path / "store"
    store = FeatureStore(folder)
    titles = list({r.texts["title"] for r in records(config)} - {""})[:30]
    rows = store.rows([text_key(t) for t in titles])
    # the last bit of a float16; products of bfloat16, which keeps 8 bits
    close = {"stored": 2e-3, "dtype": 3e-2}.get("".join(changes), 1e-6)
    got = embed(folder, [*titles, " "], max_pixels=LIMIT)
    np.testing.assert_allclose(got[:-1], store.take(rows), atol=close, rtol=0)
    assert got.dtype == np.float32
    assert not got[-1].any()
    if "states" in changes:
        _, lengths = encode_missing(folder, titles, max_pixels=LIMIT)
        np.testing.assert_array_equal(lengths, store.masks(rows).sum(axis=1))
    assert embed(folder, [], max_pixels=LIMIT).shape == (0, *store.shape)


def test_pictures_are_embedded_as_bytes_and_as_paths(stores, shop, tmp_path):
    raw = run_config(path_of(shop)).unlock()
    raw.data.image.cache = False
    some = [r for r in records(raw) if r.image_key][:5]
    store = FeatureStore(stores / "image")
    (tmp_path / "a.png").write_bytes(some[0].image)
    items = [tmp_path / "a.png", *(r.image for r in some[1:])]
    got = embed(stores / "image", items, max_pixels=LIMIT)
    expected = store.take(store.rows([r.image_key for r in some]))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    items[2] = items[2][:300]
    with pytest.raises(CatalogueError, match="picture 3: truncated"):
        embed(stores / "image", items, max_pixels=LIMIT)


def test_an_encoder_may_move_but_not_change(stores, shop, bert, tmp_path):
    titles = stores / "title"
    shutil.copytree(titles, tmp_path / "store")
    facts = json.loads((tmp_path / "store" / "store.json").read_text())
    moved = tmp_path / "moved"
    shutil.copytree(bert, moved)
    gone = facts | {"source": str(tmp_path / "gone")}
    (tmp_path / "store" / "store.json").write_text(json.dumps(gone))
    with pytest.raises(CatalogueError, match="If it has moved, run --config.task=extr"):
        embed(tmp_path / "store", ["a hat"], max_pixels=LIMIT)
    before = listing(titles)
    train_run(extraction(shop, moved, "title", stored="float32"), tmp_path / "store")
    found = FeatureStore(tmp_path / "store")
    assert found.facts["source"] == str(moved)
    assert len(found) == len(FeatureStore(titles))  # nothing was encoded again
    assert listing(titles) == before
    np.testing.assert_allclose(
        embed(tmp_path / "store", ["a hat"], max_pixels=LIMIT),
        embed(titles, ["a hat"], max_pixels=LIMIT),
        atol=1e-6,
    )

    store_encoder._loaded.cache_clear()
    tensors = load_file(moved / "model.safetensors")
    name = "embeddings.LayerNorm.weight"
    save_file(tensors | {name: tensors[name] * 2}, moved / "model.safetensors")
    with pytest.raises(CatalogueError, match="is no longer the encoder that"):
        embed(tmp_path / "store", ["a hat"], max_pixels=LIMIT)
    config = extraction(shop, moved, "title", stored="float32")
    assert "holds other features (weights" in sentence(config, tmp_path / "store")


def test_training_decodes_no_picture_that_has_features(
    stores, shop, tmp_path, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("hsjax.data.image.decode_image", never)
    monkeypatch.setattr("hsjax.data.image.decode_image", never)
    parts = prepare_run(on_features(shop, stores, "title", "image")).parts
    index = np.arange(64)
    batch = assemble(parts.train, index, index, Augmentation())
    assert 0.5 < batch["has_image"].mean() < 1
    assert all(picture is None for picture in parts.train.images)

    shutil.copytree(stores, tmp_path / "stores")
    next((tmp_path / "stores" / "title").glob("*.keys")).unlink()
    config = on_features(shop, tmp_path / "stores", "title", "image")
    assert "lacks the features of" in sentence(config, tmp_path / "other")


def test_token_states_are_kept_with_their_lengths(stores, shop, bert, tmp_path):
    config = extraction(shop, bert, "title", states=True)
    train_run(config, tmp_path / "title")
    store, pooled = FeatureStore(tmp_path / "title"), FeatureStore(stores / "title")
    assert store.shape == (LENGTH, *pooled.shape)
    assert next((tmp_path / "title").glob("*.npy")).exists()
    keys = pooled.keys()
    states, masks = (f(store.rows(keys)) for f in (store.take, store.masks))
    assert masks.any(axis=1).all()
    assert not states[~masks].any()  # padding is zero
    mean = states.sum(axis=1) / masks.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mean, pooled.take(pooled.rows(keys)), atol=5e-3)
    assert not store.masks(store.rows(["nowhere"])).any()

    index, logits, params = np.arange(16), {}, None
    for folder in (stores, tmp_path):  # pooled, and pooled by the model
        prepared = prepare_run(on_features(shop, folder, "title", **TEXT))
        batch = assemble(prepared.parts.train, index, index)
        prepared.parts.train.spec.check(batch)
        if params is None:
            params, stats = jax.jit(prepared.model.init)(jax.random.key(0), batch)
        outputs, _ = jax.jit(prepared.model.apply)(params, stats, batch)
        logits[folder] = outputs.fused
    np.testing.assert_allclose(logits[stores], logits[tmp_path], atol=5e-3)


def test_a_run_on_states_is_trained_to_its_end(shop, goods, bert, tmp_path):
    config = extraction(shop, bert, "title", states=True)
    train_run(config, tmp_path / "title")
    steps = {"train__steps": 20, "train__eval_every": 20}
    train_run(on_features(shop, tmp_path, "title", **TEXT, **steps), tmp_path / "run")
    lines = metric_lines(tmp_path / "run")
    losses = [x["train/loss"] for x in lines if "train/loss" in x]
    assert losses[-1] < losses[0]
    run = load_run(tmp_path / "run")
    found = run.predict(run.records(goods))  # of which the store has none
    assert np.isfinite(found.log_prob).all()
    assert (~found.present["title"]).nonzero()[0].tolist() == [3]


def test_a_worker_process_reads_the_same_features(stores, shop):
    config = on_features(shop, stores, "title", "image")
    parts = prepare_run(config).parts
    packed = len(pickle.dumps(dict(parts.train.features)))
    assert packed < 20 * len(parts.train)  # a row number each, no vectors
    options = {"start": 0, "threads": 1, "buffer": 2}
    batches = {}
    for workers in (0, 1):
        order = training_order(config, parts.train)
        stream = prefetched(order, workers=workers, **options)
        batches[workers] = [next(stream) for _ in range(3)]
    for mine, theirs in zip(*batches.values(), strict=True):
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)


@pytest.mark.parametrize(("golden", "cells"), [("vit", 16), ("resnet_basic", None)])
def test_patch_states_are_those_that_are_pooled(golden, cells, tmp_path):
    folder, facts, vectors = write_images(tmp_path, golden), {}, {}
    pictures = [picture(i) for i in range(3)]
    for states in (False, True):
        changes = {"states": states, "pool": "" if states else "mean"}
        encoder = open_encoder(extraction("unread", folder, "image", **changes))
        facts[states] = encoder.facts
        (batch,) = encoder.encode(pictures)
        vectors[states] = np.asarray(batch.vectors)
    count, width = facts[True]["shape"]
    assert cells in (None, count)
    assert facts[False]["shape"] == [width]
    np.testing.assert_allclose(vectors[True].mean(axis=1), vectors[False], atol=1e-5)


def test_processes_share_the_items_of_a_store(shop, tmp_path, monkeypatch):
    config = extraction(shop, "unread", "title", stored="float32")
    products, seen = records(config), []

    def encode(items):
        seen.append(items := list(items))
        vectors = np.array([[len(x), hash(x) % 97] for x in items], np.float32)
        yield EncodedBatch(np.arange(len(items)), vectors, None)

    encoder = FrozenEncoder({"shape": [2]}, encode)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        store = fill_store(config, lambda stored: products, encoder, tmp_path)
    titles = {r.texts["title"] for r in products} - {""}
    assert len(seen) == 3
    assert all(seen)
    assert sorted(sum(seen, [])) == sorted(titles)  # each once
    assert len(store) == len(titles)
    some = sorted(titles)[:9]
    expected = [[len(x), hash(x) % 97] for x in some]
    got = store.take(store.rows([text_key(x) for x in some]))
    np.testing.assert_array_equal(got, np.array(expected, np.float32))


MISTAKES = [
    ({"extract.pool": "cls"}, "extract.pool is 'cls'; resnet has mean, none"),
    ({"extract.stored": "int8"}, "extract.stored is 'int8'"),
    ({"extract.dtype": "float8"}, "extract.dtype is 'float8'"),
    ({"extract.rows": 0}, "extract.rows is 0; it must be 1 or more"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, resnet, tmp_path, changes, words):
    config = extraction(shop, resnet, "image").unlock()
    config.update_from_flattened_dict(changes)
    assert words in sentence(config.lock(), tmp_path)


@pytest.mark.parametrize("kind", ["nearest", "svm"])
def test_a_baseline_goes_by_the_vectors_of_a_store(kind, tmp_path, shop, stores, goods):
    """In place of TF-IDF; what the store lacks is embedded by its own encoder."""
    changes = {"task": "baseline", "baseline__features": str(stores / "title")}
    workdir = tmp_path / "run"
    config = run_config(path_of(shop), **TEXT, **changes, baseline__kind=kind)
    train_run(config, workdir)
    asked = {"source": str(goods), "part": "test", "corrupt": "", "seed": 0}
    evaluate_run(workdir, tmp_path / "goods", **asked)
    found = read_predictions(tmp_path / "goods/predictions.parquet")
    if kind == "svm":
        return
    # by hand: the path of the training text of the highest cosine
    catalogue = read_catalogue(config)
    rows = catalogue.rows("train")
    train = [catalogue.records[i] for i in rows]
    known = embed(stores / "title", [r.texts["title"] for r in train], max_pixels=LIMIT)
    new = [r.texts["title"] for r in records(run_config(path_of(goods)))]
    vectors = embed(stores / "title", new, max_pixels=LIMIT)
    lengths = np.linalg.norm(known, axis=1).clip(1e-9)
    best = (vectors @ known.T / lengths).argmax(axis=1)
    there = [i for i, text in enumerate(new) if text]
    paths = [train[best[i]].path[-1] for i in there]
    answers = found.topk_codes[there, 0].tolist()
    assert np.mean([a == b for a, b in zip(answers, paths, strict=True)]) > 0.9
