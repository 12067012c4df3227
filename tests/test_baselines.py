"""Baselines: they learn, keep to the tree, and write the common table."""

import io
import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoders import extraction, path_of
from PIL import Image
from runs import TEXT, report, run_config, train_run

from hsjax.baselines.fitting import baseline_predictions, fit_baseline
from hsjax.baselines.nearest import NearestBaseline
from hsjax.baselines.svm import SvmBaseline
from hsjax.data.prepare import read_catalogue
from hsjax.data.records import CatalogueError, Record
from hsjax.data.store import FeatureStore
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import (
    deepest,
    read_predictions,
    write_predictions,
)
from hsjax.features.live import embed
from hsjax.features.stored_vectors import StoredVectors
from hsjax.settings.choices import check_choices
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError
from hsjax.trained.experts import LOG_PROBS, fitted_expert
from hsjax.trained.reports import trained_baseline
from hsjax.trained.scoring import evaluate_run
from hsjax.tree.codes import split_path

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
    monkeypatch.setattr("hsjax.baselines.nearest.CELLS", 7 * len(texts))
    np.testing.assert_array_equal(model.log_probs(texts), whole)
    monkeypatch.setattr("hsjax.baselines.nearest.CELLS", 1)
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


def test_it_reads_texts_and_needs_no_store(tmp_path):
    settings = {**TEXT, "task": "baseline", "baseline.calibrate": False}
    config = run_config(settings).copy_and_resolve_references().unlock()
    config.data.features.title = config.model.head.labels = str(tmp_path / "gone")
    config.model.head.label_rows = "title"
    train_run(config.lock(), tmp_path / "run")
    assert report(tmp_path / "run")["metrics"]["level1/accuracy"] > 0.5


class Points:
    """Vectors of items that are indices of rows."""

    def __init__(self, rows):
        self.rows = np.array(rows, np.float32)

    def items(self, records, columns):
        return [record.row for record in records]

    def transform(self, items):
        return self.rows[list(items)]

    fit_transform = transform


def votes(query, known, target, k):
    """Scores by a plain loop: (N, C) of the classes 0, 1, ... of `target`."""
    found = np.zeros((len(query), max(target) + 1))
    for row, x in enumerate(query):
        cosines = [float(np.dot(x, y)) for y in known]
        least = sorted(cosines, reverse=True)[min(k, len(cosines)) - 1] - 1e-6
        for c in range(found.shape[1]):
            own = [cos for cos, t in zip(cosines, target, strict=True) if t == c]
            near = [cos for cos in own if cos >= least and cos > 0] or [max(own)]
            if len(near) == 1:
                found[row, c] = near[0]
            else:
                found[row, c] = 0.07 * np.log(sum(np.exp(cos / 0.07) for cos in near))
    return found


def unit(rng, rows, width=6):
    x = rng.normal(size=(rows, width))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [2, 7, 1000])
def test_the_nearest_vote_as_in_a_plain_loop(k, monkeypatch):
    rng = np.random.default_rng(k)
    known, asked = unit(rng, 60), unit(rng, 23)
    known[3] = known[4] = known[50]  # as near as each other
    known[7] = 0.0  # without a picture
    asked[0], asked[1] = known[3], 0.0
    target = rng.integers(0, 9, 60)
    rows = np.concatenate([known, asked]).astype(np.float32)
    options = {"vectors": Points(rows), "calibrate": False, "neighbours": k}
    paths = [(f"c{t}",) for t in target]
    model = NearestBaseline(**options).fit(range(60), paths)
    expected = votes(rows[60:], rows[:60], target, k)
    found = model.log_probs(range(60, 83))
    shares = np.exp(expected / 0.07)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(found), shares, rtol=1e-4)
    np.testing.assert_allclose(found[1], np.log(1 / 9))  # nothing to go by
    assert model.parameters == 60 * 6
    assert model.flops(range(60, 83)) == 2 * 60 * 6
    monkeypatch.setattr("hsjax.baselines.nearest.CELLS", 5 * 60)
    np.testing.assert_allclose(model.log_probs(range(60, 83)), found, atol=1e-5)


