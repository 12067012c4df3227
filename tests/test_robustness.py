"""Every run of a list under every damage: measured once, told as table and plot."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT, SMALL, TEXT, train_run
from scipy import stats

from hsjax.data.corrupt import SEVERITIES, corrupt_records
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.evaluation.predictions import read_predictions
from hsjax.evaluation.robust_cells import Cell, Facts
from hsjax.evaluation.robust_tables import write_robustness
from hsjax.features.live import Encoded
from hsjax.robust.damage_facts import level_names
from hsjax.robust.damaged import Asked, measure_runs
from hsjax.sweep.lists import read_runs
from hsjax.train.workdir import ConfigError
from hsjax.trained.scoring import evaluate_run

SHORT = {**SMALL, "train.steps": 2, "train.eval_every": 2}
LINES = (
    {"name": "svm", "overrides": {**SMALL, **TEXT, "task": "baseline"}},
    {"name": "both", "overrides": SHORT, "seed": [0, 1], "reference": "svm"},
    {"name": "never", "overrides": SHORT},
)
RECORDS = [
    Record(
        **dict.fromkeys(("group", "platform", "date", "split"), ""),
        **{"row": row, "id": str(row), "texts": {"title": "a red shoe"}},
        **{"image": None, "image_key": str(row), "extra": {}, "complete": True},
        path=("61", "6109"),
    )
    for row in range(1, 1001)
]
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
        for metric in ("accuracy", "macro_precision", "weighted_f1"):
            assert f"level2/{metric}" in cell
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


def test_table_4_alone_measures_its_rows_and_leaves_the_matrix(sweep, tmp_path):
    rows = ("typos@3", "no_text@5", "no_image@5")
    text = measure_runs(*sweep, tmp_path, ASKED._replace(table4_alone=True))
    cells = map(json.loads, (tmp_path / "cells.jsonl").read_text().splitlines())
    assert {c["condition"] for c in cells} == {"clean", *rows}
    assert not (tmp_path / "robustness.md").exists()
    assert text == (tmp_path / "table4.md").read_text()
    assert text.index("## svm") < text.index("### 2 digits") < text.index("## both")
    assert "| missing image, 100 % |" in text
    with (tmp_path / "table4.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 4 * 3 * 7  # rows, conditions, levels, metrics
    svm = {
        x["condition"]: float(x["mean"])
        for x in lines
        if (x["row"], x["level"], x["metric"]) == ("svm", "1", "macro_f1")
    }
    # a model of text alone: a lost picture costs nothing, a lost text much
    assert svm["no_image@5"] == svm["clean"] > svm["no_text@5"]


def test_severities_of_missing_are_fractions_up_to_all():
    whole = {"no_text": lambda r: r.texts["title"], "no_image": lambda r: r.image_key}
    for name, kept in whole.items():
        assert SEVERITIES[name] == (0.2, 0.4, 0.6, 0.8, 1.0)
        before = set()
        for severity, share in enumerate(SEVERITIES[name], 1):
            records = corrupt_records(RECORDS, f"{name}@{severity}", seed=0)
            hit = {r.row for r in records if not kept(r)}
            assert len(hit) / len(RECORDS) == pytest.approx(share, abs=0.05)
            assert before <= hit, "a larger share hits the rows of a smaller one, too"
            before = hit
        assert len(before) == len(RECORDS)


def test_shares_have_a_table_of_their_own(tmp_path):
    cells = [
        Cell("a", "a", c, {"level1/accuracy": x})
        for c, x in (("clean", 0.9), ("no_text@2", 0.8), ("no_text@5", 0.4))
    ]
    facts = Facts(shares={"no_text@2": 0.4, "no_text@5": 1.0}, labels=" (labels: weak)")
    text = write_robustness(cells, tmp_path, facts=facts)
    assert text.startswith("# Robustness: level1/accuracy (labels: weak)\n")
    assert "| no_text | 0 % | 40 % | 100 % |" in text
    assert "| a | 90.0 | 80.0 | 40.0 |" in text
    assert figures(tmp_path)["a", "no_text", "2", "level1/accuracy"]["share"] == "0.4"


def test_differences_are_paired_by_seed_and_judged(tmp_path):
    values = {
        "ref": {0: 0.50, 1: 0.60, 2: 0.70},
        # whatever a seed does, it is better by about 0.02
        "better": {0: 0.52, 1: 0.621, 2: 0.719, 3: 0.1},
        "noise": {0: 0.55, 1: 0.58, 2: 0.69},
        "once": {0: 0.9},
    }
    cells = [
        Cell(row, f"{row}/seed{seed}", "blur@2", {"level1/accuracy": x}, seed)
        for row, of in values.items()
        for seed, x in of.items()
    ]
    references = dict.fromkeys(("better", "noise", "once"), "ref")
    text = write_robustness(cells, tmp_path, facts=Facts(references))
    told = text.partition("## Differences")[2]
    assert "| products | better − ref | noise − ref | once − ref |" in told
    d = np.array([0.02, 0.021, 0.019])
    half = stats.t.ppf(0.975, 2) * d.std(ddof=1) / np.sqrt(3)
    interval = f"+2.00 [{100 * (0.02 - half):+.2f}, {100 * (0.02 + half):+.2f}]"
    (line,) = (x for x in told.splitlines() if x.startswith("| blur@2"))
    _, _, better, noise, once, _ = map(str.strip, line.split("|"))
    assert better == interval
    assert noise.endswith("n.s.")
    assert once == "+40.00"
    found = figures(tmp_path)
    keys = [(row, "blur", "2", "level1/accuracy") for row in values]
    significant = [found[k]["significant"] for k in keys]
    assert significant == ["", "yes, by seeds alone", "no", ""]
    assert [found[k]["pairs"] for k in keys] == ["", "3", "3", "1"]


def test_a_difference_of_few_products_is_not_significant(tmp_path):
    """Whatever the seeds say: other products would have said otherwise."""

    def cell(row, seed, hits):
        counts = np.stack([hits, np.ones_like(hits)])
        metrics = {"level1/accuracy": hits.mean()}
        counted = {"level1/accuracy": counts}
        return Cell(row, f"{row}/seed{seed}", "clean", metrics, seed, counted)

    reference, cells = np.arange(200) % 2, []
    few, many = reference.copy(), reference.copy()
    few[:4:2], many[:80:2] = 1, 1  # 2 and 40 products more
    for seed in range(3):
        rows = {"ref": reference, "few": few, "many": many}
        cells += [cell(row, seed, x) for row, x in rows.items()]
    groups = np.array([f"g{i}" for i in range(200)])
    facts = Facts(
        dict.fromkeys(("few", "many"), "ref"),
        asked=dict.fromkeys(rows, "these"),
        groups=dict.fromkeys(rows, groups),
    )
    text = write_robustness(cells, tmp_path, facts=facts)
    found = figures(tmp_path)
    lines = [found[row, "clean", "", "level1/accuracy"] for row in ("few", "many")]
    assert [line["significant"] for line in lines] == ["no", "yes"]
    assert float(lines[0]["difference"]) == pytest.approx(0.01)
    # over seeds alone the first would be clear
    assert float(lines[0]["seeds_low"]) > 0 >= float(lines[0]["products_low"])
    # 40 of 200 products: 0.2 with a standard error of sqrt(0.2 * 0.8 / 200)
    low, high = (float(lines[1][f"products_{x}"]) for x in ("low", "high"))
    assert low == pytest.approx(0.2 - 1.96 * 0.0283, abs=0.01)
    assert high == pytest.approx(0.2 + 1.96 * 0.0283, abs=0.01)
    (line,) = (x for x in text.splitlines() if x.startswith("| clean | +"))
    assert line.split(" | ")[1].endswith("n.s.")
    assert "2 differences, each at 95 %" in text


def trained(root, *lines):
    """The list of these lines, all of whose runs are trained below the root."""
    path = root / "runs.jsonl"
    lines = [{"config": str(ROOT / "configs/base.py"), **line} for line in lines]
    path.write_text("\n".join(map(json.dumps, lines)))
    for run in read_runs(path):
        train_run(run.config, root / run.name)
    return path


def test_rows_that_were_asked_other_products_are_not_compared(tmp_path):
    other = {**SMALL, **TEXT, "task": "baseline", "data.split.seed": 1}
    b = {"name": "b", "overrides": other, "reference": "svm"}
    path = trained(tmp_path, LINES[0], b)
    asked = ASKED._replace(damages=("no_text",), severities=(5,))
    text = measure_runs(path, tmp_path, tmp_path / "out", asked)
    assert "b is not compared with svm: they were asked different products" in text
    assert "## Differences" not in text


@pytest.mark.slow
def test_runs_without_classes_are_left_out(tmp_path, caplog):
    aligned = {**SHORT, "objective.classification": 0.0, "train.monitor": "loss"}
    aligned = {"name": "aligned", "overrides": aligned, "seed": [0, 1]}
    path = trained(tmp_path, LINES[0], aligned)
    asked = ASKED._replace(damages=("no_text",), severities=(5,))
    text = measure_runs(path, tmp_path, tmp_path / "out", asked)
    assert "| products | svm |" in text
    assert "aligned/seed1 is only aligned and gives no classes" in caplog.text
    with pytest.raises(ConfigError, match="no run of the list gives classes"):
        measure_runs(path, tmp_path, tmp_path / "out", asked, only=["aligned"])


def test_levels_are_told_by_their_digits():
    assert level_names(RECORDS) == {1: "2 digits", 2: "4 digits"}
    goods = replace(RECORDS[0], path=("Shoes", "Shoes > Boots"))
    assert level_names([goods]) == {}


def test_cells_of_fewer_figures_are_measured_again(sweep, measured, tmp_path):
    lines = (measured[0] / "cells.jsonl").read_text().splitlines()
    old = [{k: v for k, v in json.loads(x).items() if k != "figures"} for x in lines]
    (tmp_path / "cells.jsonl").write_text("\n".join(map(json.dumps, old)) + "\n")
    few = ASKED._replace(damages=("no_text",), severities=(5,))
    measure_runs(*sweep, tmp_path, few, only=["svm"])
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == len(old) + 2


def test_a_second_call_measures_nothing(sweep, measured, monkeypatch):
    before = (measured[0] / "cells.jsonl").read_bytes()
    monkeypatch.setattr("hsjax.robust.damaged.corrupt_records", pytest.fail)
    assert measure_runs(*sweep, measured[0], ASKED) == measured[1]
    assert (measured[0] / "cells.jsonl").read_bytes() == before


def test_runs_of_another_tree_are_scored_in_their_own(tmp_path):
    svm = {"config": str(ROOT / "configs/base.py"), "overrides": LINES[0]["overrides"]}
    cut = {**svm, "overrides": {**svm["overrides"], "taxonomy.min_products": 8}}
    path = tmp_path / "runs.jsonl"
    lines = [{"name": "svm", **svm}, {"name": "cut", **cut}]
    path.write_text("\n".join(map(json.dumps, lines)))
    for run in read_runs(path):
        train_run(run.config, tmp_path / run.name)
    measure_runs(
        path, tmp_path, tmp_path / "out", Asked(("no_text",), (2,), "test", 0, 0)
    )
    lines = (tmp_path / "out/cells.jsonl").read_text().splitlines()
    cells = [c for c in map(json.loads, lines) if c["condition"] == "clean"]
    found = {cell["run"]: cell["metrics"] for cell in cells}
    for row in ("svm", "cut"):
        own = json.loads((tmp_path / row / "report.json").read_text())["metrics"]
        for name in [f"level{level}/accuracy" for level in (1, 2, 3)]:
            assert found[row][name] == pytest.approx(own[name])
    assert found["svm"]["level3/accuracy"] != found["cut"]["level3/accuracy"]


def test_a_torn_line_is_measured_again(sweep, measured, tmp_path):
    whole = (measured[0] / "cells.jsonl").read_text()
    (tmp_path / "cells.jsonl").write_text(whole[: whole.rindex("{") + 20])
    assert measure_runs(*sweep, tmp_path, ASKED) == measured[1]
    before = (tmp_path / "cells.jsonl").read_bytes()
    assert measure_runs(*sweep, tmp_path, ASKED) == measured[1]  # nothing was lost
    assert (tmp_path / "cells.jsonl").read_bytes() == before


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
    assert "'typos' is no NAME@" in told(
        CatalogueError, ASKED._replace(table4=("typos",))
    )
    cells = [Cell("a", "a", "clean", {"level1/accuracy": 0.5})]
    with pytest.raises(CatalogueError, match="measured are level1/accuracy"):
        write_robustness(cells, tmp_path, metric="f1")


def test_items_are_encoded_once_for_all_runs(monkeypatch):
    asked = []

    def encode(folder, items, *, max_pixels):
        asked.extend(items)
        return np.array([[len(x), 1.0] for x in items], np.float16), None

    monkeypatch.setattr("hsjax.features.live.encode_missing", encode)
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
