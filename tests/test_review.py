"""People before answers: the queue, their decisions, the record and the new labels."""

import csv
import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from keyed_goods import keyed_config, keyed_rows, write_rows
from runs import TEXT, run_config, train_run

from hsjax.atomic import write_atomically
from hsjax.data.cells import plain_cell, safe_cell
from hsjax.data.fields import as_text
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import load_records
from hsjax.data.sources import read_rows
from hsjax.prediction.catalogue import predict_catalogue
from hsjax.prediction.question import Question
from hsjax.prediction.written import answer_rows
from hsjax.reviewing.decisions import DECISIONS, Answer, read_decisions
from hsjax.reviewing.labelled import labelled_rows, write_labelled
from hsjax.reviewing.queue import FILLED_IN, TOLD, ranked
from hsjax.reviewing.record import head_path, read_record, record_path
from hsjax.reviewing.task import export, open_review, queue, take_in
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import read_config
from hsjax.tree.codes import hs_path

FORMULA = '=HYPERLINK("http://x","clay")'
WHO = {"reviewer": "Ann", "date": "2026-11-23", "reason": "heel"}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of titles alone."""
    folder = tmp_path_factory.mktemp("keyed")
    path = write_rows(folder / "goods.parquet", keyed_rows(120, seed=0))
    train_run(keyed_config(path, **TEXT, **{"train.steps": 20}), folder / "run")
    return folder / "run"


@pytest.fixture
def goods(tmp_path):
    """12 products, with a formula as a title and as an id, one without anything."""
    with (tmp_path / "goods.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "price"])
        for i in range(1, 13):
            title = {3: "", 5: FORMULA}.get(i, f"{['clay', 'vinyl'][i % 2]} item {i}")
            writer.writerow(["@p7" if i == 7 else f"p{i}", title, f"-{i}"])
    return tmp_path / "goods.csv"


@pytest.fixture
def reviewed(workdir, goods, tmp_path):
    predict_catalogue(workdir, goods, tmp_path / "codes.csv")
    return open_review(tmp_path / "codes.csv")


def decide(path, *rows, columns=("row", "id", "decision", "code", *WHO)):
    """A file of decisions; what a row does not say of who and when is WHO's."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({**WHO, **row} for row in rows)
    return path


def other(reviewed, row):
    """A code that is not the answer of a row."""
    codes = ("420221", "610910", "640299", "691200")
    return next(c for c in codes if c != reviewed.answers[row].pred)


# ---- cells


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@x", "\tx", "\r=1", "\n=1", "'=1", "''=1", "'", "'tis", "",
     "＝1", "boot", "a=b", " =1", "'-", "-", "'\t"],
)  # fmt: skip
def test_a_cell_is_no_formula_and_comes_back(text):
    cell = safe_cell(text)
    assert cell[:1] not in tuple("=+-@\t\r\n＝")
    assert plain_cell(cell) == text
    assert cell in (text, f"'{text}")


def test_numbers_stay_numbers():
    assert [safe_cell(x) for x in (-0.5, None, 3, True)] == [-0.5, None, 3, True]


