"""Feature stores: what a frozen encoder says, once per content, and training on it."""

import json
import os
import pickle
import shutil
import stat

import numpy as np
import pytest
from encoders import extraction, path_of, published, records, said, write_images
from goldens import read_golden, write_layout
from ml_collections import ConfigDict
from runs import TEXT, report, run_config, sentence, train_run

from hsjax.atomic import write_atomically
from hsjax.data.features import features_of, text_key
from hsjax.data.pixels import decode_image
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import CatalogueError, load_records
from hsjax.data.run_stores import described_stores
from hsjax.data.store import FeatureStore, add_part, open_store, start_store
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.data.tokens import tokenize
from hsjax.features.fill import fill_store
from hsjax.features.reduce import check_training, fit_pca, load_reduction
from hsjax.models.published_files import write_tensors
from hsjax.tasks.extraction import open_encoder


def test_a_store_gives_back_what_was_added(tmp_path):
    start_store(tmp_path, {"shape": [3], "encoder": "x"})
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(n, 3)).astype(np.float16) for n in (4, 2))
    add_part(tmp_path, ["a", "b", "c", "d"], first)
    add_part(tmp_path, ["e", "f"], second)
    store = FeatureStore(tmp_path)
    assert sorted(store.keys()) == list("abcdef")
    taken = store.take(store.rows(["e", "", "a", "nowhere", "f"]))
    expected = np.stack([second[0], np.zeros(3), first[0], np.zeros(3), second[1]])
    np.testing.assert_array_equal(taken, expected.astype(np.float32))
    (tmp_path / "torn.npy").write_bytes(b"half a par")  # a kill: no keys beside it
    assert len(FeatureStore(tmp_path)) == 6
    with pytest.raises(CatalogueError, match="encoder 'x' -> 'y'"):
        start_store(tmp_path, {"shape": [3], "encoder": "y"})
    with pytest.raises(CatalogueError, match="no features"):
        FeatureStore(tmp_path / "elsewhere")


def filled_store(folder, keys, seed=0, shape=(3,)):
    vectors = np.random.default_rng(seed).normal(size=(len(keys), *shape))
    start_store(folder, {"shape": list(shape), "dtype": "float32"})
    add_part(folder, keys, vectors.astype(np.float32))
    return vectors.astype(np.float32)


def test_a_copy_of_a_store_carries_no_vectors(tmp_path):
    keys = [f"{i:040x}" for i in range(500)]
    vectors = filled_store(tmp_path, keys, shape=(200,))
    held = np.ones((2, 200), np.float32)
    store = FeatureStore(tmp_path).extended(["x", "y"], held, None)
    assert len(FeatureStore(tmp_path)) == 500
    packed = pickle.dumps(store)
    assert len(packed) < held.nbytes + 2000 < vectors.nbytes / 100
    # what another process adds meanwhile moves no row of the copy
    filled_store(tmp_path, [f"{i:040x}" for i in range(900, 950)], 1, (200,))
    copy = pickle.loads(packed)
    rows = store.rows([*keys, "x", "nowhere"])
    np.testing.assert_array_equal(copy.take(rows), store.take(rows))
    np.testing.assert_array_equal(copy.take(rows)[:500], vectors)
    assert copy.keys() == store.keys()


def test_a_store_is_opened_anew_when_its_folder_has_changed(tmp_path):
    filled_store(tmp_path, ["a"])
    first = open_store(tmp_path)
    assert open_store(tmp_path) is first
    vectors = filled_store(tmp_path, ["b", "a"], seed=1)
    second = open_store(tmp_path)
    assert sorted(second.keys()) == ["a", "b"]
    assert len(second) == 2  # once, though it was encoded twice
    np.testing.assert_array_equal(second.take(second.rows(["b"]))[0], vectors[0])


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: cut(next(f.glob("*.npy"))), "extract again"),
        (lambda f: next(f.glob("*.npy")).unlink(), "extract again"),
        (lambda f: next(f.glob("*.npy")).write_bytes(b""), "extract again"),
        (lambda f: next(f.glob("*.keys")).write_text("a\n"), "expected"),
        (lambda f: cut(f / "store.json"), "store.json is torn"),
        (lambda f: (f / "store.json").write_text("[]"), "format None"),
        (lambda f: (f / "store.json").write_text('{"format": 1}'), "with a shape"),
    ],
)
def test_a_torn_store_is_told_in_words(tmp_path, damage, words):
    filled_store(tmp_path, ["a", "b"])
    damage(tmp_path)
    with pytest.raises(CatalogueError, match=words):
        open_store(tmp_path)


