"""Extraction as a task: several processes, languages, windows, and what is refused."""

import csv
import os
import socket
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from encoders import (
    LENGTH,
    extraction,
    records,
    said,
    write_images,
    write_texts,
)
from runs import ROOT, sentence, train_run

from hsjax.data.features import text_key
from hsjax.data.pixels import decode_image
from hsjax.data.records import CatalogueError
from hsjax.data.store import FeatureStore
from hsjax.data.store_parts import as_stored
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.data.tokens import tokenize
from hsjax.features.encoded_batches import AHEAD, EncodedBatch, encode_texts
from hsjax.features.fill import fill_store
from hsjax.features.frozen_encoder import FrozenEncoder
from hsjax.features.live import embed
from hsjax.models.published_files import read_published
from hsjax.models.text_families import TEXT_FAMILIES

DATA = Path(os.environ.get("HSJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))


def processes(script, *arguments, count=2, **environment):
    """Runs the script so many times at once; its last argument is the number."""
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments), str(number)],
            env=os.environ | paths | environment,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    told = [process.communicate(timeout=300)[1] for process in started]
    assert not any(process.returncode for process in started), told


SAME_PARTS = """
import sys
from pathlib import Path
import numpy as np
from hsjax.data.store import add_part, start_store
folder = Path(sys.argv[1])
for number in range(60):
    start_store(folder, {"shape": [3], "source": sys.argv[2] + str(number)})
    keys = [f"{number}-{i}" for i in range(4)]
    add_part(folder, keys, np.full((4, 3), number, np.float32))
"""


def test_two_processes_may_write_the_same_at_once(tmp_path):
    """As when a user starts one command twice."""
    processes(SAME_PARTS, tmp_path)
    store = FeatureStore(tmp_path)
    assert len(store) == 240
    vectors = store.take(store.rows(["7-0", "59-3"]))
    np.testing.assert_array_equal(vectors[:, 0], [7, 59])
    assert not list(tmp_path.glob("*.partial"))


SHARED = """
import sys
from pathlib import Path
import jax
shop, encoder, folder, place, number = sys.argv[1:]
jax.distributed.initialize(place, num_processes=2, process_id=int(number))
from encoders import extraction
from hsjax.tasks.registry import TASKS
config = extraction(shop, encoder, "title", stored="float32", pca=0.9)
TASKS["extract"](config, Path(folder))
"""