def test_what_predict_writes_is_safe_to_open(reviewed, tmp_path):
    with (tmp_path / "codes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[6]["id"] == "'@p7"
    assert float(rows[0]["log_prob"]) < 0  # numbers are not escaped
    assert next(x for x in answer_rows(reviewed.path) if x["row"] == 7)["id"] == "@p7"


# ---- the queue


def test_the_queue_begins_with_what_is_dearest(reviewed, tmp_path):
    told = queue(reviewed, tmp_path / "queue.csv")
    assert "12 answers" in told
    with (tmp_path / "queue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    own = [f"product: {x}" for x in read_config(reviewed.workdir).data.columns.text]
    assert [*rows[0]][: len(TOLD)] == [*TOLD]
    assert [*rows[0]][len(TOLD) : len(TOLD) + len(own)] == own
    assert [*rows[0]][-len(FILLED_IN) :] == [*FILLED_IN]
    catalogue = dict(read_rows(reviewed.source, Quarantine()))
    for row in rows:
        said = as_text(catalogue[int(row["row"])].get(own[0].partition(": ")[2]))
        assert plain_cell(row[own[0]]) == said
    # nobody has answered it: that cannot be filed at all
    assert rows[0]["row"] == "3"
    assert rows[0]["unanswered"].startswith("nothing to classify")
    sure = [float(row["probability"]) for row in rows[1:]]
    assert sure == sorted(sure)
    for row in rows[1:]:
        assert float(row["expected_cost"]) == pytest.approx(
            1 - float(row["probability"])
        )
        assert row["suggestions"].startswith(row["pred"])
    queue(reviewed, tmp_path / "queue.csv", limit=3)
    assert len((tmp_path / "queue.csv").read_text().splitlines()) == 4
    with pytest.raises(CatalogueError, match="a queue is a .csv"):
        queue(reviewed, tmp_path / "queue.xlsx")


def test_a_column_of_costs_counts():
    base = {"id": "a", "pred": "01", "name": "", "reason": ""}
    base |= {"topk_codes": [], "topk_probs": []}
    costs = {1: (-0.1, 5.0), 2: (-2.0, 1.0), 3: (-1.0, 5.0), 4: (None, "")}
    answers = [
        {**base, "row": row, "log_prob": p, "expected_cost": cost}
        for row, (p, cost) in costs.items()
    ]
    answers[3]["pred"] = ""
    assert [x.row for x in ranked(answers)] == [4, 1, 3, 2]
    assert [x.row for x in ranked(answers, {4, 3})] == [1, 2]


def test_what_was_not_asked_is_not_looked_at(workdir, goods, tmp_path):
    """Of `fill_missing` the products that have a code: there is nothing to decide."""
    with goods.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with goods.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "old"])
        writer.writeheader()
        writer.writerows(
            {**row, "old": "640299" * (i % 2)} for i, row in enumerate(rows)
        )
    output = tmp_path / "codes.jsonl"
    question = Question(policy="fill_missing", current="old")
    predict_catalogue(workdir, goods, output, question)
    assert "6 answers to look at" in queue(open_review(output), tmp_path / "queue.csv")
    found = (tmp_path / "queue.csv").read_text().splitlines()[1:]
    assert {line.split(",")[1] for line in found} == {"1", "3", "5", "7", "9", "11"}


# ---- decisions


