"""Feature stores: what a frozen encoder says, once per content, and training on it."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import read_golden, write_layout
from ml_collections import ConfigDict
from runs import report, run_config, train_run
from stores import extraction, path_of, records, write_bert, write_images
from test_mistakes import sentence
from test_parity_image import load

from hsjax.data.features import text_key
from hsjax.data.image import decode_image
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import CatalogueError, load_records
from hsjax.data.store import FeatureStore, add_part, start_store
from hsjax.data.text import load_tokenizer, tokenize
from hsjax.features.encoder import load_encoder
from hsjax.features.extract import extract
from hsjax.features.reduce import fit_pca
from hsjax.models.pretrained import load_parameters, read_checkpoint
from hsjax.models.text_families import TEXT_FAMILIES


@pytest.fixture(scope="module")
def bert(tmp_path_factory, shop):
    return write_bert(tmp_path_factory.mktemp("bert"), shop)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("resnet"))


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


def test_each_text_is_encoded_once_and_as_the_encoder_says(shop, bert, tmp_path):
    config = extraction(shop, bert, "title", stored="float32")
    print(train_run(config, tmp_path))
    store, products = FeatureStore(tmp_path), records(config)
    titles = [r.texts["title"] for r in products]
    assert len(store) == len({t for t in titles if t}) < len(titles)
    checkpoint = read_checkpoint(bert)
    family = TEXT_FAMILIES["bert"]
    settings, params, _ = load_parameters(family, checkpoint)
    module = family.module(**settings, dtype=jnp.dtype("float32"))
    tokens = tokenize(load_tokenizer(str(bert)), titles, 12)
    ids, mask = jnp.asarray(tokens.ids), jnp.asarray(tokens.mask)
    apply = jax.jit(functools.partial(module.apply, training=False))
    expected = apply({"params": params}, ids, mask)
    expected = np.where(tokens.mask.any(axis=1)[:, None], expected, 0)
    got = store.take(store.rows([text_key(t) for t in titles]))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_extraction_goes_on_where_it_stopped(shop, bert, tmp_path, monkeypatch):
    config = extraction(shop, bert, "title")
    encoder = load_encoder(config.extract, modality="title", max_pixels=10**6)
    monkeypatch.setattr("hsjax.features.extract.PART", 1)  # a part per batch
    products = records(config)
    calls = []

    def stops(items):
        for batch in encoder.encode(items):
            if len(calls) == 3:
                raise KeyboardInterrupt
            calls.append(len(batch[0]))
            yield batch

    small = config.copy_and_resolve_references().unlock()
    small.extract.tokens = 64
    encoder = load_encoder(small.extract, modality="title", max_pixels=10**6)
    with pytest.raises(KeyboardInterrupt):
        extract(small, products, encoder._replace(encode=stops), tmp_path)
    done = len(FeatureStore(tmp_path))
    assert 0 < done <= sum(calls)
    seen = []

    def counts(items):
        seen.extend(items)
        return encoder.encode(items)

    whole = extract(small, products, encoder._replace(encode=counts), tmp_path)
    unique = {r.texts["title"] for r in products} - {""}
    assert len(whole) == len(unique)
    assert len(seen) == len(unique) - done
    extract(small, products, encoder._replace(encode=counts), tmp_path)
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


def test_pictures_are_encoded_with_the_encoders_own_looks(shop, resnet, tmp_path):
    config = extraction(shop, resnet, "image", rows=16, stored="float32")
    train_run(config, tmp_path)
    store = FeatureStore(tmp_path)
    raw = config.copy_and_resolve_references().unlock()
    raw.data.image.cache = False
    products = [r for r in records(raw) if r.image_key]
    assert len(store) == len({r.image_key for r in products})
    family, settings, variables = load(read_checkpoint(resnet))
    module = family.module(**settings, dtype=jnp.dtype("float32"))
    some = products[:5]
    pixels = [decode_image(r.image, resize=(24, 24), max_pixels=10**6) for r in some]
    pixels = (np.stack(pixels).astype(np.float32) / 255 - 0.5) / 0.5
    apply = jax.jit(functools.partial(module.apply, training=False))
    expected = apply(variables, jnp.asarray(pixels), jnp.ones(5))
    got = store.take(store.rows([r.image_key for r in some]))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_principal_components_are_those_of_the_training_rows(shop, bert, tmp_path):
    config = extraction(shop, bert, "title", pca=0.9, stored="float32")
    train_run(config, tmp_path)
    whole, small = FeatureStore(tmp_path), FeatureStore(tmp_path / "pca")
    assert small.facts["fitted_on"] < len(whole) == len(small)
    keys = whole.keys()
    a, b = (s.take(s.rows(keys)) for s in (whole, small))
    assert b.shape[1] < a.shape[1]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)) * [10, 3, 0.1, 0.1]
    reduction = fit_pca(x.astype(np.float32), share=0.99)
    assert reduction.components.shape == (4, 2)
    np.testing.assert_allclose(
        reduction(x.astype(np.float32)).mean(axis=0), 0, atol=1e-4
    )


def test_a_tokenizer_of_another_model_is_refused(shop, bert, tmp_path):
    config = json.loads((bert / "config.json").read_text())
    tensors = read_golden("bert").tensors
    write_layout(tmp_path / "bert", config | {"vocab_size": 29}, tensors)
    shutil.copy(bert / "tokenizer.json", tmp_path / "bert")
    config = extraction(shop, tmp_path / "bert", "title")
    assert "do not belong together" in sentence(config, tmp_path / "out")


MISTAKES = [
    ({"extract.encoder": ""}, "extract.encoder is empty"),
    ({"extract.encoder": "/nowhere/at/all"}, "no such directory"),
    ({"extract.modality": "sound"}, "extract.modality is 'sound'"),
    ({"extract.pca": 1.5}, "a share of variance"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, bert, tmp_path, changes, words):
    config = extraction(shop, bert, "title").unlock()
    config.update_from_flattened_dict(changes)
    assert words in sentence(config.lock(), tmp_path)
