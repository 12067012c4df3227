"""Two stages: what a threshold costs and gains, and the command on tiny runs."""

import csv
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, command, report, run_config, train_run
from sklearn.metrics import log_loss

from hsjax.data.records import CatalogueError
from hsjax.evaluation.calibration import CALIBRATIONS, calibrated, fit_calibration
from hsjax.evaluation.cascade_curve import (
    MAIN,
    NEVER,
    Curve,
    cascade_curve,
    mean_cost,
    merged,
    within_cost,
    within_quality,
)
from hsjax.evaluation.cascade_report import cascade_table, told_thresholds
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.inference.cascade import Wish, check_stages, fit_cascade, read_cascade
from hsjax.train.workdir import write_config

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
    text = cascade_table(curve, 1, COSTS, fitted=0.2593)
    lines = [line.split(" | ")[:2] for line in text.splitlines()[2:7]]
    assert lines == [
        ["| 0.2000", "0.0"],
        ["| **fitted** 0.2593", "25.0"],
        ["| 0.99996", "50.0"],
        ["| 0.99998", "75.0"],
        ["| any", "100.0"],
    ]


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
    sent = 100 * (found.stage == "strong").mean()
    assert "| sent on below a confidence of | 0.5000 |" in text
    assert f"| **fitted** 0.5000 | {sent:.1f} |" in text
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
    assert "some.parquet, 60 rows; at most 5 points of hF1 below" in known.fitted
    assert known.costs == (1, 4)
    assert re.search(r"fitted on [\d,]+ of the [\d,]+ rows that are answered", text)
    assert f"confidence of | {told_thresholds([known.threshold])[0]} |" in text

    bare = rows.slice(60, 30).drop_columns(["hs_code", "group"])
    pq.write_table(bare, tmp_path / "bare.parquet")
    asked = ("--cost=3", "--costs=1,4", f"--input={tmp_path / 'bare.parquet'}")
    code, told = cascade(names, *asked, f"--output={tmp_path / 'b'}")
    assert code == 0, told
    assert "part val, " in read_cascade(tmp_path / "b").fitted
    found = read_predictions(tmp_path / "b/predictions.parquet")
    assert len(found) == 30
    assert set(found.stage) <= {"cheap", "strong"}
    assert (found.decoded[MAIN][:, 0] != "").all()
    text = (tmp_path / "b/report.md").read_text()
    assert "at most 3 ms a product" in text
    assert "**fitted**" not in text, "a curve needs labels"
    assert not (tmp_path / "b/curve.csv").exists()


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
