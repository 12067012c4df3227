"""Two stages: what a threshold costs and gains, and the command on tiny runs."""

import csv
import json

import numpy as np
import pytest
from runs import TEXT, command, report, run_config, train_run
from sklearn.metrics import log_loss

from hsjax.data.records import CatalogueError
from hsjax.evaluation.calibration import CALIBRATIONS, calibrated, fit_calibration
from hsjax.evaluation.cascade_curve import (
    MAIN,
    cascade_curve,
    mean_cost,
    merged,
    within_cost,
    within_quality,
)
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.inference.cascade import Wish, fit_cascade, read_cascade

ROWS = 60
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
        assert curve.accuracy[i] == pytest.approx(found["decode/cascade/leaf_accuracy"])
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
    for loss in (0.0, 0.02, 0.1):
        i = within_quality(curve, loss)
        assert curve.f1[i] >= curve.f1[-1] - loss
        assert (curve.f1[:i] < curve.f1[-1] - loss).all()
    for budget in (0.5, 1.7, 9.0):
        i = within_cost(curve, COSTS, budget)
        affordable = mean_cost(curve.escalated, COSTS) <= budget
        assert affordable[i]
        assert curve.f1[i] == curve.f1[affordable].max()
    assert within_cost(curve, COSTS, 0.4) is None


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


def test_a_cost_that_nobody_knows_is_no_wish():
    words = {"runs": ("a", "b"), "costs": (0.5, np.nan), "fitted": "here"}
    with pytest.raises(CatalogueError, match="give --costs=CHEAP,STRONG"):
        fit_cascade(CHEAP, STRONG, wish=Wish(cost=2.0), **words)


def fitted(**wish):
    words = {"runs": ("a", "b"), "costs": COSTS, "fitted": "here"}
    return fit_cascade(CHEAP, STRONG, wish=Wish(**wish), **words)


def test_a_cascade_is_fitted_and_read_again(tmp_path):
    assert fitted(threshold=0.3).threshold == 0.3
    loose, strict = fitted(quality=20.0), fitted(quality=0.0)
    assert loose.threshold <= strict.threshold
    with pytest.raises(
        CatalogueError, match=r"--cost=0.1: the cheap stage alone takes"
    ):
        fitted(cost=0.1)
    assert fitted(abstain=1.1).floor > 1, "never good enough: everything is left"
    assert fitted(abstain=0.0).floor == 0
    (tmp_path / "cascade.json").write_text("{}")
    with pytest.raises(CatalogueError, match="no cascade to read"):
        read_cascade(tmp_path)


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


def test_the_command_fits_reports_and_answers_other_files(runs, shop, tmp_path):
    names = f"--run={runs / 'svm'},{runs / 'both'}"
    code, told = cascade(names, "--threshold=0.5", f"--output={tmp_path / 'a'}")
    assert code == 0, told
    found = read_predictions(tmp_path / "a/predictions.parquet")
    assert set(found.stage) == {"cheap", "strong"}
    text = (tmp_path / "a/report.md").read_text()
    assert "| sent on below | sent on, % | hF1 |" in text
    assert "hF1, cascade − strong" in text
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--run=a"], "give --run=CHEAP,STRONG, or --cascade=DIR"),
        (["--run=a,b", "--cost=1", "--quality=1"], "are different wishes: give one"),
        (["--cascade=x", "--cost=1"], "--cost says nothing with --cascade"),
        (["--run=a,b", "--calibration=no"], "known: temperature, isotonic, none"),
        (["--run=a,b", "--costs=1"], "--costs takes two numbers"),
        (["--run=a,b", "--abstain=5"], "abstain"),
        (["--run=a,b", "--quality=-1"], "quality"),
        (["--run=a,b", "--fit_part=test"], "on the very rows that are answered"),
        (["--run=a,b", "--input=x", "--fit_input=x"], "on the very rows that are"),
        (["--run=a,b"], "a is no workdir of a run"),
        (["--cascade=gone"], "gone/cascade.json: no cascade to read"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, words, told):
    code, said = cascade(*words, f"--output={tmp_path / 'x'}")
    assert code
    assert told in said
    assert "Traceback" not in said
