"""Two stages: what a threshold costs and gains, and the command on tiny runs."""

import csv
import json
import re
import shutil
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from encoders import path_of
from ml_collections import ConfigDict
from runs import TEXT, command, report, run_config, train_run
from sklearn.metrics import log_loss

from hsjax.data import examples
from hsjax.data.records import CatalogueError, Quarantine
from hsjax.evaluation import cascade_bounds
from hsjax.evaluation.calibration import (
    CALIBRATIONS,
    calibrated,
    fit_calibration,
    least_stated,
)
from hsjax.evaluation.cascade_bounds import (
    EVEN,
    least_gaps,
    looked_at,
    within_quality,
)
from hsjax.evaluation.cascade_curve import (
    MAIN,
    NEVER,
    Curve,
    cascade_curve,
    mean_cost,
    merged,
    reached,
    within_cost,
)
from hsjax.evaluation.cascade_report import (
    PartCost,
    cascade_table,
    costs_table,
    reached_table,
    told_thresholds,
)
from hsjax.evaluation.intervals import resamples
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.explanation.verifying import verify
from hsjax.features import encoded_batches, live
from hsjax.features.live import Encoded
from hsjax.inference.cascade import (
    check_stages,
    read_cascade,
    stated,
    write_cascade,
)
from hsjax.inference.cascade_fit import Wish, check_truth, fit_cascade
from hsjax.inference.cascade_told import told_cascade
from hsjax.prediction.answers import UNSURE
from hsjax.prediction.audit_record import audit_path
from hsjax.prediction.cascaded import open_cascade
from hsjax.prediction.catalogue import STATED, predict_catalogue
from hsjax.prediction.question import Question
from hsjax.train.workdir import write_config
from hsjax.trained import cascade_cost
from hsjax.trained.asked_rows import AskedRows, kept_back
from hsjax.trained.cascade_cost import open_stages, stage_costs, summed
from hsjax.trained.cascade_sample import PICTURES
from hsjax.trained.cascading import run_cascade
from hsjax.trained.members import load_members
from hsjax.trained.scoring import evaluate_run

ROWS = 60


class Product(NamedTuple):
    id: str
    path: tuple


CODES = np.array([["a", "a > x"], ["a", "a > y"], ["b", "b > z"]], object)
COSTS = (0.5, 4.0)


def predictions(seed, share, main="path", group=None):
    """Answers of which this share is right, with probabilities that say so."""
    rng = np.random.default_rng(seed)
    truth = CODES[np.random.default_rng(9).integers(0, 3, ROWS)]
    right = rng.random(ROWS) < share
    answer = np.where(right[:, None], truth, CODES[rng.integers(0, 3, ROWS)])
    stated = np.clip(np.where(right, 0.7, 0.4) + rng.normal(0, 0.1, ROWS), 0.05, 0.99)
    stated = stated.round(2)  # some are equal
    return Predictions(
        row=np.arange(1, ROWS + 1),
        id=np.array([f"p{i}" for i in range(ROWS)], object),
        group=np.arange(ROWS) if group is None else group,
        truth=truth,
        complete=np.ones(ROWS, bool),
        outside=np.zeros(ROWS, bool),
        decoded={main: answer},
        valid={main: np.ones(ROWS, bool)},
        prob=np.repeat(stated[:, None], 2, axis=1),
        log_prob=np.log(stated),
        topk_codes=answer[:, 1:],
        topk_probs=stated[:, None],
        level_topk=answer[:, :, None],
        present={"title": np.ones(ROWS, bool)},
        embeddings={},
        stage=np.full(ROWS, "", object),
        main=main,
        separator=" > ",
    )


CHEAP, STRONG = predictions(0, 0.6), predictions(1, 0.9)
CONFIDENCE = np.exp(CHEAP.log_prob)


def both(threshold):
    """The merged answers at a threshold, by hand."""
    sent = np.flatnonzero(np.less(CONFIDENCE, threshold))
    return merged(
        CHEAP,
        STRONG.select(sent),
        escalated=sent,
        abstained=np.zeros(ROWS, bool),
        present=CHEAP.present,
    )


def test_the_curve_is_that_of_merged_answers():
    curve = cascade_curve(CHEAP, STRONG, CONFIDENCE)
    assert len(curve.threshold) == len(np.unique(CONFIDENCE)) + 1
    for i, threshold in enumerate(curve.threshold):
        found = score(both(threshold), bootstrap=0)
        assert curve.f1[i] == pytest.approx(found["hierarchical/f1"])
        assert curve.accuracy[i] == pytest.approx(found["path/accuracy"])
        assert curve.escalated[i] == pytest.approx(
            np.less(CONFIDENCE, threshold).mean()
        )


def test_threshold_0_and_1_are_the_two_models_and_the_cost_grows_between():
    curve = cascade_curve(CHEAP, STRONG, CONFIDENCE)
    alone = [score(p, bootstrap=0)["hierarchical/f1"] for p in (CHEAP, STRONG)]
    assert [curve.f1[0], curve.f1[-1]] == pytest.approx(alone)
    assert (both(0.0).decoded[MAIN] == CHEAP.decoded["path"]).all()
    assert set(both(0.0).stage) == {"cheap"}
    assert (both(2.0).decoded[MAIN] == STRONG.decoded["path"]).all()
    assert (both(2.0).prob == STRONG.prob).all()
    assert set(both(2.0).stage) == {"strong"}
    assert (np.diff(mean_cost(curve.escalated, COSTS)) > 0).all()