def test_a_filled_in_queue_is_the_file_of_decisions(reviewed, tmp_path):
    path = tmp_path / "queue.csv"
    queue(reviewed, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["row"] == "7":
            row |= {"decision": "Accept", **WHO, "reason": ""}
        if row["row"] == "5":
            code = other(reviewed, 5)
            row |= {"decision": "override", **WHO, "code": f"{code[:4]}.{code[4:]}"}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    assert "2 decisions added" in take_in(reviewed, path)
    entries = read_record(record_path(reviewed.path))
    found = {x["row"]: x for x in entries}
    assert found[7]["id"] == "@p7"
    assert found[7]["code"] == found[7]["pred"] == reviewed.answers[7].pred
    assert found[5]["code"] == other(reviewed, 5)
    assert found[5]["reviewer"] == "Ann"
    assert all(len(x["audit"]) == len(x["answers"]) == 64 for x in entries)
    # they need not be looked at again
    assert "2 are decided" in queue(reviewed, path)
    rows = {line.split(",")[1] for line in path.read_text().splitlines()}
    assert "4" in rows
    assert not {"5", "7"} & rows


def test_the_record_only_grows(reviewed, tmp_path):
    path, record = tmp_path / "d.csv", record_path(reviewed.path)
    decide(path, {"row": 1, "decision": "accept"}, {"row": 2, "decision": "reject"})
    take_in(reviewed, path)
    before = record.read_bytes()
    assert "2 were there already" in take_in(reviewed, path)
    assert record.read_bytes() == before
    decide(path, {"row": 1, "decision": "override", "code": other(reviewed, 1)})
    assert "1 take the place of earlier ones" in take_in(reviewed, path)
    assert record.read_bytes().startswith(before)
    last = read_record(record)[-1]
    assert (last["number"], last["supersedes"]) == (3, 1)
    # changed, taken out, torn
    lines = record.read_bytes().splitlines(keepends=True)
    for damaged, at in (
        ([lines[0].replace(b"Ann", b"Eve"), *lines[1:]], 2),
        (lines[1:], 1),
        ([lines[0], lines[2]], 2),
        ([*lines[:2], lines[2][:40]], 3),
    ):
        record.write_bytes(b"".join(damaged))
        with pytest.raises(CatalogueError, match=f"line {at}: it does not follow"):
            take_in(reviewed, path)


def test_the_last_line_is_vouched_for_too(reviewed, tmp_path):
    path, record = tmp_path / "d.csv", record_path(reviewed.path)
    decide(path, *({"row": i, "decision": "accept"} for i in (1, 2)))
    take_in(reviewed, path)
    whole, head = record.read_bytes(), head_path(record)
    lines = whole.splitlines(keepends=True)
    last = hashlib.sha256(lines[-1].strip()).hexdigest()
    added = {**json.loads(lines[-1]), "number": 3, "previous": last, "row": 4}
    for damaged in (
        lines[0] + lines[1].replace(b"Ann", b"Eve"),
        lines[0],
        b"",
        whole + json.dumps(added).encode() + b"\n",
    ):
        record.write_bytes(damaged)
        for ask in (take_in, queue):
            with pytest.raises(CatalogueError, match="record was changed after"):
                ask(reviewed, path)
    record.unlink()
    with pytest.raises(CatalogueError, match="ends with another line 2"):
        queue(reviewed, path)
    record.write_bytes(whole)
    assert "2 were there already" in take_in(reviewed, path)
    head.rename(tmp_path / "away")
    with pytest.raises(CatalogueError, match=r"decisions.jsonl.head is gone"):
        queue(reviewed, path)


@pytest.mark.parametrize("cut_off", [0, 1, 2])
def test_a_merge_that_was_cut_off_is_merged_again(
    reviewed, tmp_path, monkeypatch, cut_off
):
    path, record = tmp_path / "d.csv", record_path(reviewed.path)
    take_in(reviewed, decide(path, {"row": 1, "decision": "accept"}))
    decide(path, *({"row": i, "decision": "accept"} for i in (2, 4)))
    left = [write_atomically] * cut_off

    def killed(*given):
        if not left:
            raise KeyboardInterrupt
        left.pop()(*given)

    with monkeypatch.context() as patch:
        patch.setattr("hsjax.reviewing.record.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            take_in(reviewed, path)
    assert len(read_record(record)) == (1 if cut_off < 2 else 3)
    take_in(reviewed, path)
    assert [x["row"] for x in read_record(record)] == [1, 2, 4]


def test_two_merges_at_once_lose_nothing(reviewed, tmp_path, monkeypatch):
    def slowly(path):
        found = read_record(path)
        time.sleep(0.1)
        return found

    monkeypatch.setattr("hsjax.reviewing.record.read_record", slowly)
    rows = [1, 2, 4, 6]
    paths = [tmp_path / f"{row}.csv" for row in rows]
    for row, path in zip(rows, paths, strict=True):
        decide(path, {"row": row, "decision": "accept"})
    with ThreadPoolExecutor(len(paths)) as pool:
        told = [*pool.map(lambda path: take_in(reviewed, path), paths)]
    assert all("1 decisions added" in x for x in told)
    found = read_record(record_path(reviewed.path))
    assert sorted(x["row"] for x in found) == rows


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"row": 99, "decision": "accept"}], "row 1, column row: the answers have no"),
        ([{"row": "x", "decision": "accept"}], "column row: the answers have no row"),
        ([{"id": "p11x", "decision": "accept"}], "column id: the answers have no"),
        ([{"row": 1, "id": "p2", "decision": "accept"}], "column id: is 'p2', and row"),
        ([{"decision": "accept"}], "column row: is empty, and there is no id"),
        ([{"row": 1, "decision": "acept"}], "column decision: 'acept' is none of"),
        ([{"row": 3, "decision": "accept"}], "column decision: row 3 has no answer"),
        ([{"row": 1, "decision": "override"}], "column code: is empty: which code"),
        ([{"row": 1, "decision": "override", "code": "640298"}],
         "column code: '640298' is no node of the tree. Did you mean '640299'"),
        ([{"row": 1, "decision": "override", "code": "64029"}],
         "column code: probably a lost zero"),
        ([{"row": 1, "decision": "reject", "code": "640299"}],
         "column code: '640299': a reject names no code"),
        ([{"row": 1, "decision": "accept", "reviewer": " "}],
         "column reviewer: is empty: who decided?"),
        ([{"row": 1, "decision": "reject", "reason": ""}], "column reason: is empty"),
        ([{"row": 1, "decision": "accept", "date": "23.11.26"}],
         "column date: '23.11.26' is no date: write 2024-01-31"),
        ([{"row": 1, "decision": "accept"}, {"id": "p1", "decision": "accept"}],
         "row 2, column id: row 1 is decided in row 1 of this file, too"),
    ],
)  # fmt: skip
def test_decisions_that_cannot_be(reviewed, tmp_path, rows, told):
    path = decide(tmp_path / "d.csv", {"row": 2, "decision": ""}, *rows)
    wrong = re.sub(r"row (\d), column", lambda m: f"row {int(m[1]) + 1}, column", told)
    wrong = wrong.replace("in row 1 of", "in row 2 of")
    with pytest.raises(CatalogueError, match=re.escape(wrong)) as caught:
        take_in(reviewed, path)
    assert "d.csv, row" in str(caught.value)
    assert not record_path(reviewed.path).exists()


