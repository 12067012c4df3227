"""hP against hR over the threshold at which a path may end."""

import csv
import json

import numpy as np
import pytest
from test_metrics import make_predictions, points, random_tree_predictions

from hsjax.evaluation.predictions import write_predictions
from hsjax.evaluation.stopping import (
    THRESHOLDS,
    recall_at,
    stopping_curve,
    write_stopping,
)
from hsjax.sweep.table_files import read_table
from hsjax.train.workdir import ConfigError


def test_the_first_point_is_the_report_and_thresholds_cut_paths():
    p = random_tree_predictions(n=200)
    precision, recall, f1 = stopping_curve(p)
    found = points(p)
    assert f1[0] == pytest.approx(found["hierarchical/f1"])
    assert precision[0] == pytest.approx(found["hierarchical/precision"])
    assert recall[0] == pytest.approx(found["hierarchical/recall"])
    assert (np.diff(recall) <= 0).all()
    assert np.isnan(precision[recall == 0]).all()
    middle = 60
    cut = np.where(p.prob >= THRESHOLDS[middle], p.decoded["path"], "")
    by_hand = points(make_predictions(p.truth, cut))
    assert precision[middle] == pytest.approx(by_hand["hierarchical/precision"])
    assert recall[middle] == pytest.approx(by_hand["hierarchical/recall"])
    assert f1[middle] == pytest.approx(by_hand["hierarchical/f1"])


def test_by_hand():
    truth = ["A > B > C", "A > B > D"]
    answer = ["A > B > C", "A > B > C"]
    prob = np.array([[0.9, 0.8, 0.7], [0.9, 0.6, 0.4]], np.float32)
    p = make_predictions(truth, answer, prob=prob)
    precision, recall, f1 = stopping_curve(p, np.array([0.0, 0.5, 0.75, 0.95]))
    np.testing.assert_allclose(precision, [5 / 6, 1, 1, np.nan])
    np.testing.assert_allclose(recall, [5 / 6, 5 / 6, 3 / 6, 0])
    np.testing.assert_allclose(f1, [5 / 6, 10 / 11, 2 / 3, 0])
    assert recall_at(precision, recall, 0.9) == pytest.approx(5 / 6)
    assert np.isnan(recall_at(precision[:1], recall[:1], 0.9))


def test_rows_become_a_table_a_file_and_a_plot(tmp_path):
    rows = {
        "early": [random_tree_predictions(seed=s) for s in range(3)],
        "late": [random_tree_predictions(seed=5)],
    }
    text = write_stopping(rows, tmp_path / "x", title="Two", targets=[0.8, 0.999])
    assert text.startswith("# Two\n\n| row | hP | hR | hF1 | best hF1 |")
    assert "hR at hP 80 | hR at hP 99.9 |" in text
    assert (tmp_path / "x.png").exists()
    with (tmp_path / "x.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(THRESHOLDS)
    assert {line["runs"] for line in lines} == {"3", "1"}


@pytest.mark.parametrize("value", [[], 0.9, [1.5], ["x"]])
def test_targets_are_shares(tmp_path, value):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"rows": ["a"], "stopping": value}))
    with pytest.raises(ConfigError, match="stopping is a list of hP between 0 and 1"):
        read_table(path, ["a"])
    path.write_text(json.dumps({"rows": ["a"], "stopping": [0.9], "metrics": ["x"]}))
    with pytest.raises(ConfigError, match="'metrics' means nothing with 'stopping'"):
        read_table(path, ["a"])


def test_a_table_of_a_sweep_is_made_of_stored_predictions(tmp_path):
    write_predictions(random_tree_predictions(), tmp_path / "predictions.parquet")
    from hsjax.sweep.table_files import Table
    from hsjax.sweep.table_kinds import make_stopping

    table = Table("Mine", {"a": "a"}, {}, stopping=(0.9,))
    text = make_stopping(table, {"a": [tmp_path]}, tmp_path / "t", "Mine")
    assert "| a |" in text