def test_wishes_are_kept_on_the_rows_they_are_fitted_on():
    curve = cascade_curve(CHEAP, STRONG, CONFIDENCE)
    for metric, figures in (
        ("hierarchical_f1", curve.f1),
        ("accuracy", curve.accuracy),
    ):
        gaps = least_gaps(CHEAP, STRONG, CONFIDENCE, curve, metric=metric, sure=EVEN)
        np.testing.assert_array_equal(gaps, figures - figures[-1])
        for loss in (0.0, 0.02, 0.1):
            i = within_quality(gaps, loss)
            assert (figures[i:] >= figures[-1] - loss).all()
            assert i == 0 or figures[i - 1] < figures[-1] - loss
        for budget in (0.5, 1.7, 9.0):
            i = within_cost(curve, COSTS, budget, metric)
            affordable = mean_cost(curve.escalated, COSTS) <= budget
            assert affordable[i]
            assert figures[i] == figures[affordable].max()
    assert within_cost(curve, COSTS, 0.4) is None


def test_a_lucky_point_of_a_curve_is_not_taken_for_a_wish_that_holds():
    figures = np.array([0.80, 0.905, 0.86, 0.87, 0.90, 0.91])
    assert within_quality(figures - figures[-1], 0.01) == 4
    assert within_quality(np.array([-0.001, 0.0]), 0.01) == 0
    assert within_quality(np.array([-0.1, -0.1, 0.0]), 0.01) == 2


@pytest.mark.parametrize("metric", ["hierarchical_f1", "accuracy"])
def test_the_bound_of_a_gap_is_that_of_resampled_groups(metric, monkeypatch):
    """Against a plain loop over resampled rows, with groups of several rows."""
    monkeypatch.setattr(cascade_bounds, "DRAWS", 20)
    group = np.arange(ROWS) // 3
    cheap, strong = (predictions(*x, group=group) for x in ((0, 0.6), (1, 0.9)))
    curve = cascade_curve(cheap, strong, CONFIDENCE)
    found = least_gaps(cheap, strong, CONFIDENCE, curve, metric=metric, sure=0.9)
    (weights,) = resamples(group, count=cascade_bounds.DRAWS)
    plain = []
    for draw in weights.T.astype(int):
        rows = np.repeat(np.arange(ROWS), draw)
        sides = cheap.select(rows), strong.select(rows)
        own = []
        for threshold in curve.threshold:
            sent = np.flatnonzero(CONFIDENCE[rows] < threshold)
            routes = {"escalated": sent, "abstained": np.zeros(len(rows), bool)}
            both = merged(sides[0], sides[1].select(sent), **routes, present={})
            told = reached(both, sides[1])
            own.append(told.f1 if metric == "hierarchical_f1" else told.accuracy)
        plain.append(np.array(own) - own[-1])
    np.testing.assert_allclose(found, np.quantile(plain, 0.1, axis=0), atol=1e-12)


def test_a_long_curve_is_looked_at_in_places(monkeypatch):
    curve = cascade_curve(CHEAP, STRONG, CONFIDENCE)
    words = {"metric": "accuracy", "sure": 0.9}
    every = least_gaps(CHEAP, STRONG, CONFIDENCE, curve, **words)
    monkeypatch.setattr(cascade_bounds, "GRID", 7)
    places = looked_at(curve)
    assert len(places) <= 7
    assert places[0] == 0
    assert places[-1] == len(curve.threshold) - 1
    some = least_gaps(CHEAP, STRONG, CONFIDENCE, curve, **words)
    np.testing.assert_allclose(some, every[places], atol=1e-12)


def test_a_surer_wish_sends_more_on():
    wishes = [fitted(quality=10.0, sure=x) for x in (EVEN, 0.8, 0.95)]
    sent = [x.reached.escalated for x in wishes]
    assert sent == sorted(sent)
    assert sent[0] < sent[-1]
    first, second = (
        (p.decoded["path"] == p.truth).all(axis=1) for p in (CHEAP, STRONG)
    )
    blind = np.where(second & ~first, 0.9, np.linspace(0.2, 0.8, ROWS))
    blind = replace(CHEAP, log_prob=np.log(blind))  # surest where it is wrong
    words = {"runs": ("a", "b"), "costs": COSTS, "fitted": "here"}
    none = fit_cascade(blind, STRONG, wish=Wish(quality=0.0), **words)
    assert none.reached.escalated == 1
    assert none.wished.endswith(
        "of no threshold do these rows say so, so that all are sent on"
    )


def test_runs_that_read_other_labels_are_no_cascade():
    other = STRONG.truth.copy()
    other[4] = ["b", "b > z"]
    with pytest.raises(CatalogueError, match="other labels of 1 of 60 rows: row 5 is"):
        check_truth(CHEAP, replace(STRONG, truth=other), ("one", "two"))
    words = {"runs": ("a", "b"), "costs": COSTS, "fitted": "here"}
    with pytest.raises(CatalogueError, match="other labels"):
        fit_cascade(CHEAP, replace(STRONG, truth=other), wish=Wish(quality=1), **words)


