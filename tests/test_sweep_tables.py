"""Tables of a sweep beyond the plain one: levels, curves, series; their definitions."""

import csv
import functools
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT
from test_comparison_rows import ACCURACY, TRUTH, answers_right, write_run

from hsjax.data.records import CatalogueError
from hsjax.evaluation import comparison_plot
from hsjax.evaluation.curve_lines import (
    Points,
    Training,
    best_of,
    curve_names,
    mean_line,
    points_of,
)
from hsjax.evaluation.intervals import seed_interval
from hsjax.sweep import tables as sweep_tables
from hsjax.sweep.discovery_table import are_discoveries
from hsjax.sweep.lines import OWN, WORD
from hsjax.sweep.lists import (
    check_rows_differ,
    check_runs,
    read_runs,
    row_names,
)
from hsjax.sweep.table_files import definition, read_table
from hsjax.sweep.tables import make_table
from hsjax.train.workdir import ConfigError

SHARES = {"few": 0.5, "all": 0.7, "other": 0.6, "twin": 0.5}
LINES = [
    {"name": name, "config": "configs/base.py", "seed": [0, 1, 2], "reference": "few"}
    for name in SHARES
]


def described(workdir, *, rows=80, **more):
    """Adds to a report what a training says of itself."""
    path = workdir / "report.json"
    report = json.loads(path.read_text()) | more
    report["context"] |= {"catalogue": {"train rows": rows}}
    path.write_text(json.dumps(report))


def learning(seed, *, epochs):
    """metrics.jsonl: two lines of training, and a look at validation, per epoch."""
    for epoch in range(1, epochs + 1):
        loss = 2.0 / epoch + seed
        yield {"step": 4 * epoch - 2, "train/loss": loss + 1}
        yield {"step": 4 * epoch, "train/loss": loss - 1}
        accuracy = 0.5 + 0.1 * (epoch if epoch < 3 else 6 - epoch) + 0.01 * seed
        yield {"step": 4 * epoch, "val/loss": loss, "val/level3/accuracy": accuracy}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """(list of runs, their folder): four rows of three seeds, as they are left."""
    root = tmp_path_factory.mktemp("tables")
    path = root / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    for row, share in SHARES.items():
        for seed in range(3):
            workdir = root / row / f"seed{seed}"
            write_run(workdir, answers_right(share, seed))
            described(workdir, label_source="weak headings" if row == "other" else "")
            lines = learning(seed, epochs=4 if seed else 3)
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (workdir / "metrics.jsonl").write_text(text)
    return path, root


@pytest.fixture
def table(sweep, monkeypatch):
    """Makes a table of this definition, and reads its lines."""
    path, root = sweep
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        sweep_tables,
        "is_done_below",
        lambda root, run: (root / run.name / "report.json").exists(),
    )
    runs = read_runs(path, ["data.batch_size=20"])

    def make(**fields):
        (path.parent / "t.json").write_text(json.dumps(fields))
        text = make_table(path, runs, root, "t")
        assert text == (root / "t.md").read_text()
        assert (root / "t.png").read_bytes()[:4] == b"\x89PNG"
        with (root / "t.csv").open() as file:
            return text, list(csv.DictReader(file))

    return make


def test_a_block_per_level_has_the_figures_of_its_level(table, sweep):
    text, lines = table(
        title="Ours",
        rows={"few": "B4", "all": "Proposed"},
        levels="all",
        metrics={
            "accuracy": "Accuracy",
            "macro_recall": "Recall",
            "path/accuracy": "P",
        },
    )
    assert text.startswith("# Ours\n\nMeans over the seeds")
    blocks = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    assert list(blocks) == ["Level 1", "Level 2", "Level 3", "Whole paths"]
    reports = [
        json.loads((sweep[1] / f"all/seed{seed}/report.json").read_text())["metrics"]
        for seed in range(3)
    ]
    for level in (1, 2, 3):
        values = [report[f"level{level}/macro_recall"] for report in reports]
        mean, low, high = (f"{100 * x:.1f}" for x in seed_interval(values))
        assert f"| {mean} [{low}, {high}] |" in blocks[f"Level {level}"]
        assert "| row | runs done | Accuracy | Recall |" in blocks[f"Level {level}"]
        assert "| Proposed − B4 |" in blocks[f"Level {level}"]
    (line,) = (x for x in lines if (x["row"], x["metric"]) == ("Proposed", ACCURACY))
    assert line["significant"] == "yes"
    assert line["reference"] == "B4"
    shown = f"{100 * float(line['difference']):+.2f} ["
    assert shown in blocks["Level 3"]