def test_each_text_is_encoded_once_and_as_the_encoder_says(shop, bert, tmp_path):
    config = extraction(shop, bert, "title", stored="float32")
    print(train_run(config, tmp_path))
    store, products = FeatureStore(tmp_path), records(config)
    titles = [r.texts["title"] for r in products]
    assert len(store) == len({t for t in titles if t}) < len(titles)
    tokens = tokenize(load_tokenizer(str(bert)), titles, 12)
    expected = said(bert, tokens.ids, tokens.mask)
    expected = np.where(tokens.mask.any(axis=1)[:, None], expected, 0)
    got = store.take(store.rows([text_key(t) for t in titles]))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("least", [("PART", 1), ("PATIENCE", 0.0)])  # a part a batch
def test_extraction_goes_on_where_it_stopped(shop, bert, tmp_path, monkeypatch, least):
    config = extraction(shop, bert, "title")
    monkeypatch.setattr(f"hsjax.features.fill.{least[0]}", least[1])
    products = records(config)
    calls = []

    def read(stored):
        return products

    def stops(items):
        for batch in encoder.encode(items):
            if len(calls) == 3:
                raise KeyboardInterrupt
            calls.append(len(batch[0]))
            yield batch

    small = config.copy_and_resolve_references().unlock()
    small.extract.tokens = 64
    encoder = open_encoder(small)
    with pytest.raises(KeyboardInterrupt):
        fill_store(small, read, encoder._replace(encode=stops), tmp_path)
    done = len(FeatureStore(tmp_path))
    assert 0 < done <= sum(calls)
    seen = []

    def counts(items):
        return encoder.encode(x for x in items if seen.append(x) is None)

    whole = fill_store(small, read, encoder._replace(encode=counts), tmp_path)
    unique = {r.texts["title"] for r in products} - {""}
    assert len(whole) == len(unique)
    assert len(seen) == len(unique) - done
    fill_store(small, read, encoder._replace(encode=counts), tmp_path)
    assert len(seen) == len(unique) - done  # nothing was left to do


def telling_store(folder, products, key_of, *, seed):
    """Vectors from which the chapter can be read, with noise."""
    rng = np.random.default_rng(seed)
    chapters = {r.path[0] for r in products}
    centre = {c: rng.normal(size=8) for c in sorted(chapters)}
    items = {key_of(r): centre[r.path[0]] for r in products if key_of(r)}
    vectors = np.stack(list(items.values())) + 0.1 * rng.normal(size=(len(items), 8))
    start_store(folder, {"shape": [8], "encoder": "oracle"})
    add_part(folder, list(items), vectors.astype(np.float16))


def test_training_on_features_needs_no_raw_input(shop, tmp_path):
    config = run_config(path_of(shop), train__steps=60, train__eval_every=30).unlock()
    config.optim.learning_rate = 0.02
    products = load_records(config.data, quarantine=Quarantine())
    keys = {
        "title": lambda r: text_key(r.texts["title"]),
        "image": lambda r: r.image_key,
    }
    for seed, (modality, key_of) in enumerate(keys.items()):
        telling_store(tmp_path / modality, products, key_of, seed=seed)
    config.data.columns.text = ("title",)
    config.data.features = ConfigDict({m: str(tmp_path / m) for m in keys})
    train_run(config.lock(), tmp_path / "run")
    assert report(tmp_path / "run")["metrics"]["level1/accuracy"] > 0.8
    assert not (tmp_path / "run" / "tokenizer.json").exists()

    next((tmp_path / "title").glob("*.keys")).unlink()
    words = sentence(config, tmp_path / "other")
    assert "lacks the features of" in words
    assert "task=extract" in words
    first = next(r for r in products if r.texts["title"])
    assert f"(first: row {first.row}, id {first.id});" in words