def test_the_order_of_answers_is_that_of_the_vote_alone():
    """Classes that have none of the k nearest come after, whatever their own cosine."""
    rng = np.random.default_rng(0)
    rows = np.abs(unit(rng, 300))
    target, k = rng.integers(0, 40, 250), 5
    options = {"vectors": Points(rows), "calibrate": False, "neighbours": k}
    model = NearestBaseline(**options).fit(range(250), [(f"{t:02d}",) for t in target])
    found = model.log_probs(range(250, 300))
    for row, cosines in zip(found, rows[250:] @ rows[:250].T, strict=True):
        near = np.argsort(-cosines)[:k]
        weights = np.bincount(target[near], np.exp(cosines[near] / 0.07), minlength=40)
        voted = np.flatnonzero(weights)
        order = np.argsort(-row)
        assert order[0] == weights.argmax()
        assert set(order[: len(voted)]) == set(voted)


def test_texts_vote_by_their_words():
    """A text with one neighbour scores its cosine, as without a vote."""
    texts = ["red boot", "red shoe", "red cup", "blue cup", "green hat"]
    paths = [("A",), ("A",), ("B",), ("B",), ("C",)]
    asked = ["red boot", "cup", "unknown", "hat"]
    model, single = nearest(texts, paths, neighbours=3), nearest(texts, paths)
    found, alone = (
        m._scores(m.model, m.vectorizer.transform(asked)) for m in (model, single)
    )
    known = model.vectorizer.transform(texts).toarray()
    expected = votes(
        model.vectorizer.transform(asked).toarray(), known, [0, 0, 1, 1, 2], 3
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[0, 0] > alone[0, 0]  # its other red thing votes as well
    np.testing.assert_array_equal(found[2:], alone[2:])
    default = nearest(texts, paths, calibrate=True)
    one = nearest(texts, paths, calibrate=True, neighbours=1)
    np.testing.assert_array_equal(one.log_probs(asked), default.log_probs(asked))
    assert (single.temperature, model.temperature) == (0.05, 0.07)


def test_votes_are_calibrated_and_neighbours_are_counted(tree):
    train, test = make_records(400), make_records(200, seed=1)
    options = {"kind": "nearest", "ngrams": (1, 1), "neighbours": 5}
    fitted = answered(train, test, tree, **options)
    plain = answered(train, test, tree, calibrate=False, **options)
    assert score(fitted, bootstrap=0)["path/accuracy"] > 0.95
    np.testing.assert_array_equal(fitted.decoded["flat"], plain.decoded["flat"])
    np.testing.assert_allclose(fitted.topk_probs.sum(axis=1), 1, atol=1e-5)
    assert true_log_probs(fitted).mean() > true_log_probs(plain).mean()
    with pytest.raises(ValueError, match=r"baseline\.neighbours=0: give 1 or more"):
        fit_baseline(train, tree=tree, kind="nearest", neighbours=0)
    config = run_config({**TEXT, "task": "baseline", "baseline.neighbours": 0})
    with pytest.raises(ConfigError, match="baseline.neighbours is 0; it must be 1 or"):
        check_choices(config)


def on_store(shop, store, modality, **changes):
    """The config of a baseline on a store of texts or of pictures."""
    changes = {f"baseline.{key}": value for key, value in changes.items()}
    fixed = {"task": "baseline", "model.modalities": (modality,)}
    fixed["baseline.features"] = str(store)
    config = run_config({**path_of(shop), **fixed, **changes}).unlock()
    if modality == "image":
        config.data.features.image = str(store)
    return config.lock()


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 26, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


NO_PICTURE, STORED = 4, 9  # rows of `goods`, from 0


@pytest.fixture(scope="module")
def goods(tmp_path_factory, shop):
    """New titles and pictures; one row has neither, one is the shop's own."""
    rows = pq.read_table(shop).to_pylist()[:30]
    for i, row in enumerate(rows):
        if i != STORED:
            row["title"] = f"{row['title'] or 'spare'} of steel {i}"
            row["image"] = picture(i)
    rows[NO_PICTURE]["image"] = rows[NO_PICTURE]["title"] = None
    path = tmp_path_factory.mktemp("goods") / "goods.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def normalised(vectors):
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def learnt(config):
    """Unit vectors of the training pictures, their leaves, and the catalogue."""
    catalogue = read_catalogue(config)
    store, rows = FeatureStore(config.baseline.features), catalogue.rows("train")
    records = [catalogue.records[i] for i in rows]
    vectors = store.take(store.rows([r.image_key for r in records]))
    return normalised(vectors), np.array([r.path[-1] for r in records]), catalogue


def brute_answers(query, known, leaves, k):
    """The leaf that each picture is given, and the scores of all leaves, sorted."""
    classes, target = np.unique(leaves, return_inverse=True)
    scores = votes(query, known, target, k)
    return classes[scores.argmax(axis=1)], scores


def test_the_pictures_of_a_store_are_the_neighbours(shop, stores, goods, tmp_path):
    """A plain loop finds the same: on the test part, and on pictures of another file
    that the store's encoder has to make vectors of, wherever the store lies by then.
    """
    store = shutil.copytree(stores / "image", tmp_path / "store")
    options = {"kind": "nearest", "neighbours": 6, "calibrate": False}
    config = on_store(shop, store, "image", **options)
    train_run(config, tmp_path / "run")
    known, leaves, catalogue = learnt(config)
    tested = [catalogue.records[i] for i in catalogue.rows("test")]
    vectors = FeatureStore(store)
    rows = vectors.rows([r.image_key for r in tested])
    query = normalised(vectors.take(rows))
    found = read_predictions(tmp_path / "run" / "predictions.parquet")
    expected, scores = brute_answers(query, known, leaves, 6)
    np.testing.assert_array_equal(deepest(found.decoded["flat"]), expected)
    shares = np.exp(scores / 0.07)
    best = shares.max(axis=1) / shares.sum(axis=1)
    np.testing.assert_allclose(found.topk_probs[:, 0], best, rtol=1e-3)
    assert set(found.present) == {"image"}
    np.testing.assert_array_equal(found.present["image"], rows >= 0)
    assert not (rows >= 0).all()

    before = sorted(p.name for p in store.rglob("*"))
    store = store.rename(tmp_path / "moved")
    asked = {"source": str(goods), "part": "test", "corrupt": "", "seed": 0}
    asked["features"] = {"image": store}
    evaluate_run(tmp_path / "run", tmp_path / "out", **asked)
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    assert sorted(p.name for p in store.rglob("*")) == before
    items = [row["image"] for row in pq.read_table(goods).to_pylist()]
    query = np.zeros((30, known.shape[1]), np.float32)
    there = [i for i in range(30) if i != NO_PICTURE]
    query[there] = embed(store, [items[i] for i in there], max_pixels=10**6)
    expected, _ = brute_answers(normalised(query), known, leaves, 6)
    np.testing.assert_array_equal(deepest(found.decoded["flat"]), expected)
    np.testing.assert_array_equal(np.flatnonzero(~found.present["image"]), NO_PICTURE)
    equal = np.full(5, 1 / len(np.unique(leaves)))
    np.testing.assert_allclose(found.topk_probs[NO_PICTURE], equal, rtol=1e-5)


@pytest.mark.parametrize("modality", ["title", "image"])
@pytest.mark.parametrize("kind", ["svm", "nearest"])
def test_other_files_are_answered_by_a_store(
    shop, stores, goods, tmp_path, kind, modality
):
    """Stored or not, as the vectors say; a bench and an ensemble ask likewise."""
    config = on_store(shop, stores / modality, modality, kind=kind)
    catalogue = read_catalogue(config)
    model = trained_baseline(config, catalogue)
    again = trained_baseline(config, catalogue)
    columns = () if modality == "image" else ("title",)
    train_run(config, tmp_path / "run")
    asked = {"source": str(goods), "part": "test", "corrupt": "", "seed": 0}
    evaluate_run(tmp_path / "run", tmp_path / "out", **asked)
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    rows = pq.read_table(goods).to_pylist()
    made = embed(
        stores / modality, [row[modality] or "" for row in rows], max_pixels=10**6
    )
    again.vectorizer = Points(normalised(made))
    expected = again.log_probs(range(30)).max(axis=1)
    np.testing.assert_allclose(found.log_prob, expected, atol=1e-4)
    assert np.flatnonzero(~found.present[modality]).tolist() == [NO_PICTURE]
    # what costs and ensembles ask
    tested = [catalogue.records[i] for i in catalogue.rows("test")]
    width = FeatureStore(stores / modality).shape[0]
    classes, items = len(model.paths), model.items(tested, columns)
    count = len(catalogue.rows("train")) if kind == "nearest" else classes
    assert model.flops(items) == 2 * width * count
    bias = classes if kind == "svm" else 0
    assert model.parameters == width * count + bias
    leaves = {"columns": columns, "leaves": model.paths}
    (batch,) = fitted_expert(model, tested, **leaves)
    np.testing.assert_array_equal(batch[LOG_PROBS], model.log_probs(items))


def test_stored_pictures_need_not_be_seen(shop, stores, tmp_path):
    """A run of texts alone only hashes them; new ones it cannot have encoded."""
    options = {"kind": "nearest", "neighbours": 3}
    seen = on_store(shop, stores / "image", "image", **options)
    hashed = on_store(shop, stores / "image", "title", **options)
    for name, config in (("seen", seen), ("hashed", hashed)):
        train_run(config, tmp_path / name)
    a, b = (
        read_predictions(tmp_path / name / "predictions.parquet")
        for name in ("seen", "hashed")
    )
    np.testing.assert_array_equal(a.log_prob, b.log_prob)
    np.testing.assert_array_equal(a.topk_codes, b.topk_codes)
    blurred = {"source": None, "part": "test", "corrupt": "blur@3", "seed": 0}
    evaluate_run(tmp_path / "seen", tmp_path / "out", **blurred)
    c = read_predictions(tmp_path / "out" / "predictions.parquet")
    assert (c.log_prob != a.log_prob)[a.present["image"]].any()
    np.testing.assert_array_equal(c.present["image"], a.present["image"])
    with pytest.raises(
        CatalogueError, match="lacks pictures that were not kept as its"
    ):
        evaluate_run(tmp_path / "hashed", tmp_path / "out2", **blurred)


def test_what_a_store_cannot_give_is_explained(shop, stores, resnet, goods, tmp_path):
    config = on_store(shop, stores / "image", "image", kind="nearest")
    catalogue = read_catalogue(config)
    vectors = StoredVectors(stores / "image", max_pixels=10**6)
    unknown = replace(catalogue.records[0], image_key="k" * 40, image=None)
    lacks = r"lacks pictures .* were not kept .*\(1, first: row 1, id P000000\): name"
    with pytest.raises(CatalogueError, match=lacks):
        vectors.transform([*catalogue.records[1:3], unknown])
    decoded = replace(unknown, image=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(CatalogueError, match=r"same folder in data\.features\.image"):
        vectors.transform([decoded])
    absent = [replace(r, image_key="", image=None) for r in catalogue.records[:2]]
    np.testing.assert_array_equal(vectors.transform(absent), np.zeros((2, 12)))
    with pytest.raises(CatalogueError, match="no training row has a picture: check"):
        vectors.fit_transform(absent)
    texts = StoredVectors(stores / "title", max_pixels=1)
    with pytest.raises(CatalogueError, match="every training text is empty: check"):
        texts.fit_transform(["", " "])

    # its encoder has gone, which a baseline does not blame on words
    gone = shutil.copytree(stores / "image", tmp_path / "gone")
    facts = json.loads((gone / "store.json").read_text())
    (gone / "store.json").write_text(json.dumps(facts | {"source": "moved"}))
    new = replace(unknown, image=picture(0))
    model = NearestBaseline(vectors=StoredVectors(gone, max_pixels=10**6))
    with pytest.raises(
        CatalogueError, match=r"^\S+gone lacks some items, and its enco"
    ):
        model.fit([catalogue.records[0], new], [("A",), ("B",)])

    states = extraction(shop, resnet, "image", states=True)
    train_run(states, tmp_path / "states")
    with pytest.raises(CatalogueError, match=r"every cell of a picture; extract one"):
        StoredVectors(tmp_path / "states", max_pixels=1)