def test_what_a_block_cannot_tell_apart_is_marked(table):
    of_three = {"levels": [3], "metrics": {"accuracy": "A"}}
    text, _ = table(rows=["few", "all", "twin"], **of_three)
    assert "## Level 1" not in text
    told = {x.split("|")[1].strip(): x for x in text.splitlines() if " − few |" in x}
    assert told["twin − few"].endswith("| +0.00 [+0.00, +0.00] n.s. |")
    assert "n.s." not in told["all − few"]
    assert "2 differences are judged" in text
    text, _ = table(rows=["all", "twin"], **of_three)
    assert "−" not in text, "without the reference there is nothing to compare"


NO_BERT = {"called": "BERT, frozen", "missing": "no weights here."}


def test_a_row_that_is_missing_is_dashes_with_the_reason(table, monkeypatch):
    shown, save = [], comparison_plot.Panels.save

    def seen(panels, path):
        shown[:] = [tick.get_text() for tick in panels.axes[0].get_yticklabels()]
        save(panels, path)

    monkeypatch.setattr(comparison_plot.Panels, "save", seen)
    done = {"called": "Proposed", "missing": "no longer"}
    rows = {"few": "B4", "bert": NO_BERT, "roberta": {**NO_BERT, "called": "RoBERTa"}}
    metrics = {"accuracy": "A", "macro_f1": "F"}
    for levels in ("deepest", ""):  # a block per level, and one table
        told = metrics if levels else {f"level3/{n}": h for n, h in metrics.items()}
        more = {"levels": levels} if levels else {}
        text, lines = table(rows=rows | {"all": done}, metrics=told, **more)
        of_rows = [x for x in text.splitlines() if x.startswith("| ")]
        assert of_rows[2].startswith("| B4 | 3 of 3 |")
        assert of_rows[3] == "| BERT, frozen | – | – | – |"
        assert of_rows[4] == "| RoBERTa | – | – | – |"
        assert of_rows[5].startswith("| Proposed | 3 of 3 |"), "what is done is shown"
        assert text.count("\n- BERT, frozen; RoBERTa: no weights here.\n") == 1
        assert "no longer" not in text
        assert "nan" not in text
        assert shown == ["B4", "Proposed"]
        assert [x["row"] for x in lines[::2]] == ["B4", *told_names(rows), "Proposed"]
        for line in lines:
            empty = [line[key] for key in ("mean", "low", "high", "difference")]
            if line["row"] in ("B4", "Proposed"):
                assert float(line["mean"]) > 0
                assert line["missing"] == ""
            else:
                assert [*empty, line["significant"]] == [""] * 5
                assert (line["runs"], line["planned"]) == ("0", "0")
                assert line["missing"] == "no weights here"


def told_names(rows):
    """What rows with a reason are called."""
    return [of["called"] for of in rows.values() if isinstance(of, dict)]


def test_a_row_of_the_list_is_missing_as_long_as_no_run_of_it_is_done(
    table, monkeypatch
):
    rows = {"few": "B4", "all": {"called": "Proposed", "missing": "no weights here"}}
    fields = {"rows": rows, "metrics": {ACCURACY: "A"}}
    monkeypatch.setattr(
        sweep_tables, "is_done_below", lambda root, run: run.row == "few"
    )
    text, lines = table(**fields)
    assert "| Proposed | 0 of 3 | – |" in text
    assert "\n- Proposed: no weights here.\n" in text
    assert [(x["planned"], x["mean"]) for x in lines[1:]] == [("3", "")]
    monkeypatch.setattr(
        sweep_tables, "is_done_below", lambda _, run: run.name != "all/seed1"
    )
    text, lines = table(**fields)
    assert "no weights here" not in text
    assert (lines[1]["runs"], lines[1]["missing"]) == ("2", "")