def test_accept_and_override_are_told_apart(reviewed, tmp_path):
    pred = reviewed.answers[1].pred
    for row, told in (
        ({"decision": "accept", "code": other(reviewed, 1)}, "write override"),
        ({"decision": "override", "code": pred}, "write accept"),
    ):
        path = decide(tmp_path / "d.csv", {"row": 1, **row})
        with pytest.raises(CatalogueError, match=f"column code: .*{told}"):
            take_in(reviewed, path)
    decide(tmp_path / "d.csv", {"row": 1, "decision": "accept", "code": pred})
    assert "1 decisions added" in take_in(reviewed, tmp_path / "d.csv")


def test_files_that_hold_no_decisions(reviewed, tmp_path):
    with pytest.raises(CatalogueError, match="there is no such file"):
        take_in(reviewed, tmp_path / "none.csv")
    path = tmp_path / "d.csv"
    path.write_text("row,decision,reviewr,date,reason\n1,accept,Ann,2026-11-23,\n")
    with pytest.raises(CatalogueError, match="'reviewer'.*Did you mean 'reviewr'"):
        take_in(reviewed, path)
    path.write_text("rown,decision,reviewer,date,reason\n")
    with pytest.raises(CatalogueError, match="no column 'row'"):
        take_in(reviewed, path)
    path.write_text("row,decision,reviewer,date,reason\n1,accept\n")
    with pytest.raises(CatalogueError, match="row 1: wrong number of columns"):
        take_in(reviewed, path)


def test_all_flaws_are_told_at_once(reviewed, tmp_path):
    rows = [{"row": i, "decision": "x"} for i in range(1, 25)]
    with pytest.raises(CatalogueError) as caught:
        take_in(reviewed, decide(tmp_path / "d.csv", *rows))
    assert str(caught.value).count("\n") == 20
    assert "and 16 more" in str(caught.value)  # of rows from 13 on two each
    row = {"row": 1, "decision": "override", "code": "640298", "reviewer": ""}
    row |= {"date": "soon", "reason": ""}
    with pytest.raises(CatalogueError) as caught:
        take_in(reviewed, decide(tmp_path / "d.csv", row))
    columns = re.findall("row 1, column (.*?):", str(caught.value))
    assert columns == ["code", "date", "reason", "reviewer"]  # of one row, too


