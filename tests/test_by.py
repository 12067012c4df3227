"""A scored file in parts: each value of a column has a report of its own."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import ROOT, SMALL, TEXT, command, report, run_config, train_run

from hsjax.data.columns import carried
from hsjax.data.quarantine import CatalogueError
from hsjax.data.synthetic import make_records
from hsjax.evaluation.comparison import compare_runs
from hsjax.evaluation.metrics import score
from hsjax.evaluation.parts import folder_names, parts_by
from hsjax.evaluation.predictions import read_predictions
from hsjax.inference.predict import Run
from hsjax.sweep.lists import read_runs
from hsjax.sweep.tables import make_table
from hsjax.trained.scoring import evaluate_run

ASKED = {"source": None, "part": "test", "corrupt": "", "seed": 0}
COLUMNS = {
    "data.columns.id": "id",
    "data.columns.image": "image",
    "data.columns.label": ("hs_code",),
    "data.columns.group": "group",
}


@pytest.fixture(scope="module")
def workdir(shop, tmp_path_factory):
    """Of a run of a few steps on titles, which knows nothing of the column `shop`."""
    changes = {**TEXT, **COLUMNS, "data.path": str(shop), "train.steps": 4}
    workdir = tmp_path_factory.mktemp("run")
    train_run(run_config(changes), workdir)
    return workdir


def test_a_product_without_a_label_has_its_other_columns():
    (record, *_) = make_records(run_config(data__synthetic__products=5).data)
    bare = replace(record, path=())
    assert carried(bare, "shop") == record.platform
    assert carried(bare, "hs_code") == ""


def no_plots(patch):
    """Most of the time of a small report."""
    for name in ("plot_confusion", "plot_reliability"):
        patch.setattr(f"hsjax.trained.reports.{name}", lambda predictions, path: None)


@pytest.fixture(scope="module")
def scored(shop, workdir, tmp_path_factory):
    """The shop's file, damaged, by shop; and how often the model was asked."""
    output, calls, predict = tmp_path_factory.mktemp("scored"), [], Run.predict
    with pytest.MonkeyPatch.context() as patch:

        def counted(run, records, **options):
            calls.append(len(records))
            return predict(run, records, **options)

        patch.setattr(Run, "predict", counted)
        no_plots(patch)
        asked = {**ASKED, "source": str(shop), "corrupt": "word_drop:0.5"}
        evaluate_run(workdir, output, by="shop", **asked)
    return output, calls


def shops(path):
    table = pq.read_table(path, columns=["id", "shop"]).to_pydict()
    return dict(zip(table["id"], table["shop"], strict=True))


def test_parts_are_rows_of_the_whole_answered_once(scored, shop):
    output, calls = scored
    whole, told = read_predictions(output / "predictions.parquet"), shops(shop)
    assert calls == [len(whole)]
    seen = []
    for value in sorted(set(told.values())):
        folder = output / "by" / value
        part = read_predictions(folder / "predictions.parquet")
        rows = np.flatnonzero([told[id] == value for id in whole.id])
        for name in ("id", "row", "group", "log_prob"):
            np.testing.assert_array_equal(
                getattr(part, name), getattr(whole, name)[rows]
            )
        expected = score(whole.select(rows), bootstrap=SMALL["eval.bootstrap"])
        metrics = report(folder)["metrics"]
        for name in ("level3/accuracy", "hierarchical/f1_low", "level1/macro_f1"):
            assert metrics[name] == pytest.approx(expected[name])
        assert report(folder)["context"]["value"] == value
        assert (folder / "report.md").exists()
        seen += part.id.tolist()
    assert len(told) > 100
    assert len(set(told.values())) > 2
    assert sorted(seen) == sorted(whole.id.tolist())