def test_levels_of_digits_are_called_so(table, sweep, tmp_path, monkeypatch):
    path, root = sweep
    codes = np.array(["61", "6109", "610910"])
    truth = np.tile(codes, (len(TRUTH), 1))
    digits = replace(TRUTH, truth=truth, decoded={"path": truth}, separator="")
    workdir = write_run(root / "few/seed0/digits", digits)
    text, _ = table(
        folder="digits", rows=["few"], levels="deepest", metrics={"accuracy": "A"}
    )
    assert "## 6 digits" in text
    assert "| few | 1 of 3 | 100.0 |" in text
    assert workdir.exists()


def test_a_table_named_as_an_evaluation_shows_it(table, sweep):
    path, root = sweep
    for row, share in (("few", 0.0), ("all", 1.0)):
        workdir = write_run(root / row / "seed1/lost", answers_right(share, 9))
        (workdir / "evaluate.json").write_text("{}")
        (workdir / "report.json").touch()
    text = make_table(path, read_runs(path, ["data.batch_size=20"]), root, "lost")
    assert "| all | 1 of 3 | 100.0 |" in text
    assert "| twin | 0 of 3 |" in text
    own = root / "all/seed1/report.json"
    later = (root / "all/seed1/lost/report.json").stat().st_mtime_ns + 10**9
    os.utime(own, ns=(later, later))
    text = make_table(path, read_runs(path, ["data.batch_size=20"]), root, "lost")
    assert "| all | 0 of 3 |" in text, "an evaluation before its run was trained anew"


def test_a_row_that_nobody_asks_for_is_a_line_of_dashes(sweep, table):
    """Its config may be none here: a catalogue may lack what it reads."""
    path, root = sweep
    none = {**LINES[0], "name": "none", "reference": "few"}
    none["overrides"] = {"data.text.streams.brand": ["brand"]}
    path.write_text("\n".join(map(json.dumps, [*LINES, none])))
    (path.parent / "asked.json").write_text(json.dumps({"rows": ["few", "none"]}))
    runs = read_runs(path, ["data.batch_size=20"], root, only=["few"])
    assert [run.row for run in runs if run.config is None] == ["none"] * 3
    text = make_table(path, runs, root, "asked")
    assert "| few | 3 of 3 |" in text
    assert "| none | 0 of 3 | – |" in text
    path.write_text("\n".join(map(json.dumps, LINES)))
    with pytest.raises(ConfigError, match="no run of it is done"):
        make_table(path, runs, root / "nothing", "asked")


def test_a_series_is_a_table_per_metric(table):
    series = {"model": {"100": "all", "1": "few"}, "rival": {"10": "other"}}
    text, lines = table(
        title="Data", series=series, x="% of the products", metrics={ACCURACY: "A3"}
    )
    assert text.startswith("# Data (labels: weak headings)\n\n## A3\n")
    assert "| % of the products | 1 | 10 | 100 |" in text
    (rival,) = (x for x in text.splitlines() if x.startswith("| rival |"))
    assert rival.split("|")[2].strip() == rival.split("|")[4].strip() == "–"
    assert "few 3 of 3" in text
    assert "| all | few | level3/accuracy |" in text, "differences stand below"
    points = {(x["series"], x["x"]): x["row"] for x in lines}
    assert points == {
        ("model", "1"): "few",
        ("model", "100"): "all",
        ("rival", "10"): "other",
    }
    assert all(float(x["low"]) < float(x["mean"]) < float(x["high"]) for x in lines)


def test_curves_are_means_over_the_seeds_at_each_epoch(table):
    text, lines = table(rows={"few": "B4"}, curves=["loss", "accuracy"])
    found = {(x["metric"], x["x"]): x for x in lines}
    assert {x["axis"] for x in lines} == {"epoch"}
    # 80 rows in batches of 20: 4 steps an epoch; the mean of seeds 0, 1, 2 is 1 above
    for name in ("train/loss", "val/loss"):
        for epoch in (1, 2, 3):
            line = found[name, str(epoch)]
            assert float(line["mean"]) == pytest.approx(2 / epoch + 1)
            assert line["runs"] == "3"
        assert found[name, "4"]["runs"] == "2", "the first seed has stopped"
        assert float(found[name, "4"]["mean"]) == pytest.approx(2 / 4 + 1.5)
    _, head, _, line, *_ = text.splitlines()[1:]
    assert "| best val/loss | epoch of the best | best val/level3/accuracy |" in head
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:2] == ["B4", "3"]
    assert cells[3] == "3.7 (3.0 to 4.0)"
    # the best epoch of each run is its third: 0.80, 0.81, 0.82
    mean, low, high = (f"{100 * x:.1f}" for x in seed_interval([0.80, 0.81, 0.82]))
    assert cells[4:] == [f"{mean} [{low}, {high}]", "3.0", "3.7 (3.0 to 4.0)"]