def test_a_decision_is_of_the_answer_that_was_seen(reviewed, tmp_path):
    columns = ("row", "pred", "decision", "code", *WHO)
    pred = reviewed.answers[1].pred
    for row in ({"decision": "accept"}, {"decision": "reject"}):
        seen = {"row": 1, "pred": other(reviewed, 1), **row}
        path = decide(tmp_path / "stale.csv", seen, columns=columns)
        told = f"row 1, column pred: .* and now '{pred}': make the queue anew"
        with pytest.raises(CatalogueError, match=told):
            take_in(reviewed, path)
    assert not record_path(reviewed.path).exists()
    # as a spreadsheet writes a number
    seen = {"row": 1, "pred": pred.lstrip("0"), "decision": "accept"}
    decide(path, seen, columns=columns)
    assert "1 decisions added" in take_in(reviewed, path)
    decide(path, {"row": 2, "code": "640299"}, columns=columns)
    with pytest.raises(CatalogueError, match="column decision: is empty, and there is"):
        take_in(reviewed, path)


def test_an_id_that_stands_twice(workdir, tmp_path):
    tree = Taxonomy.load(workdir / "taxonomy.json")
    answers = {i: Answer(i, "same", "640299", "") for i in (2, 5)}
    path = decide(tmp_path / "d.csv", {"id": "same", "decision": "accept"})
    with pytest.raises(CatalogueError, match="stands in rows 2, 5: give the row"):
        read_decisions(path, answers, tree, {})
    decide(path, {"id": "same", "row": 5, "decision": "accept"})
    (found,) = read_decisions(path, answers, tree, {})
    assert found.answer.row == 5
    assert found.decision in DECISIONS


# ---- answers that are not what they were


def test_answers_that_changed_are_refused(reviewed, workdir, goods, tmp_path):
    path = reviewed.path
    text = path.read_bytes()
    path.write_bytes(text.replace(b"640299", b"691200"))
    with pytest.raises(CatalogueError, match="was changed since"):
        open_review(path)
    path.write_bytes(text)
    goods.write_text(goods.read_text() + "p13,late,-1\n")
    with pytest.raises(CatalogueError, match="has changed since it was answered"):
        open_review(path)
    (tmp_path / "codes.csv.audit.json").unlink()
    with pytest.raises(CatalogueError, match="name it with --run"):
        open_review(path)
    assert open_review(path, workdir=workdir).answers == reviewed.answers
    for name, told in (("none.csv", "no such file"), ("x.txt", "in a file of")):
        with pytest.raises(CatalogueError, match=told):
            open_review(tmp_path / name, workdir=workdir)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CatalogueError, match="no column 'row'"):
        open_review(tmp_path / "odd.csv", workdir=workdir)


def test_decisions_go_with_the_product_and_not_with_its_row(
    reviewed, workdir, goods, tmp_path
):
    decide(tmp_path / "d.csv", {"row": 1, "decision": "accept"})
    take_in(reviewed, tmp_path / "d.csv")
    head, *rows = goods.read_text().splitlines(keepends=True)
    goods.write_text("".join([head, "new,vinyl trend,-1\n", *rows]))
    predict_catalogue(workdir, goods, reviewed.path)
    again = open_review(reviewed.path)
    # row 1 is another product by now
    assert "13 answers" in queue(again, tmp_path / "queue.csv")
    left = "1 decisions are left out: their rows hold another product by now"
    with pytest.raises(CatalogueError, match=f"nothing was accepted.*; {left}"):
        export(again, tmp_path / "labelled.csv")