def test_a_row_is_counted_as_in_the_file(tmp_path):
    """Not among the rows that are used."""
    rows = [("id", "title", "hs_code")]
    rows += [(f"S{i}", f"boot {i}", "" if i < 4 else "640391") for i in range(1, 9)]
    (tmp_path / "goods.csv").write_text("\n".join(",".join(row) for row in rows))
    config = run_config({**path_of(tmp_path / "goods.csv"), **TEXT}).unlock()
    config.data.columns.text, config.data.columns.image = ("title",), ""
    config.data.features.title = str(tmp_path / "store")
    filled_store(tmp_path / "store", [text_key(f"boot {i}") for i in (4, 5, 7, 8)])
    products = load_records(config.lock().data, quarantine=Quarantine())
    with pytest.raises(CatalogueError, match=r"1 of 5 .*\(first: row 6, id S6\)"):
        features_of(config, products)


def test_stores_of_texts_and_of_pictures_are_not_exchanged(shop, stores, tmp_path):
    config = run_config(path_of(shop)).unlock()
    config.data.columns.text = ("title",)
    for asked, held in (("title", "image"), ("image", "title")):
        config.data.features = ConfigDict({asked: str(stores / held)})
        words = f"data.features.{asked}: {stores / held} holds features of {held}, not"
        told = sentence(config, tmp_path / "run")
        assert words in told
        assert "lacks" not in told
        with pytest.raises(CatalogueError, match=f"of {held}, not of {asked}"):
            described_stores(config)
    # text streams may share one
    config.model.modalities = ("title", "brand")
    config.data.text.streams.brand = ("title",)
    config.data.features = ConfigDict({"brand": str(stores / "title")})
    assert described_stores(config).keys() == {"brand"}
    assert features_of(config, records(config)).keys() == {"brand"}


def test_files_are_for_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "a.safetensors", {"x": np.zeros(3, np.float32)})
        write_atomically(tmp_path / "a.txt", "text")
        filled_store(tmp_path / "store", ["a"])
    finally:
        os.umask(before)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 5
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o640}


def test_pictures_are_encoded_with_the_encoders_own_looks(
    shop, resnet, tmp_path, monkeypatch
):
    config = extraction(shop, resnet, "image", rows=16, stored="float32")
    decoded = []

    def counts(*arguments, **options):
        return decoded.append(options) or decode_image(*arguments, **options)

    monkeypatch.setattr("hsjax.data.image.decode_image", counts)
    monkeypatch.setattr(
        "hsjax.features.encoded_batches.decode_image", None
    )  # not again
    train_run(config, tmp_path)
    monkeypatch.undo()
    store = FeatureStore(tmp_path)
    assert all(options["resize"] == (24, 24) for options in decoded)
    raw = config.copy_and_resolve_references().unlock()
    raw.data.image.cache = False
    products = [r for r in records(raw) if r.image_key]
    assert len(store) == len({r.image_key for r in products})
    assert len(store) <= len(decoded) <= len(products)
    some = products[:5]
    pixels = [decode_image(r.image, resize=(24, 24), max_pixels=10**6) for r in some]
    pixels = (np.stack(pixels).astype(np.float32) / 255 - 0.5) / 0.5
    expected = said(resnet, pixels, np.ones(5, np.float32))
    got = store.take(store.rows([r.image_key for r in some]))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_pictures_are_resized_by_the_encoders_filter(shop, tmp_path):
    """And go to the encoder as they come: encoded, or decoded by whoever reads them."""
    raw = run_config(path_of(shop)).unlock()
    raw.data.image.cache = False
    pictures = [r.image for r in records(raw) if r.image_key][:4]
    found = {}
    for name, number in (("bilinear", 2), ("bicubic", 3)):
        folder = write_images(tmp_path / name, resample=number)
        encoder = open_encoder(extraction(shop, folder, "image"))
        assert encoder.facts["preprocessing"]["resample"] == name
        options = {"resize": (24, 24), "max_pixels": 10**6, "resample": name}
        seen = [decode_image(x, **options) for x in pictures]
        assert all(x.dtype == np.uint8 for x in seen)
        for items in (pictures, seen):
            (batch,) = encoder.encode(iter(items))
            found.setdefault(name, []).append(np.asarray(batch.vectors))
        np.testing.assert_array_equal(*found[name])
    assert np.abs(found["bilinear"][0] - found["bicubic"][0]).max() > 1e-3