def test_nothing_is_told_to_be_sent_on_where_people_get_it():
    found = fitted(threshold=0.6)._replace(floor=0.9)
    sent, left = found.routed(CHEAP)
    routes = {"escalated": sent, "abstained": left, "present": {}}
    answered = merged(CHEAP, STRONG.select(sent), **routes)
    told = told_cascade(("a", "b"), found, answered, None)
    (line,) = (x for x in told.splitlines() if "left to people below" in x)
    assert "0.9" not in line, "a row of 0.7 is answered"
    assert "the strong one is right too seldom" in told


def test_what_is_left_to_people_has_no_answer_and_no_probability():
    sent, left = np.array([0, 1]), np.arange(ROWS) >= ROWS - 3
    found = merged(
        CHEAP,
        STRONG.select(sent),
        escalated=sent,
        abstained=left,
        present=CHEAP.present,
    )
    assert (found.decoded[MAIN][left] == "").all()
    assert np.isnan(found.log_prob[left]).all()
    assert found.stage.tolist().count("none") == 3
    metrics = score(found, bootstrap=0)
    assert metrics["hierarchical/recall"] < metrics["hierarchical/precision"]


def test_what_is_reached_is_told_with_and_without_what_is_left_to_people():
    sent, left = np.array([0, 1]), np.arange(ROWS) % 3 == 2
    routes = {"escalated": sent, "abstained": left, "present": {}}
    found = merged(CHEAP, STRONG.select(sent), **routes)
    told = reached(found, STRONG)
    assert told[:3] == (ROWS, pytest.approx(2 / ROWS), pytest.approx(1 / 3))
    for p, f1, accuracy in (
        (found, told.f1, told.accuracy),
        (found.select(~left), told.answered_f1, told.answered_accuracy),
        (STRONG, told.strong_f1, told.strong_accuracy),
    ):
        expected = score(p, bootstrap=0)
        assert f1 == pytest.approx(expected["hierarchical/f1"])
        assert accuracy == pytest.approx(expected["path/accuracy"])
    unscored = reached(found, None)
    assert unscored[:3] == told[:3]
    assert np.isnan(unscored[3:]).all()

    lines = reached_table({"there": told, "here": unscored}, COSTS).splitlines()[2:]
    cells = [[x.strip() for x in line.split("|")[1:-1]] for line in lines]
    cost = f"{mean_cost(2 / ROWS, COSTS):.2f}"
    assert [x[0] for x in cells] == ["there", "there, what is answered", "here"]
    assert cells[0][2:4] == ["3.3", "33.3"]
    gap = 100 * (told.f1 - told.strong_f1)
    assert cells[0][6] == f"{gap:+.2f}"
    assert cells[1][4] == f"{100 * told.answered_f1:.1f}"
    assert cells[1][5] == f"{100 * told.answered_accuracy:.1f}"
    assert cells[2][4:] == ["–", "–", "–", "–", cost], "the mean cost needs no label"
    ahead = told._replace(strong_f1=told.f1 - 0.02)
    assert "ahead of its strong run" in reached_table({"there": ahead}, COSTS)
    assert "ahead" not in reached_table({"there": told._replace(strong_f1=1.0)}, COSTS)


def test_a_cost_that_nobody_knows_is_no_wish():
    words = {"runs": ("a", "b"), "costs": (0.5, np.nan), "fitted": "here"}
    with pytest.raises(CatalogueError, match="give --costs=CHEAP,STRONG"):
        fit_cascade(CHEAP, STRONG, wish=Wish(cost=2.0), **words)


def fitted(**wish):
    words = {"runs": ("a", "b"), "costs": COSTS, "fitted": "here"}
    return fit_cascade(CHEAP, STRONG, wish=Wish(**wish), **words)


def test_a_cascade_is_fitted_and_read_again(tmp_path):
    by_hand = fitted(threshold=0.3)
    assert calibrated(by_hand.calibration, np.array([by_hand.threshold])) >= 0.3
    assert by_hand.wished == "threshold 0.3 by hand"
    loose, strict = fitted(quality=20.0), fitted(quality=0.0)
    assert loose.threshold <= strict.threshold
    with pytest.raises(
        CatalogueError, match=r"--cost=0.1: the cheap stage alone takes"
    ):
        fitted(cost=0.1)
    assert fitted(abstain=1.1).floor > 1, "never good enough: everything is left"
    assert fitted(abstain=0.0).floor == 0
    left = fitted(abstain=0.9, cost=2.0)
    assert left.wished.endswith(
        "at most 2 ms a product, left to people below a chance of 0.9"
    )
    sent, none = left.routed(CHEAP)
    assert left.reached.escalated == len(sent) / ROWS
    assert left.reached.abstained == none.mean()
    part = PartCost(0, "title", 0.5, 0.4, 0.6, True)
    write_cascade(left._replace(parts=(part,)), tmp_path)
    assert read_cascade(tmp_path) == left._replace(parts=(part,))
    (tmp_path / "cascade.json").write_text('{"format": 1}')
    with pytest.raises(CatalogueError, match="of another version of hsjax, fit it"):
        read_cascade(tmp_path)
    (tmp_path / "cascade.json").write_text("{}")
    with pytest.raises(CatalogueError, match="no cascade to read"):
        read_cascade(tmp_path)


def test_a_budget_may_be_of_accuracy():
    wish = {"quality": 3.0}
    told = fitted(**wish).wished
    assert told == (
        "at most 3 points of hF1 below the strong model, with a probability of 0.95"
    )
    found = fitted(**wish, metric="accuracy", sure=EVEN)
    assert found.wished == "at most 3 points of accuracy below the strong model"
    assert found.metric == "accuracy"
    told = found.reached
    assert told.accuracy >= told.strong_accuracy - 0.03
    curve = cascade_curve(CHEAP, STRONG, CONFIDENCE)
    point = within_quality(curve.accuracy - curve.accuracy[-1], 0.03)
    assert found.threshold == curve.threshold[point]
    best = fitted(cost=2.0, metric="accuracy")
    assert best.wished == "the best accuracy for at most 2 ms a product"