def test_the_report_on_all_rows_has_a_table_of_them(scored, shop):
    output, _ = scored
    text = (output / "report.md").read_text()
    body = text.split("## By shop\n\n")[1].split("\n\n")[0].splitlines()
    heads = (
        "| shop | rows | level 1 (2 digits) accuracy | level 2 (4 digits) accuracy |"
    )
    assert body[0].startswith(heads)
    assert body[0].endswith("| top-3 | top-5 | hF1 |")
    values = sorted(set(shops(shop).values()))
    assert [line.split(" | ")[0] for line in body[2:]] == [f"| {x}" for x in values]
    for line, value in zip(body[2:], values, strict=True):
        m = report(output / "by" / value)["metrics"]
        names = [f"level{k}/accuracy" for k in (1, 2, 3)]
        names += ["level3/top3_accuracy", "level3/top5_accuracy", "hierarchical/f1"]
        cells = [(m[n], m[f"{n}_low"], m[f"{n}_high"]) for n in names]
        told = [f"{100 * v:.1f} [{100 * a:.1f}, {100 * b:.1f}]" for v, a, b in cells]
        assert line == f"| {value} | {m['count/rows']:.0f} | {' | '.join(told)} |"
    # what is said of the file is said of all of it
    part = (output / "by" / values[0] / "report.md").read_text()
    assert "## Catalogue of all values" in part
    assert "## By shop" not in part


def test_a_part_is_compared_like_any_report(
    scored, workdir, shop, tmp_path, capsys, monkeypatch
):
    no_plots(monkeypatch)
    asked = {**ASKED, "source": str(shop), "zero_shot": "name"}
    results = lambda run, rows, _: ({"zero_shot/x": 1.0 * len(rows)}, "of texts")  # noqa: E731
    monkeypatch.setattr("hsjax.trained.scoring.zero_shot_results", results)
    monkeypatch.setattr("hsjax.trained.members.check_zero_shot", lambda run, kind: None)
    embedded = []
    embeds = lambda *asked: embedded.append(asked) or asked  # noqa: E731
    monkeypatch.setattr("hsjax.trained.scoring.label_vectors", embeds)
    evaluate_run(workdir, tmp_path / "clean", by="shop", **asked)
    value = sorted(set(shops(shop).values()))[0]
    clean, damaged = (x / "by" / value for x in (tmp_path / "clean", scored[0]))
    compare_runs([str(clean)], [str(damaged)], tmp_path / "vs", ["level3/accuracy"])
    found = json.loads((tmp_path / "vs/comparison.json").read_text())
    both = [report(d)["metrics"]["level3/accuracy"] for d in (clean, damaged)]
    assert found["level3/accuracy"]["value"] == pytest.approx(both[0] - both[1])
    assert found["rows"] == [report(clean)["metrics"]["count/rows"]] * 2
    # what is asked of all rows is asked of each part
    metrics, text = report(clean)["metrics"], (clean / "report.md").read_text()
    assert metrics["zero_shot/x"] == metrics["count/rows"]
    assert len(embedded) == 1, "label texts are embedded once for all values"
    assert text.count("## Zero-shot\n\nof texts") == 1
    # a screen shows the report on all rows alone
    assert capsys.readouterr().out.count("# Report: ") == 1


def test_a_table_of_a_sweep_reads_a_part_of_each_run(tmp_path, monkeypatch):
    """Of the built-in catalogue, which is no file, by a baseline."""
    no_plots(monkeypatch)
    line = {"name": "svm", "config": str(ROOT / "configs/base.py"), "seed": [0]}
    line["overrides"] = {**SMALL, **TEXT, "task": "baseline"}
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(line))
    (run,) = read_runs(path)
    workdir = tmp_path / run.name
    train_run(run.config, workdir)
    evaluate_run(workdir, workdir / "goods", by="shop", **ASKED)
    values = report(workdir / "goods")["context"]["by"]["folders"]
    counts = {x: report(workdir / "goods/by" / x)["metrics"] for x in values.values()}
    rows = report(workdir / "goods")["metrics"]["count/rows"]
    assert sum(m["count/rows"] for m in counts.values()) == rows
    value = max(counts, key=lambda x: counts[x]["count/rows"])
    (tmp_path / "shop.json").write_text(json.dumps({"folder": f"goods/by/{value}"}))
    make_table(path, [run], tmp_path, "shop")
    with (tmp_path / "shop.csv").open() as file:
        found = {x["metric"]: float(x["mean"]) for x in csv.DictReader(file)}
    accuracy = counts[value]["level3/accuracy"]
    assert found["level3/accuracy"] == pytest.approx(accuracy, abs=1e-6)


