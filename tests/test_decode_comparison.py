"""Two decodes of the same runs against each other, over products and over seeds."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from runs import ROOT, command
from test_comparison_rows import TRUTH, answers_right, write_run
from test_metrics import points

from hsjax.data.records import CatalogueError
from hsjax.decodes import DECODES
from hsjax.evaluation.comparison import compare_runs
from hsjax.evaluation.comparison_rows import compare_rows
from hsjax.evaluation.comparison_sides import as_decode
from hsjax.evaluation.intervals import bootstrap, seed_interval
from hsjax.evaluation.table_rows import Row
from hsjax.sweep.lists import read_runs
from hsjax.sweep.table_files import read_table
from hsjax.sweep.tables import make_table
from hsjax.train.workdir import ConfigError

ACCURACY, INVALID = "path/accuracy", "path/invalid"
COUNT = len(TRUTH)


def decoded_twice(seed):
    """The greedy answer is the best path's but for a fifth, whose path is none."""
    run = answers_right(0.7 + 0.05 * seed, seed)
    lost = np.random.default_rng(10 + seed).random(COUNT) < 0.2
    greedy = np.where(lost[:, None], "9 > 9 > 9", run.decoded["path"])
    valid = {"path": np.ones(COUNT, bool), "greedy": ~lost}
    return replace(run, decoded=run.decoded | {"greedy": greedy}, valid=valid)