def test_decisions_in_codes_of_another_tree_are_left_out(
    reviewed, workdir, goods, tmp_path
):
    """The same product has another code in another edition, or none."""
    rows = [{"row": i, "decision": "accept"} for i in (1, 2)]
    code = other(reviewed, 4)
    rows += [{"row": 4, "decision": "override", "code": code}]
    path = decide(tmp_path / "d.csv", *rows)
    take_in(reviewed, path)
    edition = keyed_rows(60, seed=0)
    for row in edition:
        row["hs_code"] = row["hs_code"][:4] + "77"
    source = write_rows(tmp_path / "edition.parquet", edition)
    changes = {**TEXT, "train.steps": 2, "train.eval_every": 2}
    train_run(keyed_config(source, **changes), tmp_path / "run")
    predict_catalogue(tmp_path / "run", goods, reviewed.path)
    again, left = open_review(reviewed.path), "are decided in codes of another tree"
    assert f"3 {left}" in queue(again, tmp_path / "queue.csv")
    assert len((tmp_path / "queue.csv").read_text().splitlines()) == 13
    with pytest.raises(CatalogueError, match=f"nothing was accepted.*; 3 {left}"):
        export(again, tmp_path / "labelled.csv")
    with pytest.raises(CatalogueError, match="column code: .* is no node of the tree"):
        take_in(again, path)
    decide(path, *rows[:2])  # these words hold for the new codes, too
    assert "2 decisions added" in take_in(again, path)
    assert f"2 labelled rows; 1 {left}" in export(again, tmp_path / "labelled.csv")
    with (tmp_path / "labelled.csv").open() as file:
        assert {x["hs_code"][4:] for x in csv.DictReader(file)} == {"77"}
    # the first run again, and its decisions; the other one knows other codes
    predict_catalogue(workdir, goods, reviewed.path)
    assert "3 labelled rows" in export(open_review(reviewed.path), tmp_path / "l.csv")
    moved = open_review(reviewed.path, workdir=tmp_path / "run")
    with pytest.raises(CatalogueError, match="has another tree than"):
        export(moved, tmp_path / "labelled.csv")
    config = read_config(tmp_path / "run")
    with pytest.raises(CatalogueError, match=f"the run's tree has no '{code}'"):
        labelled_rows(config, again.tree(), goods, {4: code})


def test_nothing_is_written_over_what_is_read(reviewed, goods, tmp_path):
    take_in(reviewed, decide(tmp_path / "d.csv", {"row": 1, "decision": "accept"}))
    (tmp_path / "link.csv").symlink_to(goods)
    before = goods.read_bytes(), reviewed.path.read_bytes()
    for write, flag in ((queue, "--output"), (export, "--labelled")):
        for path, what in (
            (goods, "--input"),
            (tmp_path / "link.csv", "--input"),
            (tmp_path / "more" / ".." / "codes.csv", "--answers"),
        ):
            (tmp_path / "more").mkdir(exist_ok=True)
            told = f"{flag}=.* would be written over or into {what}="
            with pytest.raises(CatalogueError, match=told):
                write(reviewed, path)
    assert (goods.read_bytes(), reviewed.path.read_bytes()) == before


# ---- labels for the next run


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_decided_answers_are_labelled_rows(reviewed, workdir, tmp_path, suffix):
    path, code = tmp_path / f"labelled{suffix}", other(reviewed, 5)
    rows = [{"row": 5, "decision": "override", "code": code}]
    rows += [{"row": 2, "decision": "accept"}, {"row": 4, "decision": "reject"}]
    take_in(reviewed, decide(tmp_path / "d.csv", *rows))
    assert "2 labelled rows" in export(reviewed, path)
    config = read_config(workdir).copy_and_resolve_references().unlock()
    config.data.path, config.data.columns.image = str(path), ""
    config.data.columns.group = ""
    records = load_records(config.data, quarantine=Quarantine(), pictures=False)
    pred = reviewed.answers[2].pred
    assert [x.id for x in records] == ["p2", "p5"]
    assert [x.path[-1] for x in records] == [pred, code]
    if suffix == ".parquet":
        assert records[1].texts["title"] == FORMULA
        assert pq.read_table(path)["price"].to_pylist() == ["-2", "-5"]
    else:
        assert records[1].texts["title"] == f"'{FORMULA}"  # safe to open
        assert path.read_text().startswith("id,title,price,hs_code\n")
    with pytest.raises(CatalogueError, match="one of .csv, .parquet"):
        export(reviewed, tmp_path / "labelled.txt")


