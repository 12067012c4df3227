"""Every task from catalogue to report, as a user meets it."""

import csv
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from runs import TEXT, metric_lines, report, run_config, train_run
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import hsjax
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import NO_PICTURE, RENAMED, REPAIRED
from hsjax.data.records import CatalogueError, Quarantine, load_records
from hsjax.data.synthetic import listings
from hsjax.evaluation.comparison import compare_runs
from hsjax.evaluation.predictions import read_predictions
from hsjax.train.claim import CLAIM
from hsjax.train.workdir import WorkdirError
from hsjax.trained.scoring import evaluate_run

HEADER = ("id", "title", "brand", "hs_code", "shop", "group", "image")
COLUMNS = {
    "data.columns.id": "id",
    "data.columns.label": ("hs_code",),
    "data.columns.group": "group",
    "data.columns.platform": "shop",
    "data.columns.image": "image",
    "data.image.max_pixels": 10000,
}
FLAWS = {  # what is said of a row -> the row, action
    "no label": (("f1", "boot", "", "", "s", "f1", ""), "dropped"),
    "malformed label": (("f2", "boot", "", "4202x", "s", "f2", ""), "dropped"),
    "empty image": (("f3", "boot", "", "640391", "s", "f3", ""), NO_PICTURE),
    "truncated image": (("f4", "boot", "", "640391", "s", "f4", "cut.png"), NO_PICTURE),
    "image too large": (("f5", "boot", "", "640391", "s", "f5", "big.png"), NO_PICTURE),
    "empty image file": (
        ("f6", "boot", "", "640391", "s", "f6", "empty.png"),
        NO_PICTURE,
    ),
    "bad base64": (
        ("f7", "boot", "", "640391", "s", "f7", "data:;base64,@@"),
        NO_PICTURE,
    ),
    "image path leaves image_root": (
        ("f8", "boot", "", "640391", "s", "f8", "../x.png"),
        NO_PICTURE,
    ),
    "image file not found": (
        ("f9", "boot", "", "640391", "s", "f9", "gone.png"),
        NO_PICTURE,
    ),
    "image is a web address": (
        ("f10", "boot", "", "640391", "s", "f10", "https://x/a.png"),
        NO_PICTURE,
    ),
    "nothing to classify": (("f11", "", "", "640391", "s", "f11", ""), "kept"),
    "empty id": (("", "boot", "", "640391", "s", "f12", ""), "kept"),
    "repeated id": (("f3", "clog", "", "640391", "s", "f13", ""), RENAMED),
    "repeated row": (("f3", "boot", "", "640391", "s", "f3", ""), "dropped"),
    "wrong number of columns": (("f14", "boot"), "dropped"),
    "blank line": ((), "dropped"),
    "NUL byte": (("f15", "nul\0", "", "640391", "s", "f15", ""), REPAIRED),
    "not UTF-8": (("f16", "caf\ufffe", "", "640391", "s", "f16", ""), REPAIRED),
    "empty text": (("f17", "", "acme", "640391", "s", "f17", ""), "kept"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A CSV with image paths: some 200 sound products, and every flaw once."""
    folder, rows = tmp_path_factory.mktemp("shop"), []
    for item in listings(run_config().data):
        name = f"{item.id}.png" if item.image else ""
        if name:
            (folder / name).write_bytes(item.image)
            (folder / "cut.png").write_bytes(item.image[:60])
        head = (item.id, item.title, item.brand, item.code)
        rows.append((*head, item.shop, str(item.product), name))
    big = io.BytesIO()
    Image.new("RGB", (200, 200)).save(big, "PNG")
    (folder / "big.png").write_bytes(big.getvalue())
    (folder / "empty.png").write_bytes(b"")
    path = folder / "shop.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows, *(row for row, _ in FLAWS.values())])
        file.write('f18,"an open quote,,640391,s,f18,\n')
    path.write_bytes(path.read_bytes().replace("\ufffe".encode(), b"\xff"))
    return path


@pytest.fixture(scope="module")
def run(shop, tmp_path_factory):
    """(workdir, config, what was printed) of a joint run on the broken catalogue."""
    workdir = tmp_path_factory.mktemp("run")
    longer = {"train.steps": 60, "train.eval_every": 30, "optim.learning_rate": 1e-2}
    config = run_config(
        {**COLUMNS, **longer}, data__path=str(shop), train__tensorboard=True
    )
    return workdir, config, train_run(config, workdir)


def test_a_broken_catalogue_trains_and_every_flaw_is_named(run):
    with (run[0] / "quarantine.csv").open(newline="") as file:
        notes = list(csv.DictReader(file))
    found = {(n["reason"].split(": ")[0], n["action"]) for n in notes}
    assert list(notes[0]) == ["file", "row", "id", "column", "reason", "action"]
    assert {(reason, action) for reason, (_, action) in FLAWS.items()} <= found
    assert ("broken quotes", "dropped") in found
    assert len(found) >= 15
    assert metric_lines(run[0])[-1]["step"] == 60


def test_the_report_tells_of_the_catalogue(run):
    text, context = (run[0] / "report.md").read_text(), report(run[0])["context"]
    # one of them has a brand, which no stream reads
    assert context["catalogue"]["rows with nothing present"] == 2
    for name, value in context["catalogue"].items():
        assert f"| {name} | {value:g} |" in text
    assert "rows of the largest group" in context["catalogue"]


def test_the_workdir_has_every_file(run):
    workdir, _, printed = run
    files = {p.name for p in workdir.iterdir()}
    assert files == {
        *("best.json", "checkpoints", "config.json", "confusion.png", "curves.png"),
        *("metrics.jsonl", "predictions.parquet", "quarantine.csv", "reliability.png"),
        *("report.json", "report.md", "taxonomy.json", "tensorboard", "tokenizer.json"),
        *("parameters.txt", "train_counts.json", "train_rows.npy", CLAIM),
    }
    assert str(workdir) in printed.splitlines()[-1]
    assert (workdir / "report.md").read_text().strip() in printed


NAMES = [
    *(f"level{k}/{m}" for k in (1, 2, 3) for m in ("accuracy", "macro_f1")),
    *("level3/weighted_f1", "level1/macro_f1_min5", "level3/name_accuracy"),
    *(f"hierarchical/{m}" for m in ("precision", "recall", "f1")),
    *("retrieval/text_to_image_r1", "retrieval/image_to_text_r5"),
    *("digits2/accuracy", "digits4/macro_f1", "digits6/weighted_f1"),
]


@pytest.mark.parametrize("name", NAMES)
def test_the_report_has_a_number_with_an_interval(run, name):
    metrics = report(run[0])["metrics"]
    low, value, high = (metrics[name + end] for end in ("_low", "", "_high"))
    assert 0 <= low <= value <= high <= 1
    if name.startswith("digits"):
        level = f"level{int(name[6]) // 2}"
        assert metrics[name] == metrics[level + name[7:]]


def test_the_predictions_have_the_agreed_columns(run):
    table = pq.read_table(run[0] / "predictions.parquet")
    levels = [f"{c}_level{k}" for c in ("label", "pred", "prob") for k in (1, 2, 3)]
    wanted = ["row", "id", "group", "label", "pred", *levels, "log_prob"]
    wanted += ["topk_codes", "topk_probs"]
    assert table.column_names[: len(wanted)] == wanted
    assert {"has_title", "has_image", "stage"} <= set(table.column_names)
    metrics = report(run[0])["metrics"]
    right = np.equal(table["label"].to_pylist(), table["pred"].to_pylist()).mean()
    assert metrics["path/accuracy"] == pytest.approx(right)
    assert table.num_rows == metrics["count/rows"]


def test_the_same_command_again_says_that_it_is_done(run):
    before = (run[0] / "report.json").stat().st_mtime_ns
    assert "is done: see" in train_run(run[1], run[0])
    assert (run[0] / "report.json").stat().st_mtime_ns == before


def test_a_workdir_of_another_experiment_is_refused(run):
    other = run_config(COLUMNS, data__path=run[1].data.path, seed=3)
    with pytest.raises(WorkdirError, match=r"seed: 0 -> 3"):
        train_run(other, run[0])


def test_any_file_with_the_same_columns_is_scored(run, shop, tmp_path):
    """The CSV as Parquet, with the pictures inside, gives the same answers."""
    config = run[1].data.copy_and_resolve_references()
    every = load_records(config, quarantine=Quarantine(), labelled=False)
    rows = {r.row: r for r in every}
    with shop.open(newline="", errors="replace") as file:
        lines = [x for x in csv.reader(file) if len(x) == 7][1:41]
    table = {name: [x[i] for x in lines] for i, name in enumerate(HEADER)}
    pictures = [(shop.parent / x) if x else None for x in table["image"]]
    table["image"] = [p.read_bytes() if p else None for p in pictures]
    del table["group"]  # matters for splits only
    pq.write_table(hsjax.data.synthetic.pa.table(table), tmp_path / "part.parquet")
    options = {"part": "test", "corrupt": "", "seed": 0}
    for name, source in (("csv", shop), ("parquet", tmp_path / "part.parquet")):
        evaluate_run(run[0], tmp_path / name, source=str(source), **options)
    whole, part = (
        read_predictions(tmp_path / name / "predictions.parquet")
        for name in ("csv", "parquet")
    )
    assert len(whole) == len(rows)
    assert len(part) == 40
    assert part.id.tolist() == whole.id[:40].tolist()
    for name, codes in part.decoded.items():
        assert np.array_equal(codes, whole.decoded[name][:40])
    np.testing.assert_allclose(part.prob, whole.prob[:40], atol=1e-6)
    metrics = report(tmp_path / "parquet")["metrics"]
    assert metrics["count/rows"] == 40
    # of which 40 rows the run was trained on is known, and told
    trained = int((read_catalogue(run[1]).parts == "train").sum())
    found = report(tmp_path / "csv")["context"]["catalogue"]
    # repeated rows are scored here, and were dropped for training
    assert trained <= found["rows of the run's training part"] < len(whole)
    assert "were in the training part of" in (tmp_path / "csv/report.md").read_text()
    # how often a class was trained on is known although the catalogue is not read
    assert metrics["leaf/few_shot_accuracy"] == metrics["path/accuracy"]


def test_every_row_is_answered_and_every_labelled_one_scored(run, tmp_path):
    """Repeated rows and rows with nothing in them count; ids and pictures may lack."""
    header = ("id", "title", "brand", "hs_code")
    rows = [("p", "boot", "", "640391"), ("p", "boot", "", "640391")]
    rows += [("q", "", "", "420221"), ("r", "bag", "", ""), ("s", "bag", "", "4202")]
    rows += [("t", "bag", "", "a bag")]
    for name, first in (("whole", 0), ("bare", 1)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(line[first:] for line in (header, *rows))
        options = {"source": str(tmp_path / f"{name}.csv"), "part": "", "corrupt": ""}
        evaluate_run(run[0], tmp_path / name, seed=0, **options)
    whole, bare = (
        read_predictions(tmp_path / name / "predictions.parquet")
        for name in ("whole", "bare")
    )
    assert whole.row.tolist() == bare.row.tolist() == [1, 2, 3, 4, 5, 6]
    assert whole.id.tolist() == ["p", "p#2", "q", "r", "s", "t"]
    assert bare.id.tolist() == ["1", "2", "3", "4", "5", "6"]
    assert not any(present[2] for present in whole.present.values())
    assert np.isfinite(whole.log_prob).all()
    assert whole.log_prob[0] == whole.log_prob[1]
    assert report(tmp_path / "whole")["metrics"]["count/rows"] == 4
    text = (tmp_path / "whole/report.md").read_text()
    assert "2 of 6 rows have no sound label: they are answered and not scored" in text
    assert not whole.truth[[3, 5]].any()
    assert (whole.decoded["path"][3] != "").any()
    with (tmp_path / "whole/quarantine.csv").open(newline="") as file:
        notes = [n for n in csv.DictReader(file) if n["row"] == "6"]
    (action,) = (n["action"] for n in notes if n["reason"].startswith("malformed"))
    assert action == "kept"
    assert "| none | 1 |" in text
    with (tmp_path / "bare/quarantine.csv").open(newline="") as file:
        notes = {n["column"]: n["reason"] for n in csv.DictReader(file)}
    assert notes["id"] == "column absent: the row number stands in"
    assert notes["image"] == "column absent: all rows lack it"


def test_damage_depends_on_the_seed_alone_and_runs_compare(run, tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = {"source": None, "part": "test", "corrupt": "word_drop:0.5"}
        evaluate_run(run[0], tmp_path / name, seed=seed, **options)
    a, b, c = (read_predictions(tmp_path / x / "predictions.parquet") for x in "abc")
    clean = read_predictions(run[0] / "predictions.parquet")
    assert a.id.tolist() == clean.id.tolist()
    assert np.array_equal(a.log_prob, b.log_prob)
    assert not np.array_equal(a.log_prob, c.log_prob)
    assert not np.array_equal(a.log_prob, clean.log_prob)
    folders = [str(run[0])], [str(tmp_path / "a")]
    compare_runs(*folders, tmp_path / "versus", ["level3/accuracy"])
    found = json.loads((tmp_path / "versus/comparison.json").read_text())
    both = [report(d)["metrics"]["level3/accuracy"] for d in (run[0], tmp_path / "a")]
    assert found["level3/accuracy"]["value"] == pytest.approx(both[0] - both[1])
    assert "level3/accuracy" in (tmp_path / "versus/comparison.md").read_text()
    with pytest.raises(CatalogueError, match="level9/accuracy"):
        compare_runs(*folders, tmp_path / "versus", ["level9/accuracy"])
    with pytest.raises(CatalogueError, match="is a workdir of a run"):
        evaluate_run(run[0], run[0], seed=0, **options)
    with pytest.raises(CatalogueError, match="--part=tets"):
        evaluate_run(run[0], tmp_path / "d", seed=0, **{**options, "part": "tets"})


def test_answers_do_not_depend_on_the_batch_size(run):
    loaded = hsjax.load(run[0])
    records = load_records(loaded.config.data, quarantine=Quarantine())[:37]
    answers = []
    for size in (64, 8):
        config = loaded.config.copy_and_resolve_references()
        config.eval.batch_size = size
        answers.append(loaded._replace(config=config).predict(records))
    one, two = answers
    assert len(one) == len(two) == 37
    for name, codes in one.decoded.items():
        assert np.array_equal(codes, two.decoded[name]), name
    np.testing.assert_allclose(one.prob, two.prob, atol=1e-6)
    np.testing.assert_allclose(
        one.embeddings["text"], two.embeddings["text"], atol=1e-6
    )


def plain_svm(config):
    """Codes of the test part by scikit-learn alone."""
    catalogue = read_catalogue(config)
    train, test = (
        [catalogue.records[i] for i in catalogue.rows(part)]
        for part in ("train", "test")
    )
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    table = features.fit_transform([r.texts["title"] for r in train])
    svm = LinearSVC(random_state=config.seed).fit(table, [r.path[-1] for r in train])
    found = svm.predict(features.transform([r.texts["title"] for r in test]))
    assert len(set(found)) > 5
    return found.tolist()


def test_check_baseline_and_prepare(tmp_path, shop):
    config = run_config(COLUMNS, data__path=str(shop), task="check")
    printed = train_run(config, tmp_path / "check")
    told = (tmp_path / "check/check.md").read_text()
    assert told.strip() in printed
    for part in ("hs_code", "repeated row", "seconds per epoch", "parameters", "4202"):
        assert part in told
    assert (tmp_path / "check/quarantine.csv").exists()
    train_run(run_config(task="baseline"), tmp_path / "b1")
    files = {"predictions.parquet", "report.json", "report.md", "config.json"}
    assert files <= {p.name for p in (tmp_path / "b1").iterdir()}
    assert "Bayes-optimal accuracy" in (tmp_path / "b1/report.md").read_text()
    table = pq.read_table(tmp_path / "b1/predictions.parquet")
    assert table["pred"].to_pylist() == plain_svm(run_config(task="baseline"))
    # 140 training rows, none of a frequent class
    metrics = report(tmp_path / "b1")["metrics"]
    assert metrics["leaf/few_shot_accuracy"] == metrics["path/accuracy"]
    with pytest.raises(CatalogueError, match="is a baseline, which keeps no model"):
        hsjax.load(tmp_path / "b1")
    assert not (tmp_path / "b1/checkpoints").exists()
    assert "is done" in train_run(run_config(task="baseline"), tmp_path / "b1")
    train_run(run_config(task="prepare"), tmp_path / "file")
    rows = pq.read_table(tmp_path / "file/catalogue.parquet").num_rows
    assert rows == sum(1 for _ in listings(run_config().data))
    # what was drawn and the file of it have the same columns
    source = str(tmp_path / "file/catalogue.parquet")
    options = {"source": source, "part": "", "corrupt": "", "seed": 0}
    evaluate_run(tmp_path / "b1", tmp_path / "again", **options)
    again = read_predictions(tmp_path / "again/predictions.parquet")
    tested = read_predictions(tmp_path / "b1/predictions.parquet")
    assert len(again) == rows
    found = again.select(np.flatnonzero(np.isin(again.id, tested.id)))
    assert found.id.tolist() == tested.id.tolist()
    assert np.array_equal(found.truth, tested.truth)
    assert np.array_equal(found.decoded[found.main], tested.decoded[tested.main])
    assert len(set(again.group.tolist())) == run_config().data.synthetic.products


def test_a_part_of_a_catalogue_that_has_changed_is_not_scored(tmp_path):
    path = tmp_path / "shop.csv"
    lines = [f"boot {n},640391" if n % 2 else f"cup {n},691110" for n in range(40)]
    path.write_text("\n".join(["title,hs_code", *lines]) + "\n")
    columns = {"data.columns.text": ("title",), "data.columns.label": ("hs_code",)}
    config = run_config({**TEXT, **columns}, data__path=str(path), task="baseline")
    train_run(config, tmp_path / "run")
    options = {"source": None, "part": "test", "corrupt": "", "seed": 0}
    evaluate_run(tmp_path / "run", tmp_path / "same", **options)
    with path.open("a") as file:
        file.write("boot of the winter,640391\n")
    with pytest.raises(WorkdirError, match=r"shop\.csv has changed since .*run was"):
        evaluate_run(tmp_path / "run", tmp_path / "grown", **options)
    assert not (tmp_path / "grown").exists()