def test_a_plateau_of_a_calibration_does_not_coarsen_a_budget():
    """Isotonic steps tie most rows; what the model states tells them apart."""
    steps = fit_calibration("isotonic", CONFIDENCE, np.arange(ROWS) % 2 == 0)
    values = [len(np.unique(x)) for x in (calibrated(steps, CONFIDENCE), CONFIDENCE)]
    assert values[0] < values[1] / 3
    for budget in np.linspace(0.6, 4.4, 20):
        found = [fitted(cost=budget, calibration=x) for x in CALIBRATIONS]
        assert len({x.threshold for x in found}) == 1
        assert len({x.reached.escalated for x in found}) == 1


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_a_threshold_by_hand_is_a_calibrated_one(kind):
    found = fitted(threshold=0.6, calibration=kind)
    sure = calibrated(found.calibration, stated(CHEAP))
    np.testing.assert_array_equal(found.routed(CHEAP)[0], np.flatnonzero(sure < 0.6))
    assert not len(fitted(threshold=0.0, calibration=kind).routed(CHEAP)[0])
    every = fitted(threshold=1.0, calibration=kind)
    assert len(every.routed(CHEAP)[0]) == np.less(sure, 1).sum()


def test_the_least_stated_probability_by_hand():
    steps = {"kind": "isotonic", "x": [0.2, 0.6, 0.7], "y": [0.1, 0.5, 0.5]}
    assert least_stated(steps, 0.3) == pytest.approx(0.4)
    assert least_stated(steps, 0.5) == pytest.approx(0.6)
    assert least_stated(steps, 0.1) == 0
    assert least_stated(steps, 0.51) is None
    assert least_stated({"kind": "none"}, 0.37) == 0.37


def test_thresholds_are_told_apart():
    assert told_thresholds([0.25931, 1 - 3e-5, NEVER]) == ["0.2593", "0.99997", "any"]
    close = [3e-6, 0.99997, 0.999971, 1 - 1e-15, 1.0]
    texts = told_thresholds(close)
    assert len(set(texts)) == len(close)
    assert [float(x) for x in texts] == pytest.approx(close, abs=1e-12)
    assert texts[1] == "0.999970"
    assert not {0.0, 1.0} & {float(x) for x in texts[:4]}


def test_the_fitted_line_has_its_own_threshold():
    confidence = np.array([0.2, 0.365, 0.99996, 0.99998])
    shares = np.arange(5) / 4
    curve = Curve(np.append(confidence, NEVER), shares, shares, shares)
    of = {"fitted": 0.2593, "calibration": {"kind": "none"}}
    text = cascade_table(curve, 1, COSTS, **of)
    lines = [line.split(" | ")[:3] for line in text.splitlines()[2:7]]
    assert lines == [
        ["| 0.2000", "0.2000", "0.0"],
        ["| **fitted** 0.2593", "0.2593", "25.0"],
        ["| 0.99996", "0.99996", "50.0"],
        ["| 0.99998", "0.99998", "75.0"],
        ["| any", "any", "100.0"],
    ]
    of["calibration"] = {"kind": "isotonic", "x": [0.0, 0.3], "y": [0.4, 0.7]}
    text = cascade_table(curve, 1, COSTS, **of)
    assert [line.split(" | ")[:2] for line in text.splitlines()[2:7]] == [
        ["| 0.6000", "0.2000"],
        ["| **fitted** 0.6593", "0.2593"],
        ["| 0.7000", "0.99996"],
        ["| 0.7000", "0.99998"],
        ["| any", "any"],
    ]


def test_the_costs_of_a_report_say_what_is_counted():
    assert "1.00 and 4.00 ms in the stages, as --costs says" in costs_table(
        (), (1.0, 4.0), "ab"
    )
    parts = [
        PartCost(0, "title: tokenised and encoded", 1.0, 0.9, 1.1),
        PartCost(0, "model, answers", 0.25, 0.2, 0.3),
        PartCost(1, "image: not measured", *[np.nan] * 3),
    ]
    costs = summed(parts)
    assert costs == (1.25, pytest.approx(np.nan, nan_ok=True))
    text = costs_table(parts, costs, ["one", "two"])
    assert "| one | title: tokenised and encoded | 1.00 | 0.90 to 1.10 |" in text
    assert "| one | **in all** | 1.25 | – |" in text
    assert "| two | image: not measured | – | – |" in text
    assert "oisy" not in text
    noisy = [x._replace(noisy=True) for x in parts[:1]]
    assert "**Noisy**" in costs_table(noisy, (1.0, 4.0), "ab")


