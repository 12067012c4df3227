"""Baselines on text: they learn, keep to the tree, and write the common table."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from runs import TEXT, report, run_config, train_run

from hsjax.baselines import baseline_predictions, fit_baseline
from hsjax.choices import check_choices
from hsjax.codes import split_path
from hsjax.data.records import CatalogueError, Record
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import (
    deepest,
    read_predictions,
    write_predictions,
)
from hsjax.nearest import NearestBaseline
from hsjax.svm import SvmBaseline
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import plain, read_config
from hsjax.train.workdir import ConfigError, write_config

WORDS = {
    "Clothes > Shirts": "cotton shirt collar",
    "Clothes > Trousers": "denim trousers leg",
    "Shoes > Boots": "leather boots sole",
    "Shoes": "shoelace care kit",
}


def make_records(count, *, seed=0, words=WORDS):
    rng = np.random.default_rng(seed)
    noise = [f"brand{i}" for i in range(30)]
    records = []
    for row in range(count):
        label = list(words)[row % len(words)]
        title = f"{rng.choice(noise)} {rng.choice(words[label].split())} {row}"
        records.append(make_record(row + 1, title, split_path(label)))
    return records


def make_record(row, title, path, *, complete=True):
    texts = {"title": title, "brand": ""}
    empty = dict.fromkeys(("image_key", "platform", "date", "split"), "")
    return Record(
        row=row,
        id=f"r{row}",
        texts=texts,
        image=None,
        path=path,
        complete=complete,
        group=f"g{row}",
        extra={},
        **empty,
    )


def answered(train, test, tree, **options):
    model = fit_baseline(train, tree=tree, **options)
    return baseline_predictions(model, test, tree=tree)


@pytest.fixture(scope="module")
def tree():
    return Taxonomy.from_paths(map(split_path, WORDS), separator=" > ")


@pytest.fixture(scope="module")
def predictions(tree):
    return answered(make_records(200), make_records(60, seed=1), tree)


def test_as_many_classes_as_rows_are_no_warning():
    """Of scikit-learn: what else it warns of is said."""
    words = {f"Goods > {i}": f"word{i} thing{i}" for i in range(30)}
    tree = Taxonomy.from_paths(map(split_path, words), separator=" > ")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit_baseline(make_records(40, words=words), tree=tree)
    assert len(model.paths) == 30
    assert not [str(w.message) for w in caught]


def test_learns_and_scores(predictions):
    found = score(predictions, bootstrap=50)
    assert found["path/accuracy"] > 0.95
    assert found["invalid_paths/flat"] == 0
    assert found["level2/top5_accuracy"] > 0.95


def test_probabilities_are_one_distribution(predictions):
    p = predictions
    assert (p.prob[:, 0] + 1e-6 >= p.prob[:, 1]).all()
    np.testing.assert_allclose(p.topk_probs.sum(axis=1), 1, atol=1e-5)  # 4 paths, K = 5
    np.testing.assert_allclose(np.exp(p.log_prob), p.topk_probs[:, 0], atol=1e-6)
    stopped = p.decoded["flat"][:, 1] == ""
    assert stopped.any()
    assert (p.prob[stopped, 1] == 0).all()
    assert (p.level_topk[:, 1, 3:] == "").all()  # level 2 has three real nodes


def test_temperature_calibrates(tree):
    train, test = make_records(400), make_records(200, seed=1)
    sharp = answered(train, test, tree)
    plain = answered(train, test, tree, calibrate=False)
    names = ("level1/ece", "level2/ece")
    errors = [[score(p, bootstrap=0)[n] for n in names] for p in (sharp, plain)]
    assert np.less(*errors).all()
    np.testing.assert_array_equal(sharp.decoded["flat"], plain.decoded["flat"])


def test_writes_the_common_table(predictions, tmp_path):
    write_predictions(predictions, tmp_path / "p.parquet")
    found = read_predictions(tmp_path / "p.parquet")
    np.testing.assert_array_equal(found.decoded["flat"], predictions.decoded["flat"])
    assert set(found.present) == {"title", "image"}


def test_unknown_below_is_no_class_and_outside_is_counted(tree):
    train = make_records(120)
    vague = make_record(999, "cotton shirt collar", ("Clothes",), complete=False)
    test = [
        make_record(1, "cotton shirt", ("Clothes", "Clothes > Hats")),
        make_record(2, "leather boots", ("Shoes", "Shoes > Boots")),
        make_record(3, "", ()),
    ]
    unlabelled = make_record(1000, "leather", ())
    found = answered([*train, vague, unlabelled], test, tree)
    assert found.outside.tolist() == [True, False, False]
    assert "Clothes" not in found.topk_codes
    assert found.truth[0].tolist() == ["Clothes", "Clothes > Hats"]
    assert found.present["title"].tolist() == [True, True, False]


def test_is_deterministic(tree, predictions):
    again = answered(make_records(200), make_records(60, seed=1), tree)
    np.testing.assert_array_equal(again.prob, predictions.prob)


def test_two_classes_and_their_order():
    paths = [("A",), ("B",)] * 10
    model = SvmBaseline(calibrate=False).fit(["red", "blue"] * 10, paths)
    log_probs = model.log_probs(["red", "blue"])
    assert log_probs.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1)


def test_mistakes_are_explained(tree):
    with pytest.raises(CatalogueError, match="two different labels"):
        SvmBaseline().fit(["a b"], [("A",)])
    with pytest.raises(CatalogueError, match="every training text is empty"):
        SvmBaseline().fit(["", ""], [("A",), ("B",)])
    with pytest.raises(CatalogueError, match="no text column 'name'"):
        fit_baseline(make_records(8), columns=("name",), tree=tree)
    with pytest.raises(CatalogueError, match="has no rows"):
        answered(make_records(8), [], tree)


def test_ngrams_are_words_of_a_feature():
    paths = [("A",), ("B",)] * 10
    texts = ["red shoe", "shoe red"] * 10
    pairs = SvmBaseline(ngrams=(1, 2), calibrate=False).fit(texts, paths)
    words = SvmBaseline(ngrams=(1, 1), calibrate=False).fit(texts, paths)
    assert pairs.log_probs(texts).argmax(axis=1).tolist() == [0, 1] * 10
    assert np.ptp(words.log_probs(texts), axis=0).max() < 1e-6  # a bag has no order
    with pytest.raises(CatalogueError, match="baseline.ngrams"):
        SvmBaseline(ngrams=(2, 1))


def nearest(texts, paths, **options):
    """Word by word and uncalibrated, if nothing else is said."""
    defaults = {"ngrams": (1, 1), "calibrate": False}
    return NearestBaseline(**{**defaults, **options}).fit(texts, paths)


def test_a_class_scores_its_nearest_text_by_hand():
    texts = ["red boot", "cup", "boot red boot", "hat", "cup hat"]
    paths = [("B",), ("A",), ("B",), ("C",), ("A",)]
    model = nearest(texts, paths)
    asked = ["red cup", "hat boot boot", "unknown"]
    words = ["boot", "cup", "hat", "red"]
    known = np.array([2, 2, 2, 2])  # texts that have them
    idf = np.log((1 + len(texts)) / (1 + known)) + 1

    def vector(text):
        counts = np.array([text.split().count(word) for word in words], float)
        found = idf * np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
        return found / max(np.linalg.norm(found), 1e-9)

    cosines = np.array([[vector(a) @ vector(b) for b in texts] for a in asked])
    best = np.stack([cosines[:, [1, 4]], cosines[:, [0, 2]]]).max(axis=2).T
    scores = np.concatenate([best, cosines[:, [3]]], axis=1)
    odds = np.exp(scores / 0.05)
    expected = odds / odds.sum(axis=1, keepdims=True)
    assert model.paths == [("A",), ("B",), ("C",)]
    found = np.exp(model.log_probs(asked))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found[2], 1 / 3)  # nothing to go by
    # what is paid: each word of a text with the texts that have it, and its idf
    assert model.parameters == 8 + 4
    assert model.flops(asked) == 2 * (2 + 2 + 2 + 2) / 3


def test_characters_find_a_word_that_is_spelt_otherwise():
    texts, paths = ["boots", "teacup"], [("A",), ("B",)]
    words = nearest(texts, paths)
    letters = nearest(texts, paths, analyzer="char_wb", ngrams=(3, 3))
    found = [np.exp(m.log_probs(["a booot", "teacups"])) for m in (words, letters)]
    np.testing.assert_allclose(found[0], 0.5)
    assert found[1][0, 0] > 0.9
    assert found[1][1, 1] > 0.9
    # within words: no feature spans two of them
    assert "p t" not in letters.vectorizer.vocabulary_
    linear = SvmBaseline(analyzer="char_wb", ngrams=(3, 3), calibrate=False)
    assert linear.fit(texts, paths).log_probs(["a booot"]).argmax() == 0


def test_batches_of_texts_change_nothing(monkeypatch):
    train = make_records(120)
    texts, paths = [r.texts["title"] for r in train], [r.path for r in train]
    model = NearestBaseline(calibrate=False).fit(texts, paths)
    whole = model.log_probs(texts)
    monkeypatch.setattr("hsjax.nearest.CELLS", 7 * len(texts))
    np.testing.assert_array_equal(model.log_probs(texts), whole)
    monkeypatch.setattr("hsjax.nearest.CELLS", 1)
    np.testing.assert_array_equal(model.log_probs(texts), whole)


def test_the_nearest_text_learns_and_repeats(tree):
    train, test = make_records(400), make_records(200, seed=1)
    options = {"kind": "nearest", "ngrams": (1, 1)}
    found, again = (answered(train, test, tree, **options) for _ in range(2))
    for name in ("prob", "topk_codes", "log_prob"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert score(found, bootstrap=0)["path/accuracy"] > 0.95


def test_the_nearest_text_is_calibrated_where_labels_are_noisy(tree):
    def noisy(count, seed):
        rng = np.random.default_rng(seed)
        paths = [split_path(label) for label in WORDS]
        records = make_records(count, seed=seed)
        other = rng.random(count) < 0.4
        drawn = rng.integers(0, len(paths), count)
        pairs = zip(records, other, drawn, strict=True)
        return [replace(r, path=paths[i]) if x else r for r, x, i in pairs]

    train, test = noisy(600, 0), noisy(300, 1)
    options = {"kind": "nearest", "ngrams": (1, 1)}
    fitted = answered(train, test, tree, **options)
    plain = answered(train, test, tree, calibrate=False, **options)
    likelihoods = [true_log_probs(p).mean() for p in (fitted, plain)]
    assert likelihoods[0] > likelihoods[1] + 0.1
    np.testing.assert_array_equal(fitted.decoded["flat"], plain.decoded["flat"])


def true_log_probs(predictions):
    """Of the true path; the K answers are all that there are."""
    p = predictions
    right = p.topk_codes == deepest(p.truth)[:, None]
    return np.log(np.where(right, p.topk_probs, 0).sum(axis=1))


def test_kinds_take_their_own_settings(tree):
    train = make_records(40)
    assert fit_baseline(train, tree=tree, penalty=0.5).penalty == 0.5
    found = fit_baseline(train, tree=tree, kind="nearest", penalty=0.5)
    assert isinstance(found, NearestBaseline)
    with pytest.raises(CatalogueError, match=r"baseline.penalty=0\.0"):
        fit_baseline(train, tree=tree, penalty=0.0)
    with pytest.raises(CatalogueError, match="baseline.analyzer='char': known are"):
        fit_baseline(train, tree=tree, analyzer="char")
    config = run_config({**TEXT, "task": "baseline", "baseline.kind": "neares"})
    with pytest.raises(ConfigError, match=r"baseline.kind.*mean 'nearest'"):
        check_choices(config)


def test_a_workdir_of_the_svm_of_old_is_read(tmp_path):
    config = run_config({**TEXT, "task": "baseline", "baseline.penalty": 0.5})
    write_config(config, tmp_path)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text())
    group = document["config"].pop("baseline")
    group = {k: group[k] for k in ("ngrams", "penalty", "calibrate")}
    document["config"]["svm"] = group
    path.write_text(json.dumps(document))
    assert plain(read_config(tmp_path)) == plain(config)


def test_it_reads_texts_and_needs_no_store(tmp_path):
    settings = {**TEXT, "task": "baseline", "baseline.calibrate": False}
    config = run_config(settings).copy_and_resolve_references().unlock()
    config.data.features.title = config.model.head.labels = str(tmp_path / "gone")
    config.model.head.label_rows = "title"
    train_run(config.lock(), tmp_path / "run")
    assert report(tmp_path / "run")["metrics"]["level1/accuracy"] > 0.5