def test_curves_against_the_step(table):
    _, lines = table(rows=["few"], curves=["val/loss"], x="step")
    assert [x["x"] for x in lines] == ["4", "8", "12", "16"]


def test_a_mean_curve_ends_where_few_runs_go_on():
    def curve(length, value):
        return Points(np.arange(1.0, length + 1), np.full(length, value))

    line = mean_line([curve(2, 1.0), curve(2, 2.0), curve(5, 6.0)])
    assert [(x, runs, mean.value) for x, runs, mean in line] == [
        (1.0, 3, 3.0),
        (2.0, 3, 3.0),
    ]
    between = Points(np.array([1.0, 3.0]), np.array([0.0, 2.0]))
    line = mean_line([between, curve(3, 5.0)])
    assert [mean.value for _, _, mean in line] == [2.5, 3.5]
    assert mean_line([]) == []


def test_what_a_curve_stands_for():
    known = {"train/loss", "val/loss", "val/level2/accuracy", "val/level10/accuracy"}
    assert curve_names("loss", known) == ["train/loss", "val/loss"]
    assert curve_names("accuracy", known) == ["val/level10/accuracy"]
    assert curve_names("level2/accuracy", known) == ["val/level2/accuracy"]
    with pytest.raises(CatalogueError, match="Did you mean 'val/loss'"):
        curve_names("val/los", known)
    points = Points(np.array([1.0, 2.0, 3.0]), np.array([0.3, 0.1, 0.2]))
    assert best_of(points, "val/loss") == (2.0, 0.1)
    assert best_of(points, "val/level2/accuracy") == (1.0, 0.3)
    lines = [{"step": 1, "train/loss": 5.0}, {"step": 2, "train/loss": float("nan")}]
    alone = points_of(Training(lines, 0.0), "train/loss", "step")
    assert alone.y.tolist() == [5.0]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"rows": ["fev"]}, r"'fev' is no row. Did you mean 'few'\?"),
        ({"rows": 3}, "rows is a list of names"),
        ({"title": "t", "levls": "all"}, "'levls' is unknown. Did you mean 'levels'"),
        (
            {"levels": "some", "metrics": {"accuracy": "A"}},
            "levels is 'all', 'deepest'",
        ),
        ({"levels": "all"}, "levels wants metrics"),
        ({"levels": [7], "metrics": {"accuracy": "A"}}, "level 7 is not one of"),
        ({"curves": ["loss"], "levels": "all"}, "'levels' means nothing with 'curves'"),
        ({"curves": ["loss"], "x": "hour"}, "x is 'hour', and not epoch or step"),
        ({"x": "step"}, "'x' means nothing without"),
        ({"series": {"a": {"many": "few"}}}, "'a' has an x that is no number"),
        ({"series": {"a": {}}}, "'a' has no points"),
        ({"series": {"a": {"1": "fev"}}}, "'fev' is no row"),
        ({"series": {"a": {"1": "few", "1.0": "all"}}}, "'a' has an x twice"),
        ({"series": {"a": {"inf": "few"}}}, "or an infinite one"),
        ({"rows": {"few": "X", "all": "X"}}, "two of rows are called 'X'"),
        ({"budget": {"a": []}}, "'a' has no trials"),
        ({"metrics": {"level3/acuracy": "A"}}, "Did you mean 'level3/accuracy'"),
        ({"folder": "half"}, "--evaluate=half='ARGUMENTS' makes it"),
        ({"rows": {"bert": "BERT"}}, "'bert' is no row"),
        ({"rows": {"bert": NO_BERT}}, "no run of it is done"),
        ({"rows": {"few": "X", "b": NO_BERT | {"called": "X"}}}, "are called 'X'"),
        ({"rows": {"bert": NO_BERT}, "curves": ["loss"]}, "nothing with 'curves'"),
        ({"rows": {"few": {"called": "B4"}}}, "'few' is .*and not {\"called\": NAME"),
        ({"rows": {"few": {"missing": "?"}}}, "'few' is .*\"missing\": REASON"),
        ({"rows": {"b": NO_BERT | {"missing": " "}}}, "'b' is .*\"missing\": REASON"),
        ({"rows": {"b": NO_BERT | {"why": "so"}}}, "'b' is .*\"missing\": REASON"),
    ],
)
def test_a_mistake_in_a_definition_is_told(table, fields, told):
    with pytest.raises(ConfigError, match=told):
        table(**fields)