def test_times_are_noisy_where_quartiles_or_the_load_say_so(monkeypatch):
    monkeypatch.setattr(cascade_cost, "cores", lambda: 2)
    calm = {"load": 0.5, "load_after": 2.4}
    parts = [
        PartCost(0, "encoder", 10.0, 9.5, 10.5),
        PartCost(0, "model", 0.1, 0.05, 0.2),  # of the whole stage little
        PartCost(1, "encoder", 0.0, 0.0, 0.0),
        PartCost(1, "model", 1.0, 0.9, 1.2),
    ]
    noisy = lambda **loads: [  # noqa: E731
        x.noisy for x in cascade_cost.marked(parts, calm | loads)
    ]
    assert noisy() == [False, False, False, True]
    assert noisy(load=3.0) == [True, True, False, True]
    assert noisy(load_after=3.0) == [True, True, False, True]


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_calibration_mends_what_is_overconfident(kind):
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, 4000)
    right = rng.random(4000) < true
    odds = 3 * np.log(true / (1 - true))  # three times as sure as it may be
    stated = 1 / (1 + np.exp(-odds))
    calibration = json.loads(json.dumps(fit_calibration(kind, stated, right)))
    found = calibrated(calibration, stated)
    assert (np.diff(found[np.argsort(stated)]) >= 0).all()
    if kind == "none":
        assert (found == stated).all()
        return
    assert np.abs(found - true).mean() < 0.03
    assert log_loss(right, np.clip(found, 0.01, 0.99)) < log_loss(right, stated)
    if kind == "temperature":
        assert calibration["temperature"] == pytest.approx(3, rel=0.1)


COLUMNS = {
    "data.columns.id": "id",
    "data.columns.image": "image",
    "data.columns.label": ("hs_code",),
    "data.columns.group": "group",
    "train.steps": 4,
}


@pytest.fixture(scope="module")
def runs(shop, tmp_path_factory):
    """A baseline on titles, and a model on titles and pictures."""
    root, own = tmp_path_factory.mktemp("runs"), {"data.path": str(shop)}
    both = {"model.modalities": ("title", "image")}
    train_run(run_config({**TEXT, **COLUMNS, **own, "task": "baseline"}), root / "svm")
    train_run(run_config({**TEXT, **COLUMNS, **own, **both}), root / "both")
    return root


def cascade(*words):
    """(exit code, what was said) of the command."""
    done = command(*words, module="hsjax.cascade")
    told = "".join(done.communicate(timeout=300))
    return done.returncode, told