@pytest.mark.slow
def test_two_processes_share_an_extraction(shop, bert, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    config = extraction(shop, bert, "title", stored="float32")
    cache = {"JAX_COMPILATION_CACHE_DIR": config.train.compile_cache}
    folder = tmp_path / "store"
    processes(SHARED, shop, bert, folder, place, JAX_NUM_CPU_DEVICES="1", **cache)
    store, small = FeatureStore(folder), FeatureStore(folder / "pca")
    titles = sorted({r.texts["title"] for r in records(config)} - {""})
    stored = Counter(k for p in folder.glob("*.keys") for k in p.read_text().split())
    assert stored == Counter(text_key(t) for t in titles)  # each by one of them
    assert len(list(folder.glob("*.keys"))) > 1
    assert sorted(small.keys()) == sorted(store.keys())  # after both had finished
    assert (folder / "quarantine.csv").exists()
    assert (folder / "quarantine.1.csv").exists()
    some = titles[:20]
    found = store.take(store.rows([text_key(t) for t in some]))
    np.testing.assert_allclose(found, embed(folder, some, max_pixels=1), atol=1e-6)


# goods of the tariff in our own words
LANGUAGES = {
    "en": ("Live horses for breeding", "Leather shoes with rubber soles"),
    "de": ("Lebende Pferde zur Zucht", "Lederschuhe mit Gummisohlen"),
    "fr": ("Chevaux vivants reproducteurs", "Chaussures en cuir à semelles"),
    "el": ("Ζωντανά άλογα αναπαραγωγής", "Δερμάτινα παπούτσια με σόλες"),
}
PREFIX = "query: "


def multilingual_rows():
    """Texts of the nomenclature where they are, and ours; (text, language)."""
    rows = [(t, lang) for lang, texts in LANGUAGES.items() for t in texts]
    if (path := DATA / "hs_text.csv").exists():
        taken = Counter()
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if taken[row["lang"]] < 20:
                    taken[row["lang"]] += 1
                    rows.append((row["text"], row["lang"]))
    return rows


def test_four_languages_through_a_multilingual_encoder(tmp_path):
    rows = multilingual_rows()
    texts = list(dict.fromkeys(text for text, _ in rows))
    with (tmp_path / "goods.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("title", "lang"), *rows])
    write_texts(tmp_path / "xlmr", texts, golden="xlm-roberta", kind="bpe")
    changes = {"prefix": PREFIX, "stored": "float32", "tokens": 64}
    config = extraction(tmp_path / "goods.csv", tmp_path / "xlmr", "title", **changes)
    config = config.unlock()
    config.data.columns.text, config.data.columns.id = ("title",), ""
    config.data.columns.image = ""
    config.lock()
    train_run(config, tmp_path / "store")
    store = FeatureStore(tmp_path / "store")
    assert len(store) == len(texts)
    assert store.facts["family"] == "xlm-roberta"
    assert store.facts["prefix"] == PREFIX
    config_json = read_published(tmp_path / "xlmr").config
    settings = TEXT_FAMILIES["xlm-roberta"].settings(config_json)
    length = min(LENGTH, settings["max_length"])
    tokenizer = load_tokenizer(str(tmp_path / "xlmr"))
    unknown = tokenizer.token_to_id("[UNK]")
    tokens = tokenize(tokenizer, [PREFIX + text for text in texts], length)
    assert not (tokens.ids[tokens.mask] == unknown).any()  # no letter is lost
    expected = said(tmp_path / "xlmr", tokens.ids, tokens.mask)
    found = store.take(store.rows([text_key(text) for text in texts]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # what was not there is read with the prefix, too
    again = embed(tmp_path / "store", texts[:8], max_pixels=1)
    np.testing.assert_allclose(again, found[:8], atol=1e-6)
    config.unlock().extract.prefix = ""
    told = sentence(config.lock(), tmp_path / "store")
    assert f"prefix {PREFIX!r} -> None" in told


def test_texts_are_sorted_in_windows(shop, bert, monkeypatch):
    config = extraction(shop, bert, "title")
    titles = sorted({r.texts["title"] for r in records(config)} - {""})[:50]
    tokenizer, widths = load_tokenizer(str(bert)), []

    def apply(ids, mask):
        widths.append(ids.shape[1])
        return np.stack([ids.sum(axis=1), mask.sum(axis=1)], axis=1).astype(np.float32)

    def vectors():
        found, taken = {}, []
        items = (x for x in titles if taken.append(x) is None)
        options = {"tokenizer": tokenizer, "length": LENGTH, "tokens": 64}
        for batch in encode_texts(apply, items, **options):
            assert max(batch.positions) < len(taken) <= ahead + min(batch.positions)
            found |= zip(batch.positions.tolist(), batch.vectors, strict=True)
        return np.stack([found[i] for i in range(len(titles))])

    ahead = len(titles)
    whole = vectors()
    assert widths == sorted(widths, reverse=True)  # the longest first
    monkeypatch.setattr("hsjax.features.encoded_batches.WINDOW", ahead := 7)
    monkeypatch.setattr("hsjax.features.encoded_batches.CHUNK", 3)
    np.testing.assert_array_equal(vectors(), whole)


def test_few_pictures_are_in_memory_at_once(shop, tmp_path, monkeypatch):
    """However long the catalogue is: those ahead, and the batches under way."""
    ahead, rows, alive, most = 8, 4, weakref.WeakSet(), []

    class Picture(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    def counts(*arguments, **options):
        found = decode_image(*arguments, **options)
        picture = Picture(found.shape, found.dtype)
        picture[:] = found
        alive.add(picture)
        most.append(len(alive))
        return picture

    monkeypatch.setattr("hsjax.data.records._WINDOW", ahead)
    monkeypatch.setattr("hsjax.data.image.decode_image", counts)
    config = extraction(shop, write_images(tmp_path / "resnet"), "image", rows=rows)
    train_run(config, tmp_path / "store")
    assert len(most) > 120
    assert max(most) <= 2 * (ahead + AHEAD * rows)


def test_vectors_that_the_store_cannot_hold_are_refused(shop, tmp_path):
    def encode(items):
        count = len(list(items))
        yield EncodedBatch(np.arange(count), np.full((count, 2), 7e4, np.float32), None)

    config = extraction(shop, "unread", "title")
    encoder = FrozenEncoder({"shape": [2]}, encode)
    with pytest.raises(
        CatalogueError, match=r"reach 7e\+04, which float16 cannot hold"
    ):
        fill_store(config, lambda stored: records(config), encoder, tmp_path)
    assert not len(FeatureStore(tmp_path))
    with pytest.raises(CatalogueError, match="are not finite"):
        as_stored(np.array([[np.nan]], np.float32), "float32")


def test_a_catalogue_without_anything_to_encode_is_refused(bert, tmp_path):
    (tmp_path / "goods.csv").write_text("id,title,image\n1,,\n2, ,\n")
    config = extraction(tmp_path / "goods.csv", bert, "title").unlock()
    config.data.columns.text = ("title",)
    assert "has no title to encode" in sentence(config.lock(), tmp_path / "out")


def test_features_do_not_go_into_the_workdir_of_a_run(shop, bert, tmp_path):
    (tmp_path / "taxonomy.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    told = sentence(extraction(shop, bert, "title"), tmp_path)
    assert "is the workdir of a run" in told
    assert (tmp_path / "config.json").read_text() == "{}"