RUNS = [decoded_twice(seed) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("decodes")
    return tuple(write_run(root / f"seed{k}", run) for k, run in enumerate(RUNS))


def right(run, decode):
    return (run.decoded[decode] == run.truth).all(axis=1)


def expected():
    """(of products, of seeds) in whole paths, path minus greedy, by definition."""
    gaps = np.mean([1.0 * right(r, "path") - right(r, "greedy") for r in RUNS], axis=0)

    def mean(weights):
        return {ACCURACY: (gaps @ weights) / weights.sum(axis=0)}

    over = [points(r)[ACCURACY] - right(r, "greedy").mean() for r in RUNS]
    return bootstrap(mean, TRUTH.group)[ACCURACY], seed_interval(over)


def test_the_tables_of_the_papers_name_what_is_measured():
    """Each decode has its whole paths and how many are none."""
    answer, valid = RUNS[0].decoded["path"], np.ones(COUNT, bool)
    every = replace(
        RUNS[0],
        decoded=dict.fromkeys(DECODES, answer),
        valid=dict.fromkeys(DECODES, valid),
    )
    known = points(every)
    for name in ("paper_b_head/head", "paper_b_head/decodes", "paper_a_choices/masks"):
        table = json.loads((ROOT / f"configs/fashion/{name}.json").read_text())
        assert table["metrics"].keys() <= known.keys(), name
        assert set(table.get("decodes", ())) <= set(DECODES)
    head = json.loads((ROOT / "configs/fashion/paper_b_head/head.json").read_text())
    for decode in ("path", "greedy", "flat", "distance"):
        shown = {f"invalid_paths/{decode}", f"decode/{decode}/path_accuracy"}
        assert shown <= head["metrics"].keys()


def test_two_decodes_of_the_same_runs_are_paired(folders, tmp_path, capsys):
    where = [str(folder) for folder in folders]
    metrics = [ACCURACY, INVALID, "level3/macro_f1", "level3/ece"]
    compare_runs(where, [], tmp_path / "out", metrics, ["path", "greedy"])
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    products, seeds = expected()
    assert [*found[ACCURACY].values()] == pytest.approx(products)
    assert [*found["over_seeds"][ACCURACY].values()] == pytest.approx(seeds)
    # what a seed gives both decodes cancels
    own = found["seeds"]["path"][ACCURACY]
    assert seeds.high - seeds.low < own["high"] - own["low"]
    lost = np.mean([~run.valid["greedy"] for run in RUNS])
    assert found[INVALID]["value"] == pytest.approx(-lost)
    told = capsys.readouterr().out
    assert "| metric | path − greedy | 95 %, products | 95 %, seeds |" in told
    (line,) = (x for x in told.splitlines() if f"| {ACCURACY} | +" in x)
    assert line.endswith("| yes |")
    assert "| level3/ece | – | – | – | – |" in told
    assert np.isnan(found["level3/ece"]["value"]), "greedy states no probability"


def test_without_metrics_whole_paths_are_compared_too(folders, tmp_path):
    compare_runs([str(folders[0])], [], tmp_path / "out", [], ["greedy", "path"])
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found[ACCURACY]["value"] < 0 < found[INVALID]["value"]
    assert found["over_seeds"] == {}, "one run has no interval over seeds"
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "95 %, seeds" not in text


def test_mistakes_in_the_names_of_decodes(folders, tmp_path):
    where = [str(folders[0])]
    for asked in (["path"], ["path", "path"], ["path", "greedy", "flat"]):
        with pytest.raises(CatalogueError, match="--decodes names two that differ"):
            compare_runs(where, [], tmp_path / "out", [], asked)
    with pytest.raises(CatalogueError, match="no decode 'gredy'.*Did you mean 'greed"):
        compare_runs(where, [], tmp_path / "out", [], ["path", "gredy"])
    assert not (tmp_path / "out").exists()
    asked = (f"--run={folders[0]}", "--decodes=path,greedy", f"--output={tmp_path}/out")
    _, told = command(*asked, module="hsjax.evaluate").communicate(timeout=300)
    assert "--decodes says nothing with --run: leave it out" in told


def test_rows_of_a_table_may_be_decodes(folders):
    rows = [
        Row("path", folders, 3, decode="path"),
        Row("greedy", folders, 3, "path", decode="greedy"),
    ]
    found = compare_rows(rows, [ACCURACY, INVALID, "level3/ece"])
    figure = found.figures["greedy"][ACCURACY]
    assert figure.mean == pytest.approx(
        seed_interval([right(run, "greedy").mean() for run in RUNS])
    )
    products, seeds = expected()
    assert figure.paired == pytest.approx([-products[i] for i in (0, 2, 1)])
    assert figure.seeds == pytest.approx([-seeds[i] for i in (0, 2, 1)])
    assert found.figures["greedy"]["level3/ece"].runs == 0
    assert found.figures["path"]["level3/ece"].runs == 3
    assert "Student's t over the differences" in found.over_seeds
    assert as_decode(RUNS[0], "path") is RUNS[0]


def test_a_table_of_decodes(folders, tmp_path, monkeypatch):
    root = folders[0].parent
    row = {"name": "row", "config": "configs/base.py", "seed": [0, 1, 2]}
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps(row))
    for folder in folders:
        there = root / "row" / folder.name
        if not there.exists():
            there.parent.mkdir(exist_ok=True)
            there.symlink_to(folder)
    monkeypatch.setattr("hsjax.sweep.tables.is_done_below", lambda root, run: True)
    runs = read_runs(path)

    def made(**fields):
        (tmp_path / "t.json").write_text(json.dumps(fields))
        return make_table(path, runs, root, "t")

    decodes = {"path": "best path", "greedy": "greedy mask"}
    text = made(decodes=decodes, metrics={ACCURACY: "whole path"})
    assert "| row, best path | 3 of 3 |" in text
    assert "| row, greedy mask | row, best path | path/accuracy | -" in text
    assert "Seeds: Student's t over the differences of each run" in text
    with (root / "t.csv").open() as file:
        lines = {x["row"]: x for x in csv.DictReader(file)}
    products, _ = expected()
    difference = float(lines["row, greedy mask"]["difference"])
    assert difference == pytest.approx(-products.value)
    assert lines["row, greedy mask"]["significant"] == "yes"
    with pytest.raises(ConfigError, match="do not give 'path/acuracy'"):
        made(decodes=decodes, metrics={"path/acuracy": "x"})
    with pytest.raises(CatalogueError, match="no decode 'flat'"):
        made(decodes=["path", "flat"], metrics={ACCURACY: "x"})
    for fields, told in (
        ({"decodes": ["path"], "metrics": {ACCURACY: "x"}}, "two or more"),
        ({"decodes": decodes}, "decodes want metrics"),
        ({"decodes": decodes, "x": "step"}, "'x' means nothing with 'decodes'"),
    ):
        (tmp_path / "t.json").write_text(json.dumps(fields))
        with pytest.raises(ConfigError, match=told):
            read_table(tmp_path / "t.json", ["row"])
