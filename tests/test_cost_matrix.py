"""Costs of mistakes out of a file: read, kept with a run, answered and charged by."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, report, run_config, sentence, train_run

import hsjax
from hsjax.data.cost_file import read_costs, write_costs
from hsjax.data.nomenclature import node_paths
from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison import compare_runs
from hsjax.evaluation.predictions import read_predictions
from hsjax.taxonomy import Taxonomy
from hsjax.trained.scoring import evaluate_run
from hsjax.tree.costs import answer_costs

HS = Taxonomy.from_paths(
    [("01", "0101", "010121"), ("01", "0101", "010129"), ("64", "6404", "640411")]
    + [("64", "6404")],  # products do end there
)
SHOP = Taxonomy.from_paths(
    [("Men", "Men > Shoes"), ("Men", "Men > Hats"), ("Bags",)], separator=" > "
)
PART = {"source": None, "part": "test", "corrupt": "", "seed": 0}


def written(tmp_path, *rows):
    path = tmp_path / "given.csv"
    path.write_text("\n".join(["predicted,true,cost", *rows]) + "\n")
    return path


def pairs(costs):
    return list(zip(*(x.tolist() for x in costs), strict=True))


def test_codes_are_written_as_in_labels(tmp_path):
    path = written(tmp_path, "0101.21,0101 29,2.5", "6404,640411,0", "640411,010121,9")
    found = read_costs(path, HS, own={})
    expected = [("010121", "010129", 2.5), ("6404", "640411", 0.0)]
    assert pairs(found) == [*expected, ("640411", "010121", 9.0)]
    path = written(tmp_path, "Men>Shoes, Bags ,3", "Men > Shoes,Bags,3")
    assert pairs(read_costs(path, SHOP, own={})) == [("Men > Shoes", "Bags", 3.0)]
    own = node_paths(SHOP)
    path = written(tmp_path, "Shoes,Hats,1")
    (by_own,) = pairs(read_costs(path, SHOP, own=own))
    assert by_own == ("Men > Shoes", "Men > Hats", 1.0)
    write_costs(found, tmp_path / "kept.csv")
    assert pairs(read_costs(tmp_path / "kept.csv", HS, own={})) == pairs(found)
    assert not pairs(read_costs(written(tmp_path), HS, own={})), "the distance for all"


MISTAKES = [
    (["010121,0101219,1"], "row 1, column true: probably a lost zero: '0101219'"),
    (["010121,64.04.12,1"], "column true: '64.04.12' is no node.*mean '640411'"),
    (["010121,010129,1", "01,010121,1"], "row 2, column predicted: no product ends at"),
    (["01,010121,1"], r"name the leaves below it \(010121, 010129\)"),
    (["010121,,1"], "row 1, column true: no code"),
    (["010121,010129,-1"], "row 1, column cost: -1 is no cost; give 0 or more"),
    (["010121,010129,inf"], "column cost: inf is no cost"),
    (["010121,010129,"], "column cost: '' is no number"),
    (["010121,010129,nan"], "column cost: '' is no number"),
    (["010121,010129,much"], "column cost: 'much' is no number"),
    (
        ["010121,010129,1", "640411,010121,1", "0101.21,0101.29,2"],
        "row 3, column cost: predicted '010121' for the true '010129' costs 2 here"
        " and 1 in row 1",
    ),
    (["010121,010129"], "row 1"),
]


@pytest.mark.parametrize(("rows", "told"), MISTAKES)
def test_mistakes_name_file_row_and_column(tmp_path, rows, told):
    path = written(tmp_path, *rows)
    with pytest.raises(CatalogueError, match=told) as error:
        read_costs(path, HS, own={})
    assert str(path) in str(error.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(CatalogueError, match="eval.cost_matrix: there is no file"):
        read_costs(tmp_path / "gone.csv", HS, own={})
    (tmp_path / "a.csv").write_text("predicted,real,cost\n")
    with pytest.raises(CatalogueError, match="no column 'true' .eval.cost_matrix"):
        read_costs(tmp_path / "a.csv", HS, own={})


def leaves_of(workdir):
    tree = Taxonomy.load(workdir / "taxonomy.json")
    return [str(code) for code in tree.codes[-1]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run that knows no costs."""
    workdir = tmp_path_factory.mktemp("plain") / "run"
    train_run(run_config(TEXT), workdir)
    return workdir


@pytest.fixture(scope="module")
def given(plain, tmp_path_factory):
    """A file by which one leaf is never to be missed."""
    leaves = leaves_of(plain)
    dear = str(read_predictions(plain / "predictions.parquet").truth[0, -1])
    path = tmp_path_factory.mktemp("costs") / "costs.csv"
    rows = [f"{leaf},{dear},1000000" for leaf in leaves if leaf != dear]
    path.write_text("\n".join(["predicted,true,cost", *rows]) + "\n")
    return path, dear


