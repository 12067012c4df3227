"""Wrong labels are found by models that have not seen them."""

import csv
import dataclasses

import numpy as np
import pytest
from runs import TEXT, command, run_config, train_run

from hsjax.data.records import CatalogueError
from hsjax.data.synthetic import make_records
from hsjax.evaluation.label_audit import (
    SCORES,
    fold_numbers,
    found_share,
    out_of_fold,
    plant_errors,
    rank_labels,
)
from hsjax.taxonomy import Taxonomy
from hsjax.trained.suspects import (
    audit_labels,
    audit_run_labels,
    declared_labels,
    linear_answers,
)


@pytest.fixture(scope="module")
def rows():
    """Declared labels of the synthetic catalogue."""
    config = run_config(data__synthetic__products=1200).data
    records = make_records(config, pictures=False)
    tree = Taxonomy.from_paths([r.path for r in records], separator="")
    return declared_labels(records, tree)


def test_planted_errors_of_the_synthetic_catalogue_are_found(rows):
    """5 % of labels wrong: most stand in the first tenth, although a fourth of the
    titles does not tell the class (the best possible accuracy on them is 0.74)."""
    audit = audit_labels(rows, columns=("title",), seed=0)
    judged = len(audit.ranking.order) / len(rows.labels)  # the others cannot be found
    assert audit.found / judged > 0.7
    wrong, planted = plant_errors(rows.labels, share=0.05, seed=0)
    assert planted.mean() == pytest.approx(0.05, abs=1e-3)
    assert (wrong != rows.labels).tolist() == planted.tolist()
    # the same by hand, and with the other scores
    fold = fold_numbers(rows.groups, wrong)
    texts = [r.texts["title"] for r in rows.records]
    answer = linear_answers(wrong, rows.groups, texts, classes=len(rows.paths))
    log_probs = out_of_fold(fold, len(rows.paths), answer)
    log_probs[[not text for text in texts]] = -np.inf
    found = {
        score: found_share(rank_labels(log_probs, wrong, score=score), planted)
        for score in SCORES
    }
    assert found["weighted"] == audit.found
    assert found["weighted"] >= max(found["margin"], found["self_confidence"])
    assert min(found.values()) > 0.3, "by chance it is a tenth"
    confident = rank_labels(log_probs, wrong).confident
    assert planted[confident].mean() > 1.5 * planted.mean()


def test_rows_that_cannot_be_judged_are_left_out(rows):
    texts = [
        {**r.texts, "title": ""} if not i % 7 else r.texts
        for i, r in enumerate(rows.records)
    ]
    records = [
        dataclasses.replace(r, texts=t)
        for r, t in zip(rows.records, texts, strict=True)
    ]
    audit = audit_labels(
        rows._replace(records=records), columns=("title",), folds=2, planted=0.0
    )
    judged = set(audit.ranking.order.tolist())
    blank = {i for i, r in enumerate(records) if not r.texts["title"]}
    assert not judged & blank
    assert np.isnan(audit.found)
    two = rows.labels % 2
    alone = rows._replace(labels=two, groups=two, paths=rows.paths[:2])
    with pytest.raises(CatalogueError, match="no class has two products"):
        audit_labels(alone, columns=("title",), folds=2)
    one = rows._replace(groups=np.zeros_like(rows.groups))
    with pytest.raises(CatalogueError, match="are one group of products"):
        audit_labels(one, columns=("title",))


def test_a_row_is_never_judged_by_its_own_group():
    rng = np.random.default_rng(0)
    groups, labels = rng.integers(40, size=200), rng.integers(5, size=200)
    fold = fold_numbers(groups, labels, folds=4, seed=3)
    for group in range(40):
        assert len(set(fold[groups == group].tolist())) <= 1
    sizes = np.bincount(fold, minlength=4)
    assert sizes.min() > 25
    assert (fold_numbers(groups, labels, folds=4, seed=3) == fold).all()
    assert (fold_numbers(groups, labels, folds=4, seed=4) != fold).any()
    # each class of single rows is in every fold
    spread = fold_numbers(np.arange(200), labels, folds=4)
    for label in range(5):
        counts = np.bincount(spread[labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1

    def answer(learnt, held):
        assert not set(groups[learnt]) & set(groups[held])
        assert len(learnt) + len(held) == 200
        return np.zeros((len(held), 5))

    assert out_of_fold(fold, 5, answer).shape == (200, 5)


def test_confident_learning_has_a_threshold_for_each_class():
    """Class 1 is never predicted surely: 0.4 is much for it, 0.5 little for class 0."""
    kinds = [(0, 0.9, 0.05, 0.05)] * 8 + [(1, 0.6, 0.35, 0.05)] * 8
    kinds += [(2, 0.05, 0.05, 0.9)] * 4 + [(2, 0.5, 0.4, 0.1), (0, 0.55, 0.4, 0.05)]
    labels = np.array([kind[0] for kind in kinds])
    probs = np.array([kind[1:] for kind in kinds])
    found = rank_labels(np.log(probs), labels)
    # the last one is less sure than is usual, too, but the model agrees with it
    assert np.flatnonzero(found.confident).tolist() == [20]
    assert found.order[0] == 20
    np.testing.assert_allclose(found.label_prob, probs[np.arange(22), labels])
    assert found.suggestion[[0, 8, 20, 21]].tolist() == [1, 0, 0, 1]
    sure = rank_labels(np.log(probs), labels, score="self_confidence")
    assert set(sure.order[:9].tolist()) == {*range(8, 16), 20}
    unseen = np.log(probs)
    unseen[3] = -np.inf, 0.0, -np.inf
    found = rank_labels(unseen, labels)
    assert 3 not in found.order
    assert not found.confident[3]


def test_planting_needs_two_labels():
    with pytest.raises(ValueError, match="two different"):
        plant_errors(np.zeros(9, int))
    wrong, planted = plant_errors(np.array([0] * 99 + [1]), share=0.3, seed=1)
    assert planted.sum() == 30
    assert set(wrong[planted][:5].tolist()) <= {0, 1}


def test_the_command_ranks_the_labels_of_a_catalogue(shop, tmp_path):
    columns = {
        **TEXT,
        "task": "baseline",
        "data.path": str(shop),
        "data.columns.id": "id",
        "data.columns.label": ("hs_code",),
        "data.columns.group": "group",
        "data.columns.image": "image",
    }
    train_run(run_config(columns), tmp_path / "run")
    flags = (f"--run={tmp_path / 'run'}", f"--output={tmp_path / 'out'}")
    process = command(*flags, "--audit-labels", module="hsjax.evaluate")
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    text = (tmp_path / "out/label_audit.md").read_text()
    assert text.strip() in out
    assert "% of 5 % planted errors in the first 10 %" in text
    with (tmp_path / "out/label_audit.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(x["rank"]) for x in lines] == list(range(1, len(lines) + 1))
    scores = [float(x["score"]) for x in lines]
    assert scores == sorted(scores)
    assert all(x["label"] != x["suggestion"] for x in lines)
    options = {"source": None, "seed": 0}
    for folder, planted, reason in (
        ("out", 2.0, "--planted=2"),
        ("run", 0.0, "is a workdir of a run"),
    ):
        with pytest.raises(CatalogueError, match=reason):
            audit_run_labels(
                tmp_path / "run", tmp_path / folder, planted=planted, **options
            )