def training_titles(config):
    """Different titles of the part that a run on this config trains on."""
    catalogue = read_catalogue(config)
    rows = catalogue.rows("train")
    titles = {catalogue.records[i].texts["title"] for i in rows}
    return sorted(text_key(t) for t in titles - {""})


def warnings_of(config, folder, **split):
    """What a run on this store is told of its catalogue."""
    config = config.copy_and_resolve_references().unlock()
    config.task, config.data.features.title = "train", str(folder)
    for key, value in split.items():
        config.data[key.partition("__")[0]][key.partition("__")[2]] = value
    warnings = read_catalogue(config.lock()).quarantine.warnings
    return " ".join(x for x in warnings if "components" in x)


def test_principal_components_are_those_of_the_training_rows(shop, bert, tmp_path):
    config = extraction(shop, bert, "title", pca=0.9, stored="float32")
    train_run(config, tmp_path)
    whole, small = FeatureStore(tmp_path), FeatureStore(tmp_path / "pca")
    used = training_titles(config)
    assert small.facts["fitted_on"] == len(used) < len(whole) == len(small)
    x = whole.take(whole.rows(used))
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x.T))  # ascending
    share = np.cumsum(values[::-1]) / values.sum()
    (kept,) = small.shape
    assert share[kept - 2] < 0.9 <= share[kept - 1]
    keys = whole.keys()
    a, b = (s.take(s.rows(keys)) for s in (whole, small))
    expected = (a - mean) @ vectors[:, ::-1][:, :kept]
    np.testing.assert_allclose(np.abs(b), np.abs(expected), atol=1e-4)
    left = b[[keys.index(k) for k in used]].var(axis=0).sum() / x.var(axis=0).sum()
    assert left == pytest.approx(share[kept - 1], abs=1e-4)
    assert not warnings_of(config, tmp_path / "pca")
    told = warnings_of(config, tmp_path / "pca", split__seed=1)
    assert "validation and test rows of this split; extract" in told
    # components of other rows do not go into the same folder
    other = extraction(shop, bert, "title", pca=0.5, stored="float32")
    told = sentence(other, tmp_path)
    assert f"delete {tmp_path / 'pca'}" in told
    (tmp_path / "pca" / "pca.safetensors").write_bytes(b"torn")
    with pytest.raises(CatalogueError, match="is torn"):
        load_reduction(tmp_path / "pca")


def test_components_of_every_token_are_those_of_its_place(shop, bert, tmp_path):
    """Fitted on what is there, not on padding, and 0 where nothing is."""
    config = extraction(shop, bert, "title", pca=0.9, states=True, stored="float32")
    train_run(config, tmp_path)
    whole, small = FeatureStore(tmp_path), FeatureStore(tmp_path / "pca")
    keys = whole.keys()
    rows, reduced = whole.rows(keys), small.rows(keys)
    there = whole.masks(rows)
    assert small.shape == (whole.shape[0], small.shape[1])
    assert small.shape[1] < whole.shape[1]
    np.testing.assert_array_equal(small.masks(reduced), there)
    assert there.sum(axis=1).min() < whole.shape[0]
    assert not small.take(reduced)[~there].any()
    used = whole.rows(training_titles(config))
    x = whole.take(used)[whole.masks(used)]
    reduction = load_reduction(tmp_path / "pca")
    np.testing.assert_allclose(reduction.mean, x.mean(axis=0), atol=1e-5)
    expected = (whole.take(rows)[there] - x.mean(axis=0)) @ reduction.components
    np.testing.assert_allclose(small.take(reduced)[there], expected, atol=1e-4)
    kept = reduction(x).var(axis=0).sum() / x.var(axis=0).sum()
    assert 0.9 <= kept < 1