def write_goods(path, kinds, header=("title", "hs_code", "kind")):
    with path.open("w", newline="") as file:
        rows = [("boot", "640391", kind) for kind in kinds]
        csv.writer(file).writerows([header, *(row[: len(header)] for row in rows)])
    return str(path)


def test_values_that_are_no_names_of_folders_and_old_ones(workdir, tmp_path):
    """A column that the run's own catalogue does not have."""
    out = tmp_path / "out"
    kinds = ["a/b", "", "a:b", "a/b", ".."]
    asked = {**ASKED, "source": write_goods(tmp_path / "goods.csv", kinds)}
    evaluate_run(workdir, out, by="kind", **asked)
    sizes = {
        path.name: report(path)["metrics"]["count/rows"]
        for path in (out / "by").iterdir()
    }
    assert sizes == {"none": 1, "none-2": 1, "a_b": 2, "a_b-2": 1}
    text = (out / "report.md").read_text()
    assert "| a/b (a_b) | 2 |" in text
    assert "| (none) | 1 |" in text
    # another file into the same folder: what is gone from it is gone there
    asked["source"] = write_goods(tmp_path / "more.csv", ["a/b", "c"])
    evaluate_run(workdir, out, by="kind", **asked)
    left = sorted(path.parent.name for path in (out / "by").glob("*/report.json"))
    assert left == ["a_b", "c"]
    assert not (out / "by/none/predictions.parquet").exists()


def test_mistakes_end_in_a_sentence(workdir, shop, tmp_path):
    asked = {**ASKED, "source": str(shop)}
    told = r"no column 'shops' \(--by\)\. Did you mean 'shop'\? The file has: 'id', "
    with pytest.raises(CatalogueError, match=told):
        evaluate_run(workdir, tmp_path / "x", by="shops", **asked)
    with pytest.raises(CatalogueError, match=told):
        evaluate_run(workdir, tmp_path / "x", by="shops", **ASKED)
    told = r"--by=id: \d+ different values in \d+ rows, more than 50; it may be an id"
    with pytest.raises(CatalogueError, match=told):
        evaluate_run(workdir, tmp_path / "x", by="id", **asked)
    with pytest.raises(CatalogueError, match="--by=image: pictures have no values"):
        evaluate_run(workdir, tmp_path / "x", by="image", **asked)
    bare = write_goods(tmp_path / "bare.csv", ["a"], header=("title",))
    with pytest.raises(CatalogueError, match="--by scores rows by their label, and "):
        evaluate_run(workdir, tmp_path / "x", by="title", **{**ASKED, "source": bare})
    assert not (tmp_path / "x").exists()
    flags = (f"--run={workdir}", "--by=shops", f"--output={tmp_path / 'x'}")
    process = command(*flags, module="hsjax.evaluate")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Did you mean 'shop'?" in err
    assert "Traceback" not in err


def test_folders_are_told_apart_without_case_and_never_of_a_run(tmp_path):
    assert list(folder_names(["A", "a", "a-2"]).values()) == ["A", "a-2", "a-2-2"]
    (tmp_path / "by/a").mkdir(parents=True)
    (tmp_path / "by/a/config.json").write_text("{}")
    with pytest.raises(CatalogueError, match="by/a is a workdir of a run"):
        parts_by("kind", ["a", "b"], tmp_path)