@pytest.mark.slow
def test_the_command_fits_reports_and_answers_other_files(runs, shop, tmp_path):
    names = f"--run={runs / 'svm'},{runs / 'both'}"
    code, told = cascade(names, "--threshold=0.5", f"--output={tmp_path / 'a'}")
    assert code == 0, told
    found = read_predictions(tmp_path / "a/predictions.parquet")
    assert set(found.stage) == {"cheap", "strong"}
    text = (tmp_path / "a/report.md").read_text()
    assert "| sent on below | as stated | sent on, % | hF1 |" in text
    sent = 100 * (found.stage == "strong").mean()
    assert "| sent on below a confidence of | 0.5000 |" in text
    assert f"| **fitted** 0.5000 | 0.5000 | {sent:.1f} |" in text
    assert "hF1, cascade − strong" in text
    assert "accuracy, cascade − strong" in text
    known = read_cascade(tmp_path / "a")
    assert "| wished for | threshold 0.5 by hand |" in text
    assert f"| where it was fitted | {known.reached.rows} |" in text
    assert f"| these rows | {len(found)} | {sent:.1f} | 0.0 |" in text
    cost = mean_cost((found.stage == "strong").mean(), known.costs)
    assert f"| {cost:.2f} |" in text
    assert [x.part for x in known.parts] == [
        "TF-IDF, svm, answers",
        "tokenising, decoding pictures, model, answers",
    ]
    assert "as if no cached feature was at hand" in text
    with (tmp_path / "a/curve.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert float(lines[0]["escalated"]) == 0
    assert float(lines[-1]["escalated"]) == 1
    assert (tmp_path / "a/curve.png").exists()
    f1 = report(tmp_path / "a")["metrics"]["hierarchical/f1"]
    at = next(x for x in lines if float(x["threshold"]) >= 0.5)
    assert float(at["hierarchical_f1"]) == pytest.approx(f1)
    code, told = cascade(f"--cascade={tmp_path / 'a'}", f"--output={tmp_path / 'b'}")
    assert code == 0, told
    same = read_predictions(tmp_path / "b/predictions.parquet")
    assert (same.stage == found.stage).all()
    assert (same.decoded[MAIN] == found.decoded[MAIN]).all()


def check_answers(found, whole):
    """Of a table of `predict`, beside the predictions of `hsjax.cascade`."""
    assert found["stage"] == whole.stage.tolist()
    for k in range(whole.num_levels):
        assert found[f"pred_level{k + 1}"] == whole.decoded[MAIN][:, k].tolist()
        said = [prob or 0.0 for prob in found[f"prob_level{k + 1}"]]  # blank below it
        assert said == pytest.approx(whole.prob[:, k], abs=1e-5)
    columns = ("stage", "reason", "pred", "pred_confident", "decided_level")
    for stage, why, pred, sure, level in zip(*map(found.get, columns), strict=True):
        assert why == (UNSURE if stage == "none" else "")
        assert bool(pred) == (stage != "none")
        assert pred.startswith(sure)
        assert (level == 0) == (sure == "")


@pytest.mark.slow
def test_predict_answers_by_a_cascade_what_the_cascade_answers(runs, shop, tmp_path):
    """Product by product, in parts; the audit record brings the same answers again."""
    names, folder = f"--run={runs / 'svm'},{runs / 'both'}", tmp_path / "a"
    output, question = tmp_path / "codes.parquet", Question(confidence=0.4)
    wishes = {"strong": ["--threshold=0.5"], "none": ["--threshold=0.5", "--abstain=1"]}
    for stage, wish in wishes.items():
        words = (names, *wish, f"--input={shop}", f"--output={folder}")
        code, told = cascade(*words)
        assert code == 0, told
        whole = read_predictions(folder / "predictions.parquet")
        done = predict_catalogue(None, shop, output, question, cascade=folder)
        assert STATED in done.told(output)
        assert done.answered == len(whole)  # of another cascade: all anew
        found = pq.read_table(output).to_pydict()
        assert {*found["stage"]} == {"cheap", stage}
        check_answers(found, whole)
        assert verify(audit_path(output), first=30).same
    again = predict_catalogue(None, shop, output, question, cascade=folder)
    assert again.answered == 0


def test_a_cheap_stage_that_looks_at_pictures_is_not_for_predict(runs, tmp_path):
    known = fitted()._replace(runs=(str(runs / "both"), str(runs / "both")))
    write_cascade(known, tmp_path)
    with pytest.raises(CatalogueError, match="looks at pictures"):
        open_cascade(tmp_path, {})
    known = known._replace(runs=(str(runs / "svm"), str(runs / "svm")))
    write_cascade(known, tmp_path)
    with pytest.raises(CatalogueError, match="is a baseline; hsjax.cascade"):
        open_cascade(tmp_path, {})
    known = known._replace(runs=(str(runs / "svm"), str(runs / "both")))
    write_cascade(known, tmp_path)
    with pytest.raises(CatalogueError, match="no longer the runs"):
        open_cascade(tmp_path, {})


def test_wishes_are_fitted_on_a_file_and_files_without_labels_are_answered(
    runs, shop, tmp_path
):
    """--quality, --fit_input and --cost as commands; a threshold costs no more."""
    names = f"--run={runs / 'svm'},{runs / 'both'}"
    rows = pq.read_table(shop)
    pq.write_table(rows.slice(0, 60), tmp_path / "some.parquet")
    wish = ("--quality=5", f"--fit_input={tmp_path / 'some.parquet'}", "--costs=1,4")
    code, told = cascade(names, *wish, f"--output={tmp_path / 'a'}")
    assert code == 0, told
    known, text = read_cascade(tmp_path / "a"), (tmp_path / "a/report.md").read_text()
    assert known.fitted.endswith("some.parquet, 60 rows")
    assert "at most 5 points of hF1 below" in known.wished
    assert known.costs == (1, 4)
    assert re.search(r"fitted on [\d,]+ of the [\d,]+ rows that are answered", text)
    sure = calibrated(known.calibration, np.array([known.threshold])).tolist()
    assert f"confidence of | {told_thresholds(sure)[0]}, which it states as" in text

    bare = rows.slice(60, 30).drop_columns(["hs_code", "group"])
    pq.write_table(bare, tmp_path / "bare.parquet")
    asked = (
        "--cost=3",
        "--costs=1,4",
        "--metric=accuracy",
        f"--input={tmp_path / 'bare.parquet'}",
    )
    code, told = cascade(names, *asked, f"--output={tmp_path / 'b'}")
    assert code == 0, told
    assert "part val, " in read_cascade(tmp_path / "b").fitted
    found = read_predictions(tmp_path / "b/predictions.parquet")
    assert len(found) == 30
    assert set(found.stage) <= {"cheap", "strong"}
    assert (found.decoded[MAIN][:, 0] != "").all()
    text = (tmp_path / "b/report.md").read_text()
    assert "the best accuracy for at most 3 ms a product" in text
    sent = (found.stage == "strong").mean()
    told = f"| these rows | 30 | {100 * sent:.1f} | 0.0 | – | – | – | – |"
    assert f"{told} {mean_cost(sent, (1.0, 4.0)):.2f} |" in text
    assert "**fitted**" not in text, "a curve needs labels"
    assert not (tmp_path / "b/curve.csv").exists()


def test_rows_to_fit_on_are_whole_groups_of_the_file(runs, shop, tmp_path):
    names = f"--run={runs / 'svm'},{runs / 'both'}"
    wish = ("--quality=5", "--costs=1,4", f"--input={shop}")
    code, told = cascade(names, *wish, "--fit_rows=40", f"--output={tmp_path / 'a'}")
    assert code == 0, told
    total = pq.read_table(shop).num_rows
    known = read_cascade(tmp_path / "a")
    assert known.fitted == f"labelled rows of {shop}, 40 rows"
    assert len(read_predictions(tmp_path / "a/predictions.parquet")) == total - 40
    for flags, said in (
        (("--fit_rows=9999", *wish), r"labelled rows, and some must be left"),
        (("--fit_rows=4", "--quality=5"), "--fit_rows are some of --input: name a"),
        (("--fit_rows=4", "--fit_part=val", *wish), "--fit_rows and --fit_part: give"),
    ):
        code, told = cascade(names, *flags, f"--output={tmp_path / 'b'}")
        assert code == 1, told
        assert re.search(said, told), told
        assert "Traceback" not in told


def test_groups_are_kept_back_whole_in_any_order_of_the_file():
    def asked(order):
        goods = [Product(f"p{i}", ("a",) if i % 5 else ()) for i in order]
        groups = np.array([i // 3 for i in order])
        return AskedRows(goods, groups, Quarantine(), {})

    found = []
    for order in (range(60), range(59, -1, -1)):
        rows = asked(order)
        fit, left = kept_back(rows, 14, "FILE")
        assert len(fit) == 13, "no group has a single row more"
        assert sorted([*fit, *left]) == list(range(60)), "nothing is lost"
        names = [rows.records[i].id for i in left if rows.records[i].path]
        assert not {rows.groups[i] for i in fit} & {
            rows.groups[i] for i in left if rows.records[i].path
        }
        found.append(set(names))
    assert found[0] == found[1]
    whole = asked(range(60))._replace(groups=np.zeros(60, int))
    with pytest.raises(CatalogueError, match="every group of FILE has more rows"):
        kept_back(whole, 12, "FILE")


def test_stages_of_other_trees_are_told_in_its_own_words(runs, shop, tmp_path):
    own = {**TEXT, **COLUMNS, "data.path": str(shop), "task": "baseline"}
    train_run(run_config({**own, "taxonomy.min_products": 3}), tmp_path / "cut")
    with pytest.raises(CatalogueError) as error:
        check_stages([tmp_path / "cut", runs / "both"], {})
    said = str(error.value)
    assert f"the cheap run {tmp_path / 'cut'} has the label tree Taxonomy(" in said
    assert f"the strong run {runs / 'both'} has Taxonomy(" in said
    assert "average" not in said
    check_stages([runs / "svm", runs / "both"], {})
    for key, value, told in (
        ("eval.decode", "independent", "answers each level by itself"),
        ("objective.classification", 0.0, "can be no stage of a cascade"),
    ):
        folder = tmp_path / key
        folder.mkdir()
        changed = run_config({**own, "task": "train", key: value})
        write_config(changed, folder)
        shutil.copy(runs / "both/taxonomy.json", folder)
        with pytest.raises(CatalogueError, match=told):
            check_stages([folder, runs / "both"], {})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--run=a"], "give --run=CHEAP,STRONG, or --cascade=DIR"),
        (["--run=a,b", "--cost=1", "--quality=1"], "are different wishes: give one"),
        (["--cascade=x", "--cost=1"], "--cost says nothing with --cascade"),
        (["--run=a,b", "--calibration=no"], "known: temperature, isotonic, none"),
        (["--run=a,b", "--metric=f1"], "known: hierarchical_f1, accuracy"),
        (["--run=a,b", "--metric=accuracy", "--threshold=1"], "--metric says nothing"),
        (["--run=a,b", "--part=val", "--input=x"], "--part says nothing with --input"),
        (["--run=a,b", "--costs=1"], "--costs takes two numbers"),
        (["--run=a,b", "--costs=nan,1"], "--costs=nan,1: give finite times"),
        (["--run=a,b", "--costs=1,inf"], "--costs=1,inf: give finite times"),
        (["--run=a,b", "--costs=1,-2"], "--costs=1,-2: give finite times"),
        (["--run=a,b", "--quality=nan"], "--quality=nan: give a finite number"),
        (["--run=a,b", "--cost=inf"], "--cost=inf: give a finite number"),
        (["--run=a,b", "--threshold=nan"], "--threshold=nan: give a finite number"),
        (["--run=a,b", "--abstain=nan"], "--abstain=nan: give a finite number"),
        (["--run=a,b", "--abstain=5"], "abstain"),
        (["--run=a,b", "--quality=-1"], "quality"),
        (["--run=a,b", "--fit_part=test"], "on the very rows that are answered"),
        (["--run=a,b", "--input=x", "--fit_input=x"], "on the very rows that are"),
        (["--run=a,b"], "a is no workdir of a run"),
        (["--cascade=gone"], "gone holds no cascade (no cascade.json)"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, words, told):
    code, said = cascade(*words, f"--output={tmp_path / 'x'}")
    assert code
    assert told in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def cached(shop, stores, tmp_path_factory):
    """A model on cached titles, and one on cached titles and pictures."""
    root = tmp_path_factory.mktemp("cached")
    for name, modalities in (("title", ("title",)), ("pair", ("title", "image"))):
        own = TEXT if name == "title" else {}
        config = run_config({**own, **path_of(shop), "train.steps": 2}).unlock()
        config.data.columns.text, config.train.eval_every = ("title",), 2
        config.model.modalities = modalities
        places = {m: str(stores / m) for m in modalities}
        config.data.features = ConfigDict(places)
        train_run(config.lock(), root / name)
    return root


def members_of(root, names, tmp_path, **asked):
    words = {"source": None, "part": "test", "corrupt": "", "by": ""}
    words |= {"confidence": None, "zero_shot": "", "features": {}}
    folders = [root / name for name in names]
    return load_members(folders, output=tmp_path / "x", **words | asked)


def test_each_run_takes_its_own_places(cached, stores, tmp_path):
    places = {"image": tmp_path / "image"}
    shutil.copytree(stores / "image", places["image"])
    folders = [cached / "title", cached / "pair"]
    check_stages(folders, places)
    first, second = members_of(cached, ["title", "pair"], tmp_path, features=places)
    assert "image" not in first.config.data.features
    for config in (second.config, second.run.config):
        assert config.data.features.image == str(places["image"])
        assert config.data.features.title == str(stores / "title")
    asked = {"source": None, "part": "test", "corrupt": "", "seed": 0}
    evaluate_run(folders, tmp_path / "mean", features=places, **asked)
    assert "ensemble of title, pair" in (tmp_path / "mean/report.md").read_text()
    told = (
        "'imag': none of the runs has .* stores of title, image. Did you mean 'image'"
    )
    with pytest.raises(CatalogueError, match=told):
        check_stages(folders, {"imag": places["image"]})
    with pytest.raises(CatalogueError, match=told):
        members_of(cached, ["title", "pair"], tmp_path, features={"imag": "x"})


def test_a_known_cascade_finds_stores_that_have_moved(cached, stores, tmp_path):
    folders, places = [cached / "title", cached / "pair"], {"image": tmp_path / "image"}
    shutil.copytree(stores / "image", places["image"])
    wish = {"wish": Wish(threshold=0.5), "costs": COSTS}
    run_cascade(folders, tmp_path / "a", features=places, **wish)
    run_cascade(
        folders,
        tmp_path / "b",
        wish=None,
        known=read_cascade(tmp_path / "a"),
        features={},
    )
    one, other = (read_predictions(tmp_path / x / "predictions.parquet") for x in "ab")
    np.testing.assert_array_equal(one.stage, other.stage)


def test_messages_name_the_flags_of_the_fit(cached, tmp_path):
    folders = [cached / "title", cached / "pair"]
    asked = {"wish": Wish(quality=1.0), "costs": COSTS, "features": {}}
    for words, told in (
        ({"fit_part": "foo"}, "--fit_part=foo: known are train, val, test"),
        ({"fit_source": "gone"}, "--fit_input=gone: no such file"),
        ({"part": "foo"}, "--part=foo: known are"),
        ({"source": "gone"}, "--input=gone: no such file"),
    ):
        with pytest.raises(CatalogueError, match="^" + told):
            run_cascade(folders, tmp_path / "x", **asked, **words)


@pytest.fixture
def once(monkeypatch):
    """Work is done once, not timed; and how often things of a batch are made."""
    counts = {"decoded": 0, "tokenised": 0}

    def timed(work, *, rounds, items):
        assert rounds >= 7
        work()
        return {"ms": 1.0, "ms_quartiles": [0.9, 1.1], "ms_spread": 0.2}

    def counted(module, name, kind):
        real = getattr(module, name)

        def function(*args, **kwargs):
            counts[kind] += args[0] is not None
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, function)

    monkeypatch.setattr(cascade_cost, "timed", timed)
    counted(encoded_batches, "decode_image", "decoded")
    counted(encoded_batches, "token_ids", "tokenised")
    counted(examples, "decoded", "decoded")
    return counts


def test_both_stages_are_timed_from_raw_products(cached, runs, tmp_path, once):
    """Decoding and tokenising of cached features and of raw ones, no encoder twice."""
    members = members_of(cached, ["title", "pair"], tmp_path)
    size = members[0].config.eval.batch_size
    found = stage_costs(open_stages(members, Encoded()), None)
    assert [(x.stage, x.part) for x in found] == [
        (0, "title: tokenised and encoded"),
        (0, "reading features, model, answers"),
        (1, "title: encoded by the cheap stage"),
        (1, "image: decoded and encoded"),
        (1, "reading features, model, answers"),
    ]
    assert once == {"tokenised": 1, "decoded": min(PICTURES, size)}
    # of a product in the mean: some lack a title or a picture
    assert [x.ms for x in found][1:3] == [1.0, 0.0]
    assert 0.8 < found[0].ms < 1
    assert 0.8 < found[3].ms < 1
    assert summed(found) == pytest.approx((found[0].ms + 1, found[3].ms + 1))

    once.update(decoded=0)
    raw = stage_costs(
        open_stages(members_of(runs, ["svm", "both"], tmp_path), Encoded()), None
    )
    assert [x.part for x in raw] == [
        "TF-IDF, svm, answers",
        "tokenising, decoding pictures, model, answers",
    ]
    assert 0.8 * size < once["decoded"] < size, "once for each that has a picture"


def test_an_encoder_that_is_gone_leaves_a_cost_unknown(
    cached, tmp_path, once, monkeypatch
):
    def gone(*args, **kwargs):
        raise CatalogueError("moved away")

    monkeypatch.setattr(cascade_cost, "store_encoder", gone)
    found = stage_costs(
        open_stages(members_of(cached, ["title"] * 2, tmp_path), Encoded()), None
    )
    assert found[0].part == "title: not measured, as its encoder is not at hand"
    assert np.isnan(found[0].ms)
    assert np.isnan(summed(found)[0])


def test_the_strong_run_encodes_nothing_again(cached, shop, tmp_path, monkeypatch):
    """Of a new file both read the titles, which the cheap run has had encoded."""
    new = pq.read_table(shop).slice(0, 20).to_pylist()
    titles = [f"{row['title'] or 'spare'} of steel" for row in new]
    table = pq.read_table(shop).slice(0, 20)
    column = table.schema.names.index("title")
    table = table.set_column(column, "title", [titles])
    pq.write_table(table, tmp_path / "new.parquet")
    asked, real = [], live.encode_missing

    def noted(folder, items, **kwargs):
        asked.append((folder.name, len(items)))
        return real(folder, items, **kwargs)

    monkeypatch.setattr(live, "encode_missing", noted)
    source = str(tmp_path / "new.parquet")
    members = members_of(cached, ["title", "pair"], tmp_path, source=source)
    for stage in open_stages(members, Encoded()):
        stage.answer(stage.member.records, stage.member.rows.groups)
    assert asked == [("title", len(set(titles)))]