def test_components_keep_their_share_of_the_variance():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 4)) * [10, 3, 0.1, 0.1] + 5).astype(np.float32)
    reduction = fit_pca(x, share=0.99)
    assert reduction.components.shape == (4, 2)
    y = reduction(x)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(y @ reduction.components.T + reduction.mean, x, atol=0.5)
    product = reduction.components.T @ reduction.components
    np.testing.assert_allclose(product, np.eye(2), atol=1e-5)
    for few in ([], ["a", "a", ""]):
        with pytest.raises(CatalogueError, match="components need 2 or more"):
            check_training(few)


def test_a_tokenizer_of_another_model_is_refused(shop, bert, tmp_path):
    config = json.loads((bert / "config.json").read_text())
    tensors = read_golden("bert").tensors
    write_layout(tmp_path / "bert", config | {"vocab_size": 29}, tensors)
    shutil.copy(bert / "tokenizer.json", tmp_path / "bert")
    config = extraction(shop, tmp_path / "bert", "title")
    assert "do not belong together" in sentence(config, tmp_path / "out")


def test_an_encoder_without_a_tokenizer_is_refused(shop, bert, resnet, tmp_path):
    """As every word would be unknown; in an extraction, and in training."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "bert").mkdir(exist_ok=True)
        shutil.copy(bert / name, tmp_path / "bert")
    config = extraction(shop, tmp_path / "bert", "title")
    words = f"{tmp_path / 'bert'}: no tokenizer there (none of tokenizer.json, vocab.tx"
    assert words in sentence(config, tmp_path / "out")
    config = published(shop, tmp_path / "bert", resnet)
    assert words in sentence(config, tmp_path / "run")


def test_an_encoder_of_the_other_side_is_refused(shop, bert, resnet, tmp_path):
    sides = {"title": (resnet, "picture", "resnet"), "image": (bert, "text", "bert")}
    for modality, (encoder, side, family) in sides.items():
        told = sentence(extraction(shop, encoder, modality), tmp_path / "out")
        words = f"is a {side} encoder ({family}), but extract.modality is {modality}"
        assert f"{encoder} {words}" in told
    told = sentence(published(shop, resnet, resnet), tmp_path / "run")
    assert "(resnet), but model.text.published names it" in told


def test_a_pool_with_parameters_of_its_own_is_refused(shop, bert, tmp_path):
    shutil.copytree(bert, tmp_path / "bert")
    path = tmp_path / "bert" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pool": "map"}))
    told = sentence(extraction(shop, path.parent, "title"), tmp_path / "out")
    assert "extract.pool is 'map'; bert has cls, mean" in told


MISTAKES = [
    ({"extract.encoder": ""}, "extract.encoder is empty"),
    ({"extract.encoder": "/nowhere/at/all"}, "no such directory"),
    ({"extract.modality": "sound"}, "extract.modality is 'sound'"),
    ({"extract.pca": 1.5}, "a share of variance"),
    ({"extract.pca": 0.9, "data.rows": 1}, "the val part is empty"),
    ({"data.columns.text": ("brand",)}, "names 'title', which is not read"),
    (
        {"extract.modality": "image", "data.columns.image": ""},
        "data.columns.image is empty",
    ),
    ({"extract.modality": "image", "extract.prefix": "query: "}, "before texts, not"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, bert, tmp_path, changes, words):
    config = extraction(shop, bert, "title").unlock()
    config.update_from_flattened_dict(changes)
    assert words in sentence(config.lock(), tmp_path)