def test_a_list_may_have_definitions_of_its_own(tmp_path):
    path = tmp_path / "list.jsonl"
    beside, own = tmp_path / "t.json", tmp_path / "list/t.json"
    assert definition(path, "t") == beside
    own.parent.mkdir()
    own.write_text("{}")
    assert definition(path, "t") == own


LISTS = sorted((ROOT / "configs").rglob("*.jsonl"))
TABLES = [
    (runs, table)
    for runs in LISTS
    for folder in (runs.with_suffix(""), runs.parent)
    for table in sorted(folder.glob("*.json"))
]


@functools.cache
def committed_runs(path: Path):
    """The runs of a list, which goes from the root; where data lies is made up."""
    words = {*WORD.findall(path.read_text())} - {*OWN}
    said = [f"{word}=elsewhere" for word in sorted(words)]
    return read_runs(path, ["data.path=x", *said], Path("runs"))


@pytest.mark.parametrize("path", LISTS, ids=lambda p: p.stem)
def test_committed_lists_can_be_read(path: Path, monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = committed_runs(path)
    check_runs(runs)
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    names = [json.loads(line)["name"] for line in lines]
    assert row_names(runs) == list(dict.fromkeys(n.split("/seed")[0] for n in names))


def test_a_catalogue_of_ones_own_leaves_the_models_of_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    goods = tmp_path / "goods.py"
    goods.write_text(
        "from configs import base\n\n\ndef get_config():\n"
        "    config = base.get_config()\n"
        "    config.data.path = 'goods.csv'\n"
        "    config.data.columns.text = ('title', 'brand')\n"
        "    config.data.columns.label = ('kind',)\n"
        "    config.data.columns.label_kind = 'path'\n"
        "    config.model.head.width = 7\n"
        "    return config\n"
    )
    path = ROOT / "configs/fashion/paper_b_head.jsonl"
    ours = read_runs(path, [f"catalogue={goods}"], Path("runs"))
    check_rows_differ(ours)
    for run, theirs in zip(ours, committed_runs(path), strict=True):
        assert run.config.model == theirs.config.model
        assert run.config.optim == theirs.config.optim
        assert run.config.data.path == "goods.csv"
        assert run.config.data.columns.label == ("kind",)
        assert run.config.data.columns.group == ""
        assert run.config.data.features == theirs.config.data.features
    with pytest.raises(ConfigError, match="true/seed0 and layer_norm/seed0 have the"):
        check_rows_differ(read_runs(path, [f"config={goods}"], Path("runs")))
    alike = {"config": "configs/base.py"}
    twice = [{"name": "a", "seed": 2, **alike}, {"name": "b", "seed": 3, **alike}]
    other = tmp_path / "twice.jsonl"
    other.write_text("\n".join(map(json.dumps, twice)))
    with pytest.raises(ConfigError, match="a and b have the same config"):
        check_rows_differ(read_runs(other))
    with pytest.raises(ConfigError, match="not both"):
        read_runs(path, [f"config={goods}", f"catalogue={goods}"], Path("runs"))


@pytest.mark.parametrize("path", LISTS, ids=lambda p: p.stem)
def test_no_two_rows_of_a_committed_list_are_one_experiment(path: Path, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_rows_differ(committed_runs(path))


def test_committed_definitions_belong_to_a_list():
    """One whose list was renamed would never be read again."""
    encoders = {"config.json", "preprocessor_config.json"}
    found = [x for x in (ROOT / "configs").rglob("*.json") if x.name not in encoders]
    assert set(found) == {table for _, table in TABLES}


@pytest.mark.parametrize(("runs", "path"), TABLES, ids=lambda p: p.stem)
def test_committed_definitions_fit_their_list(runs: Path, path: Path, monkeypatch):
    monkeypatch.chdir(ROOT)
    listed = committed_runs(runs)
    found = read_table(path, row_names(listed))
    assert definition(runs, path.stem) == path
    assert found.title != path.stem
    # discoveries have figures of their own
    own = are_discoveries(found, [run for run in listed if run.row in found.rows])
    assert own or found.curves or found.metrics or found.stopping
    if path.stem in ("table2", "table3"):
        assert found.levels
        assert {"macro_f1", "weighted_f1"} <= found.metrics.keys()
    if path.stem in ("table2", "table3") and runs.stem == "paper_a":
        assert {"accuracy", "macro_precision"} <= found.metrics.keys()


def test_a_budget_is_the_expected_result_of_the_best_of_so_many_trials(table, sweep):
    """By hand: trials are all runs of a model's rows; validation chooses."""
    path, root = sweep
    for row in SHARES:
        for seed in range(3):
            best = {"step": 1, "monitor": "hierarchical/f1", "value": 0.1 * seed}
            (root / row / f"seed{seed}" / "best.json").write_text(json.dumps(best))
    text, lines = table(
        budget={"One": ["few"], "Two": ["all", "other"]}, metrics={ACCURACY: "A"}
    )

    def accuracy(row, seed):
        report = json.loads((root / row / f"seed{seed}/report.json").read_text())
        return report["metrics"][ACCURACY]

    one = [accuracy("few", seed) for seed in range(3)]
    found = {(x["model"], int(x["trials"])): float(x["expected"]) for x in lines}
    assert found["One", 1] == pytest.approx(np.mean(one))
    pairs = [one[1], one[2], one[2]]  # of (0, 1), (0, 2) and (1, 2) the second is best
    assert found["One", 2] == pytest.approx(np.mean(pairs))
    assert found["One", 3] == pytest.approx(one[2])
    both = [accuracy(row, seed) for row in ("all", "other") for seed in range(3)]
    assert found["Two", 1] == pytest.approx(np.mean(both))
    assert ("Two", 6) in found
    assert ("One", 4) not in found
    assert "| One |" in text
    least = {"step": 1, "monitor": "loss", "value": -5.0}  # the least loss is best
    (root / "few/seed0/best.json").write_text(json.dumps(least))
    _, lines = table(budget={"One": ["few"]}, metrics={ACCURACY: "A"})
    assert float(lines[-1]["expected"]) == pytest.approx(one[0])


def test_a_report_that_cannot_be_is_refused(table, sweep):
    path = sweep[1] / "few/seed1/report.json"
    kept = path.read_text()
    found = json.loads(kept)
    found["metrics"]["level3/weighted_recall"] = 0.9  # which is the accuracy, or wrong
    path.write_text(json.dumps(found))
    try:
        with pytest.raises(ConfigError, match=r"few.seed1.report\.json cannot be: "):
            table(rows=["few"])
    finally:
        path.write_text(kept)
    table(rows=["few"])


def test_a_table_may_be_like_another(tmp_path):
    written = {
        "plain": {"title": "Plain", "rows": ["a"], "metrics": {"x": "X"}},
        "moved": {"like": "plain", "title": "Moved", "folder": "moved"},
        "both": {"like": "moved", "rows": ["a", "b"]},
        "itself": {"like": "other"},
        "other": {"like": "itself"},
        "gone": {"like": "plian"},
        "odd": {"like": "both", "stopping": [0.9]},
    }
    for name, fields in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(fields))

    def read(name):
        return read_table(tmp_path / f"{name}.json", ["a", "b"])

    assert read("moved") == read("plain")._replace(title="Moved", folder="moved")
    assert read("both") == read("moved")._replace(rows={"a": "a", "b": "b"})
    with pytest.raises(ConfigError, match="it is like 'itself', which is like it"):
        read("itself")
    with pytest.raises(ConfigError, match="no table beside it. Did you mean 'plain'"):
        read("gone")
    with pytest.raises(ConfigError, match="'metrics' means nothing with 'stopping'"):
        read("odd")