def charged(predictions, costs):
    """Mean cost of each decode by the definition."""
    p = predictions
    return {
        name: answer_costs(answer, p.truth, p.complete, costs).mean()
        for name, answer in p.decoded.items()
    }


def test_any_run_answers_by_costs_that_are_named_later(plain, given, tmp_path):
    path, dear = given
    out = tmp_path / "out"
    evaluate_run(plain, out, cost_matrix=str(path), **PART)
    found = read_predictions(out / "predictions.parquet")
    assert set(found.decoded["cost"][:, -1]) == {dear}
    assert found.valid["cost"].all()
    assert found.main == "path"
    names = pq.read_table(out / "predictions.parquet").column_names
    assert {"pred_cost_level3", "cost_path", "cost_cost"} <= set(names)
    metrics = report(out)["metrics"]
    costs = read_costs(path, Taxonomy.load(plain / "taxonomy.json"), own={})
    for name, cost in charged(found, costs).items():
        assert metrics[f"decode/{name}/mean_cost"] == pytest.approx(cost), name
    assert metrics["path/mean_cost"] == metrics["decode/path/mean_cost"]
    assert metrics["decode/cost/mean_cost"] < metrics["path/mean_cost"]
    text = (out / "report.md").read_text()
    assert "| invalid paths | mean cost |" in text
    assert "mean cost" not in (plain / "report.md").read_text()
    asked = [["path/mean_cost"], ["cost", "path"]]
    compare_runs([str(out)], [], tmp_path / "both", *asked)
    both = json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert both["path/mean_cost"]["value"] < 0
    # in Python, of products without labels, which nobody can charge
    run = hsjax.load(plain, cost_matrix=path)
    answers = run.predict(run.records([{"title": "a red boot"}]))
    assert answers.decoded["cost"][0, -1] == dear
    assert np.isnan(answers.costs["cost"]).all()


def test_a_run_keeps_its_costs(plain, given, tmp_path):
    path, dear = given
    mine = tmp_path / "mine.csv"
    mine.write_bytes(path.read_bytes())
    keys = {"eval.cost_matrix": str(mine), "eval.decode": "cost"}
    workdir = tmp_path / "run"
    train_run(run_config(TEXT | keys), workdir)
    found = read_predictions(workdir / "predictions.parquet")
    assert found.main == "cost"
    assert set(found.decoded["cost"][:, -1]) == {dear}
    assert report(workdir)["context"]["decode"] == "cost"
    np.testing.assert_array_equal(  # trained as if there were no costs
        found.decoded["path"],
        read_predictions(plain / "predictions.parquet").decoded["path"],
    )
    mine.unlink()
    run = hsjax.load(workdir)
    answers = run.predict(run.records([{"title": "a red boot"}]))
    assert answers.topk_codes[0, 0]
    assert answers.decoded[answers.main][0, -1] == dear
    # other costs are another report; the model stays
    mine.write_text("predicted,true,cost\n")
    train_run(run_config(TEXT | keys), workdir)
    metrics = report(workdir)["metrics"]
    least = metrics["decode/distance/mean_cost"]
    assert metrics["path/mean_cost"] == least < 1e3, "the distance alone"
    assert "is done" in train_run(run_config(TEXT | keys), workdir)
    gone = keys | {"eval.cost_matrix": str(tmp_path / "gone.csv")}
    assert "there is no file" in sentence(run_config(TEXT | gone), workdir)


def test_what_cannot_answer_by_costs_says_so(plain, given, tmp_path):
    path, _ = given
    config = run_config(TEXT | {"eval.decode": "cost"})
    told = sentence(config, tmp_path / "a")
    assert "name it in eval.cost_matrix, or take 'distance'" in told
    config = run_config(TEXT | {"eval.cost_matrix": str(path), "task": "baseline"})
    assert "a baseline has one decode" in sentence(config, tmp_path / "a")
    with pytest.raises(CatalogueError, match="--cost_matrix asks one run alone"):
        evaluate_run([plain, plain], tmp_path / "x", cost_matrix=str(path), **PART)
    with pytest.raises(CatalogueError, match="--cost_matrix: there is no file"):
        evaluate_run(plain, tmp_path / "x", cost_matrix="gone.csv", **PART)
    train_run(run_config(TEXT | {"task": "baseline"}), tmp_path / "b1")
    with pytest.raises(CatalogueError, match="is a baseline, which has one decode"):
        evaluate_run(tmp_path / "b1", tmp_path / "x", cost_matrix=str(path), **PART)


def test_a_check_reads_the_costs(given, tmp_path):
    path, _ = given
    config = run_config(TEXT | {"eval.cost_matrix": str(path), "task": "check"})
    printed = train_run(config, tmp_path / "check")
    count = len(path.read_text().splitlines()) - 1
    assert f"{count:,} pairs of leaves cost what {path} says" in printed
    path.write_text(path.read_text() + "01,010121,x\n")
    assert "column" in sentence(config, tmp_path / "check")
