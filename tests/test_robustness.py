"""Every run of a list under every damage: measured once, told as table and plot."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT, SMALL, TEXT, train_run

from hsjax.damaged import Asked, measure_runs
from hsjax.data.quarantine import CatalogueError
from hsjax.evaluation.predictions import read_predictions
from hsjax.evaluation.robust_cells import Cell
from hsjax.evaluation.robust_tables import write_robustness
from hsjax.scoring import evaluate_run
from hsjax.subjects import Encoded
from hsjax.sweeps import read_runs
from hsjax.train.workdir import ConfigError

SHORT = {**SMALL, "train.steps": 2, "train.eval_every": 2}
LINES = (
    {"name": "svm", "overrides": {**SMALL, **TEXT, "task": "baseline"}},
    {"name": "both", "overrides": SHORT, "seed": [0, 1]},
    {"name": "never", "overrides": SHORT},
)
ASKED = Asked(("word_drop", "no_text", "blur"), (2, 5), "test", 0, 0)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """(list of runs, folder of the trained ones); the last run is not trained."""
    root = tmp_path_factory.mktemp("sweep")
    path = root / "runs.jsonl"
    lines = [{"config": str(ROOT / "configs/base.py"), **line} for line in LINES]
    path.write_text("\n".join(map(json.dumps, lines)))
    for run in read_runs(path)[:-1]:
        train_run(run.config, root / run.name)
    return path, root


@pytest.fixture(scope="module")
def measured(sweep, tmp_path_factory):
    output = tmp_path_factory.mktemp("measured")
    return output, measure_runs(*sweep, output, ASKED)


def figures(output):
    with (output / "robustness.csv").open() as file:
        return {
            (x["row"], x["damage"], x["severity"], x["metric"]): x
            for x in csv.DictReader(file)
        }


def test_cells_are_what_evaluate_says(sweep, measured, tmp_path):
    found = figures(measured[0])
    for row, name in (("svm", "svm"), ("both", "both/seed1")):
        output = tmp_path / row
        options = {"source": None, "part": "test", "corrupt": "no_text@5", "seed": 0}
        evaluate_run(sweep[1] / name, output, **options)
        wanted = json.loads((output / "report.json").read_text())["metrics"]
        lines = (measured[0] / "cells.jsonl").read_text().splitlines()
        (cell,) = (
            c["metrics"]
            for c in map(json.loads, lines)
            if (c["run"], c["condition"]) == (name, "no_text@5")
        )
        for metric, value in cell.items():
            told = np.nan if wanted[metric] is None else wanted[metric]
            assert value == pytest.approx(told, abs=1e-6, nan_ok=True)
    both = found["both", "no_text", "5", "level3/accuracy"]
    assert both["runs"] == "2"
    assert float(both["low"]) <= float(both["mean"]) <= float(both["high"])


def test_the_table_tells_rows_conditions_and_costs(measured):
    output, text = measured
    assert text == (output / "robustness.md").read_text()
    assert "| products | svm | both |" in text
    assert "never" not in text
    for condition in ("clean", "word_drop@2", "no_text@5", "blur@5"):
        assert f"| {condition} |" in text
    # a model of text alone does not see a blurred picture
    assert "| blur | +0.00 |" in text
    assert (output / "robustness.png").stat().st_size > 10_000


def test_a_second_call_measures_nothing(sweep, measured, monkeypatch):
    before = (measured[0] / "cells.jsonl").read_bytes()
    monkeypatch.setattr("hsjax.damaged.corrupt_records", pytest.fail)
    assert measure_runs(*sweep, measured[0], ASKED) == measured[1]
    assert (measured[0] / "cells.jsonl").read_bytes() == before


def test_a_torn_line_is_measured_again(sweep, measured, tmp_path):
    whole = (measured[0] / "cells.jsonl").read_text()
    (tmp_path / "cells.jsonl").write_text(whole[: whole.rindex("{") + 20])
    assert measure_runs(*sweep, tmp_path, ASKED) == measured[1]


def test_fewer_rows_are_other_cells_and_the_same_for_all(sweep, measured):
    fewer = ASKED._replace(rows=11, damages=("word_drop",))
    measure_runs(*sweep, measured[0], fewer, only=["svm"])
    cells = map(json.loads, (measured[0] / "cells.jsonl").read_text().splitlines())
    counts = {c["rows"] for c in cells if c["run"] == "svm"}
    assert counts == {0, 11}


def test_mistakes_are_explained(sweep, tmp_path):
    def told(error, asked=ASKED, **options):
        with pytest.raises(error) as stop:
            measure_runs(*sweep, tmp_path, asked, **options)
        return str(stop.value)

    assert "'blurr' is none" in told(CatalogueError, ASKED._replace(damages=("blurr",)))
    assert "not one of 1 to 5" in told(CatalogueError, ASKED._replace(severities=(6,)))
    assert "--part=tes" in told(CatalogueError, ASKED._replace(part="tes"))
    assert "'bth' is no row" in told(ConfigError, only=["bth"])
    assert "no run of the list is trained" in told(ConfigError, only=["never"])
    cells = [Cell("a", "a", "clean", {"level1/accuracy": 0.5})]
    with pytest.raises(CatalogueError, match="measured are level1/accuracy"):
        write_robustness(cells, tmp_path, metric="f1")


def test_items_are_encoded_once_for_all_runs(monkeypatch):
    asked = []

    def encode(folder, items, *, max_pixels):
        asked.extend(items)
        return np.array([[len(x), 1.0] for x in items], np.float16), None

    monkeypatch.setattr("hsjax.subjects.encode_missing", encode)
    shared = Encoded()
    first, lengths = shared(Path("store"), ["a", "bb", "a"], max_pixels=9)
    again, _ = shared(Path("store"), ["bb", "ccc"], max_pixels=9)
    assert asked == ["a", "bb", "ccc"]
    assert lengths is None
    np.testing.assert_array_equal(first[:, 0], [1, 2, 1])
    np.testing.assert_array_equal(again[:, 0], [2, 3])


def test_answers_cover_all_rows(sweep):
    p = read_predictions(sweep[1] / "svm" / "predictions.parquet")
    assert len(p) > 11  # so that the rows above are fewer
