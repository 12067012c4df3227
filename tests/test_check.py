"""What `task=check` says of a file that it has read in part."""

import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, run_config, train_run

from hsjax.data.records import CatalogueError
from hsjax.tasks import check


def test_rows_are_counted_without_being_read(shop, tmp_path, monkeypatch):
    assert check.rows_in_file(shop) == len(pq.read_table(shop)) > 150
    (tmp_path / "a.csv").write_text("id,title\n1,bag\n2,boot\n")
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    for name in ("a.csv", "a.jsonl"):
        assert check.rows_in_file(tmp_path / name) == 2
    monkeypatch.setattr(check, "LINES", 10)
    assert check.rows_in_file(tmp_path / "a.csv") == 0


def test_needs_are_those_of_the_whole_file(shop, tmp_path, monkeypatch):
    rows = check.rows_in_file(shop)
    columns = {"data.columns.label": ("hs_code",), "data.columns.id": "id"}
    changes = {**TEXT, **columns, "train.steps": 0, "train.epochs": 4.0}
    config = run_config(changes, data__path=str(shop), task="check")
    # the loader is slower than the step, which waits for it
    monkeypatch.setattr(check, "_seconds_per_batch", lambda *args: 100.0)

    def needs(read, counted):
        monkeypatch.setattr(check, "ROWS", read)
        monkeypatch.setattr(check, "rows_in_file", lambda path: counted)
        text = train_run(config, tmp_path).split("## Needs")[1]
        cells = re.findall(r"\| ([a-z ]+) \| ([\d,]+) \|", text)
        return text, {name: int(value.replace(",", "")) for name, value in cells}

    text, whole = needs(rows, rows)
    assert "Scaled" not in text
    assert "model from scratch needs some hundred; raise train.epochs" in text
    text, half = needs(rows // 2, rows)
    assert f"Scaled up to the {rows:,} rows of the file." in text
    # duplicates fall otherwise, and so do the parts
    assert half["steps"] == pytest.approx(whole["steps"], rel=0.1)
    assert half["seconds per epoch"] == 100 * math.ceil(half["steps"] / 4)
    text, unknown = needs(rows // 2, 0)
    assert f"Of these {rows // 2} rows alone" in text
    assert unknown["steps"] < 0.6 * whole["steps"]


def test_pictures_are_counted_decoded_or_as_files():
    assert check._bytes_of(b"12345") == 5
    assert check._bytes_of(np.zeros((4, 5, 3), np.uint8)) == 60
    assert check._bytes_of(None) == 0


def test_classes_have_names_and_are_marked_outside_the_tree(tmp_path):
    rows = [f"thing {n},{code}" for n in range(4) for code in ("6406.10", "0101.21")]
    (tmp_path / "shop.csv").write_text("title,code\n" + "\n".join([*rows, ""]))
    (tmp_path / "hs.csv").write_text("code,name\n640610,Parts of shoes\n")
    columns = {"data.columns.label": ("code",), "data.columns.text": ("title",)}
    files = {"path": str(tmp_path / "shop.csv"), "tree": str(tmp_path / "hs.csv")}
    config = run_config(
        {**TEXT, **columns, "taxonomy.path": files["tree"]},
        data__path=files["path"],
        task="check",
        data__columns__label=("code",),
    )
    text = train_run(config, tmp_path)
    assert re.search(r"\| 640610 \| \d \| Parts of shoes \|", text)
    assert re.search(r"\| 010121 \| \d \| NOT IN THE TREE \|", text)
    assert "| unknown code | kept | 4 |" in text
    assert "| rows read | 8 |" in text


def test_classes_between_the_ends_are_counted(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "SHOWN", 2)
    columns = {"data.columns.label": ("hs_code",), "data.columns.id": "id"}
    config = run_config({**TEXT, **columns}, data__path=str(shop), task="check")
    text = train_run(config, tmp_path / "run")
    lines = text[text.index(" in training)") :].splitlines()[2:7]
    counts = [int(line.split("|")[2].replace(",", "")) for line in lines]
    left = int(re.search(r"\| \.\.\. (\d+) labels between", lines[2])[1])
    of = int(re.search(r"label \((\d+) in training", text)[1])
    assert left == of - 4
    assert counts[0] >= counts[1] >= counts[2] / left >= counts[3] >= counts[4]


def test_labels_that_look_wrong_are_told(tmp_path):
    deep = "Women > Bags > Totes > Special"
    labels = ["Women > Bags > Totes"] * 20 + ["women > bags > totes"] * 2 + [deep]
    rows = [f"thing {n},{label}" for n, label in enumerate(labels)]
    (tmp_path / "shop.csv").write_text("title,label\n" + "\n".join([*rows, ""]))
    columns = {"data.columns.label": ("label",), "data.columns.text": ("title",)}
    config = run_config(
        {**TEXT, **columns, "data.columns.label_kind": "path"},
        data__path=str(tmp_path / "shop.csv"),
        task="check",
    )
    printed = train_run(config, tmp_path)
    early = "- 20 rows of `Women > Bags > Totes` end where 1 row goes deeper"
    assert f"{early} (row 23: `{deep}`)\n" in printed
    alike = "- `women > bags > totes` (2 rows, first row 21) -> `Women > Bags > Totes`"
    assert f"{alike} (21 rows)\n" in printed
    assert "blank_level=stop" in (tmp_path / "check.md").read_text()


def test_a_refused_catalogue_leaves_its_flaws_in_the_workdir(tmp_path):
    (tmp_path / "shop.csv").write_text("title,code\nboot,640610.0\n")
    columns = {"data.columns.label": ("code",), "data.columns.text": ("title",)}
    settings = {**TEXT, **columns, "data.path": str(tmp_path / "shop.csv")}
    with pytest.raises(CatalogueError, match="export the column as text"):
        train_run(run_config(settings, task="check"), tmp_path / "run")
    assert "640610.0" in (tmp_path / "run/quarantine.csv").read_text()
