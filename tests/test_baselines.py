"""B1, the linear SVM: it learns, keeps to the tree, and writes the common table."""

import numpy as np
import pytest

from hsjax.baselines import fit_svm, svm_predictions
from hsjax.codes import split_path
from hsjax.data.records import CatalogueError, Record
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import read_predictions, write_predictions
from hsjax.svm import SvmBaseline
from hsjax.taxonomy import Taxonomy

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
    return svm_predictions(fit_svm(train, tree=tree, **options), test, tree=tree)


@pytest.fixture(scope="module")
def tree():
    return Taxonomy.from_paths(map(split_path, WORDS), separator=" > ")


@pytest.fixture(scope="module")
def predictions(tree):
    return answered(make_records(200), make_records(60, seed=1), tree)


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
        fit_svm(make_records(8), columns=("name",), tree=tree)
    with pytest.raises(CatalogueError, match="has no rows"):
        answered(make_records(8), [], tree)


def test_ngrams_are_words_of_a_feature():
    paths = [("A",), ("B",)] * 10
    texts = ["red shoe", "shoe red"] * 10
    pairs = SvmBaseline(ngrams=(1, 2), calibrate=False).fit(texts, paths)
    words = SvmBaseline(ngrams=(1, 1), calibrate=False).fit(texts, paths)
    assert pairs.log_probs(texts).argmax(axis=1).tolist() == [0, 1] * 10
    assert np.ptp(words.log_probs(texts), axis=0).max() < 1e-6  # a bag has no order
    with pytest.raises(CatalogueError, match="svm.ngrams"):
        SvmBaseline(ngrams=(2, 1))