def test_pictures_and_other_labels_travel(tmp_path):
    """Levels, paths and a label map are written as training reads them."""
    separator = " > "
    paths = [("Shoes", "Shoes > Boots"), ("Shoes", "Shoes > Heels"), ("Bags",)]
    tree = Taxonomy.from_paths(paths, separator=separator)
    rows = keyed_rows(3, seed=0)
    source = write_rows(tmp_path / "goods.parquet", rows)
    codes = {1: "Shoes > Heels", 3: "Bags"}
    mapped = tmp_path / "map.csv"
    mapped.write_text("native,label\nstiletto,Shoes > Heels\nbag,Bags\n")
    for kind, columns, told, extra in (
        ("levels", ("l1", "l2"), [("Shoes", "Heels"), ("Bags", "")], {}),
        ("path", ("where",), [("Shoes > Heels",), ("Bags",)], {}),
        ("node", ("node",), [("Heels",), ("Bags",)], {}),
        ("path", ("own",), [("stiletto",), ("bag",)], {"data.label_map": str(mapped)}),
    ):
        changes = {"data.columns.label_kind": kind, "data.columns.label": columns}
        changes |= {"data.columns.separator": separator, "data.path": str(source)}
        config = run_config({**changes, **extra})
        names, found = labelled_rows(config, tree, source, codes)
        assert [tuple(x[c] for c in columns) for x in found] == told
        write_labelled(tmp_path / "out.parquet", names, found, source=source)
        table = pq.read_table(tmp_path / "out.parquet")
        assert table["image"].to_pylist() == [rows[0]["image"], rows[2]["image"]]
        assert table.schema.field("corner").type == "int64"
        write_labelled(tmp_path / "out.csv", names, found, source=source)
        with (tmp_path / "out.csv").open(newline="") as file:
            first = next(csv.DictReader(file))
        assert first["image"].startswith("data:;base64,iVBOR")
    with pytest.raises(CatalogueError, match="has no row 9"):
        labelled_rows(config, tree, source, {9: "Bags"})
    mapped.write_text("native,label\nbag,Bags\n")
    with pytest.raises(CatalogueError, match="leads to 'Shoes > Heels'"):
        labelled_rows(config, tree, source, codes)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_pictures_of_a_prepared_catalogue_travel(tmp_path, suffix):
    """The export is read back with the very pictures, and what had none has none."""
    rows = keyed_rows(5, seed=0)
    rows[2]["image"], rows[3]["image"] = b"torn", None
    source = write_rows(tmp_path / "goods.parquet", rows)
    config = keyed_config(source, task="prepare")
    train_run(config, tmp_path / "prepared")
    tree = Taxonomy.from_paths([hs_path(row["hs_code"]) for row in rows])
    codes = {i: rows[0]["hs_code"] for i in (1, 3, 4, 5)}
    names, found = labelled_rows(config, tree, tmp_path / "prepared", codes)
    path = tmp_path / f"out{suffix}"
    write_labelled(path, names, found, source=tmp_path / "prepared")
    again = keyed_config(path, **{"data.image.cache": False})
    records = load_records(again.data, quarantine=Quarantine(), pictures=True)
    assert [x.id for x in records] == [rows[i - 1]["id"] for i in codes]
    assert [x.image for x in records] == [
        rows[0]["image"],
        None,
        None,
        rows[4]["image"],
    ]
    assert {x.path[-1] for x in records} == {rows[0]["hs_code"]}
    assert [x.texts["title"] for x in records] == [rows[i - 1]["title"] for i in codes]


def test_every_kind_of_answers_is_read_alike(workdir, goods, tmp_path):
    found = {}
    for suffix in (".parquet", ".csv", ".jsonl"):
        path = tmp_path / f"codes{suffix}"
        predict_catalogue(workdir, goods, path)
        found[suffix] = ranked(answer_rows(path))
    for own in found.values():
        assert [x.row for x in own] == [x.row for x in found[".parquet"]]
        assert [x.suggestions for x in own] == [
            x.suggestions for x in found[".parquet"]
        ]
        np.testing.assert_allclose(
            [x.cost for x in own], [x.cost for x in found[".parquet"]], atol=1e-5
        )


def test_a_line_of_the_record_is_json(reviewed, tmp_path):
    decide(tmp_path / "d.csv", {"row": 6, "decision": "reject", "reason": "Läufer\n🙂"})
    take_in(reviewed, tmp_path / "d.csv")
    text = Path(record_path(reviewed.path)).read_text(encoding="utf-8")
    (entry,) = map(json.loads, text.splitlines())
    assert entry["reason"] == "Läufer\n🙂"
    assert entry["code"] == ""
