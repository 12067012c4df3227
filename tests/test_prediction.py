"""A catalogue gets its codes once each, however often it is cut off or changes."""

import csv
import hashlib
import json
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import TEXT, command, run_config, train_run

import hsjax
from hsjax.data.quarantine import CatalogueError
from hsjax.prediction import catalogue
from hsjax.prediction.catalogue import predict_catalogue
from hsjax.prediction.known import Known
from hsjax.prediction.question import Question
from hsjax.train.environment import environment

PART = 16  # rows of a part here


def trained(shop, workdir, changes):
    """Of a run of a few steps."""
    common = {
        "data.path": str(shop),
        "data.rows": 150,
        "data.columns.id": "id",
        "data.columns.label": ("hs_code",),
        "data.text.length": 32,  # texts are answered at 12 tokens and at 32
        "eval.batch_size": 8,
        "train.steps": 4,
    }
    train_run(run_config({**changes, **common}), workdir)
    return workdir


@pytest.fixture(scope="module")
def workdir(shop, tmp_path_factory):
    """Of titles."""
    return trained(shop, tmp_path_factory.mktemp("run"), TEXT)


@pytest.fixture(scope="module")
def seeing(shop, tmp_path_factory):
    """Of titles and pictures."""
    changes = {
        "optim.schedule": "constant",
        "model.modalities": ("title", "image"),
        "data.columns.image": "image",
    }
    return trained(shop, tmp_path_factory.mktemp("seeing"), changes)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(catalogue, "ROWS", PART)


@pytest.fixture
def goods(tmp_path):
    """70 products, of which rows 40 and 41 cannot be read and row 3 says nothing."""
    with (tmp_path / "goods.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "title"])
        for i in range(1, 71):
            more = " of brown leather" * (6 if i % 7 == 4 else 0)
            title = "" if i == 3 else f"leather boot no {i}{more}"
            lines.writerow(["torn"] if i in (40, 41) else [f"p{i}", title])
    return tmp_path / "goods.csv"


def answers_of(workdir, source, output, question=None):
    done = predict_catalogue(workdir, source, output, question)
    return done, pq.read_table(output)


def replaced(source, old, new):
    source.write_text(source.read_text().replace(old, new))


def asked(monkeypatch):
    """Ids of all products that the model is asked for, from now on."""
    found, predict = [], hsjax.inference.predict.Run.predict

    def told(run, records, **options):
        found.extend(record.id for record in records)
        return predict(run, records, **options)

    monkeypatch.setattr("hsjax.inference.predict.Run.predict", told)
    return found


def test_every_row_is_answered_or_told(workdir, goods, tmp_path):
    done, table = answers_of(workdir, goods, tmp_path / "codes.parquet")
    rows = [i for i in range(1, 71) if i not in (40, 41)]
    assert table["row"].to_pylist() == rows
    assert done.rows == done.answered == 68
    with (tmp_path / "codes.parquet.quarantine.csv").open(newline="") as file:
        notes = list(csv.DictReader(file))
    dropped = [int(n["row"]) for n in notes if n["action"] == "dropped"]
    assert sorted(rows + dropped) == list(range(1, 71))
    # as the run itself answers them
    run = hsjax.load(workdir)
    records = run.records(goods)
    expected = run.predict(records)
    seen = table.filter(pa.array([row != 3 for row in rows]))
    here = np.array([record.row != 3 for record in records])
    for k in range(run.tree.num_levels):
        codes = expected.decoded["path"][here, k].tolist()
        assert seen[f"pred_level{k + 1}"].to_pylist() == codes
        names = dict(
            zip(run.tree.codes[k].tolist(), run.tree.names[k].tolist(), strict=True)
        )
        assert seen[f"name_level{k + 1}"].to_pylist() == [names[c] for c in codes]
        prob = seen[f"prob_level{k + 1}"].to_numpy()
        np.testing.assert_allclose(prob, expected.prob[here, k], rtol=1e-5)
    told = json.loads((tmp_path / "codes.parquet.audit.json").read_text())
    assert told["batch"]["lengths"] == [12, 32]  # titles are of both
    # nothing to go by: no code, and why
    (empty,) = [row for row in table.to_pylist() if row["row"] == 3]
    assert (empty["pred"], empty["topk_codes"]) == ("", [])
    assert empty["reason"].startswith("nothing to classify")
    assert set(seen["reason"].to_pylist()) == {""}


def test_what_all_answers_show_together_is_told(workdir, goods, tmp_path):
    """p9 stands in rows of three parts; what is blank is no probability of 0."""
    for row in (33, 60):
        replaced(goods, f"\np{row},", "\np9,")
    done, table = answers_of(workdir, goods, tmp_path / "codes.parquet")
    with (tmp_path / "codes.parquet.quarantine.csv").open(newline="") as file:
        notes = list(csv.DictReader(file))
    assert [int(note["row"]) for note in notes] == sorted(int(n["row"]) for n in notes)
    told = {n["row"]: n["reason"] for n in notes if n["reason"].startswith("repeated")}
    assert told == {row: "repeated id: row 9 has it, too" for row in ("33", "60")}
    assert done.flaws == len(notes)
    told = done.told(tmp_path / "codes.parquet").splitlines()[1]
    assert told.startswith("1 without an answer: nothing to classify: neither")
    assert told.endswith("(1 of this kind)")
    (empty,) = [row for row in table.to_pylist() if row["row"] == 3]
    assert (empty["prob_level1"], empty["has_title"]) == (None, False)
    again, _ = answers_of(workdir, goods, tmp_path / "codes.parquet")
    assert (again.unanswered, again.flaws) == (done.unanswered, done.flaws)
    # a model that was not asked has not looked
    q = Question(policy="fill_missing", current="id")
    done, table = answers_of(workdir, goods, tmp_path / "filed.parquet", q)
    assert table["has_title"].null_count == table["prob_level1"].null_count == done.rows
    assert "68 without an answer: it has a code" in done.unanswered
    # ids are no codes of the tree: each is told of, and stands
    with (tmp_path / "filed.parquet.quarantine.csv").open(newline="") as file:
        notes = [n for n in csv.DictReader(file) if n["column"] == "id"]
    strange = "unknown current code: "
    assert sum(n["reason"].startswith(strange) for n in notes) == done.rows
    assert table["code"].to_pylist() == table["id"].to_pylist()


def test_other_kinds_of_files_say_the_same(workdir, goods, tmp_path):
    _, table = answers_of(workdir, goods, tmp_path / "codes.parquet")
    predict_catalogue(workdir, goods, tmp_path / "codes.csv")
    predict_catalogue(workdir, goods, tmp_path / "codes.jsonl")
    with (tmp_path / "codes.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    lines = [json.loads(x) for x in (tmp_path / "codes.jsonl").read_text().splitlines()]
    assert [row["pred"] for row in written] == table["pred"].to_pylist()
    assert [row["pred"] for row in lines] == table["pred"].to_pylist()
    codes = table["topk_codes"].to_pylist()
    assert [json.loads(row["topk_codes"]) for row in written] == codes
    assert [row["topk_codes"] for row in lines] == codes
    assert lines[2]["log_prob"] is None
    assert written[2]["log_prob"] == ""


def test_what_was_cut_off_goes_on(workdir, goods, tmp_path, monkeypatch):
    _, whole = answers_of(workdir, goods, tmp_path / "whole.parquet")
    write, told = catalogue.Parts.write, asked(monkeypatch)

    def cut_off(parts, number, *rest):
        if number == 2:
            raise KeyboardInterrupt
        write(parts, number, *rest)

    output = tmp_path / "codes.parquet"
    monkeypatch.setattr(catalogue.Parts, "write", cut_off)
    with pytest.raises(KeyboardInterrupt):
        predict_catalogue(workdir, goods, output)
    assert not output.exists()
    monkeypatch.setattr(catalogue.Parts, "write", write)
    told.clear()
    done, table = answers_of(workdir, goods, output)
    assert table.equals(whole)
    assert told == [f"p{i}" for i in range(33, 71) if i not in (40, 41)]
    assert done.answered == len(told)
    # once more: nothing is left to do
    told.clear()
    assert predict_catalogue(workdir, goods, output).answered == 0
    assert told == []


def test_only_what_is_new_is_asked(workdir, goods, tmp_path, monkeypatch):
    output, told = tmp_path / "codes.parquet", asked(monkeypatch)
    _, before = answers_of(workdir, goods, output)
    told.clear()
    # one is changed, one is new, one is renamed alone, and all rows move by one
    replaced(goods, "boot no 20\n", "boot no 20 red\n")
    replaced(goods, "p50,", "other,")
    replaced(goods, "id,title\n", "id,title\nfirst,clay brick\n")
    replaced(goods, "boot no 20\r\n", "boot no 20 red\r\n")
    replaced(goods, "id,title\r\n", "id,title\r\nfirst,clay brick\r\n")
    done, after = answers_of(workdir, goods, output)
    assert told == ["first", "p20"]
    assert (done.answered, done.known) == (2, 67)
    old = {row["id"]: row for row in before.to_pylist()}
    assert after["row"].to_pylist() == [i for i in range(1, 72) if i not in (41, 42)]
    for row in after.to_pylist():
        known = old.get({"other": "p50"}.get(row["id"], row["id"]))
        if row["id"] not in told:
            same = {k: x for k, x in known.items() if k not in ("row", "id")}
            found = {k: row[k] for k in same}
            assert repr(found) == repr(same)  # nan is like nan
    assert len([*(tmp_path / "codes.parquet.parts").iterdir()]) == 1
    # another question is another answer
    told.clear()
    _, sure = answers_of(workdir, goods, output, Question(confidence=0.01))
    assert len(told) == 69
    assert "pred_confident" in sure.column_names


def test_an_output_that_was_not_written_to_its_end_is_written(
    workdir, goods, tmp_path, monkeypatch
):
    """Killed between the last part and the output: the old one is not the new one."""
    output, whole = tmp_path / "codes.csv", catalogue.assemble
    predict_catalogue(workdir, goods, output)
    with goods.open("a", newline="") as file:
        csv.writer(file).writerow(["late", "clay brick"])

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "assemble", killed)
    with pytest.raises(KeyboardInterrupt):
        predict_catalogue(workdir, goods, output)
    monkeypatch.setattr(catalogue, "assemble", whole)
    done = predict_catalogue(workdir, goods, output)
    assert done.answered == 0
    assert output.read_text().splitlines()[-1].startswith("71,late,")
    # one that was changed by somebody is written again, too
    before = output.read_text()
    output.write_text("lost")
    predict_catalogue(workdir, goods, output)
    assert output.read_text() == before


def test_a_torn_part_is_made_again(workdir, goods, tmp_path):
    output = tmp_path / "codes.parquet"
    _, whole = answers_of(workdir, goods, output)
    output.unlink()
    (part,) = (tmp_path / "codes.parquet.parts").glob("*/part-00003.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    done, table = answers_of(workdir, goods, output)
    assert done.answered == PART
    assert table.equals(whole)


def test_a_file_that_changes_meanwhile_is_refused(
    workdir, goods, tmp_path, monkeypatch
):
    write = catalogue.Parts.write

    def changing(parts, number, *rest):
        goods.write_text(goods.read_text() + "more,leather boot\n")
        write(parts, number, *rest)

    monkeypatch.setattr(catalogue.Parts, "write", changing)
    output = tmp_path / "codes.parquet"
    with pytest.raises(CatalogueError, match="changed while it was read"):
        predict_catalogue(workdir, goods, output)
    monkeypatch.setattr(catalogue.Parts, "write", write)
    _, table = answers_of(workdir, goods, output)
    assert table["id"].to_pylist()[-1] == "more"


def test_a_picture_that_comes_late_is_seen(seeing, shop, tmp_path, monkeypatch):
    rows = [row for row in pq.read_table(shop).to_pylist() if row["image"]][:20]
    (tmp_path / "pictures").mkdir()
    with (tmp_path / "goods.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "title", "image"])
        for row in rows:
            name = f"{row['id']}.png"
            lines.writerow([row["id"], row["title"], name])
            (tmp_path / "pictures" / name).write_bytes(row["image"])
    late = tmp_path / "pictures" / f"{rows[7]['id']}.png"
    late.unlink()
    asked_for = tmp_path / "goods.csv", tmp_path / "codes.parquet"
    root, told = {"image_root": tmp_path / "pictures"}, asked(monkeypatch)
    first = predict_catalogue(seeing, *asked_for, **root)
    assert (first.answered, first.flaws) == (20, 1)
    told.clear()
    late.write_bytes(rows[7]["image"])
    done = predict_catalogue(seeing, *asked_for, **root)
    assert told == [rows[7]["id"]]
    assert (done.answered, done.known, done.flaws) == (1, 19, 0)
    table = pq.read_table(asked_for[1])
    assert all(table["has_image"].to_pylist())
    run = hsjax.load(seeing)
    expected = run.predict(run.records(asked_for[0], **root))
    assert table["pred_level1"].to_pylist() == expected.decoded["path"][:, 0].tolist()
    np.testing.assert_allclose(table["log_prob"], expected.log_prob, rtol=1e-5)
    with pytest.raises(CatalogueError, match="--image_root=none: there is no such"):
        predict_catalogue(seeing, *asked_for, image_root="none")


def test_the_output_is_not_the_input(workdir, goods, tmp_path):
    before = goods.read_bytes()
    with pytest.raises(CatalogueError, match="written over or into"):
        predict_catalogue(workdir, goods, goods)
    with pytest.raises(CatalogueError, match="no folder"):
        predict_catalogue(workdir, goods, tmp_path / "none" / "codes.csv")
    assert goods.read_bytes() == before


def test_processes_share_the_parts(workdir, goods, tmp_path):
    _, whole = answers_of(workdir, goods, tmp_path / "whole.parquet")
    output = tmp_path / "codes.parquet"
    first = predict_catalogue(workdir, goods, output, Question(shard=(0, 2)))
    assert first.missing
    assert not output.exists()
    second = predict_catalogue(workdir, goods, output, Question(shard=(1, 2)))
    assert second.rows == 68
    assert first.answered + second.answered == 68
    assert pq.read_table(output).equals(whole)


def test_every_row_keeps_its_origin(workdir, goods, tmp_path, monkeypatch):
    """A run that goes on elsewhere, and answers that are taken over twice."""
    output = tmp_path / "codes.jsonl"
    audit, write = tmp_path / "codes.jsonl.audit.json", catalogue.Parts.write

    def versioned(jax):
        facts = {**environment(), "jax": jax}
        monkeypatch.setattr("hsjax.prediction.origins.environment", lambda: facts)

    def cut_off(parts, number, *rest):
        if number == 2:
            raise KeyboardInterrupt
        write(parts, number, *rest)

    def told(jax):
        versioned(jax)
        predict_catalogue(workdir, goods, output)
        found = json.loads(audit.read_text())
        made = [
            (x["environment"]["jax"], x["rows"], x["numbers"])
            for x in found.get("origins", ())
        ]
        return made, found["environment"]["jax"]

    versioned("1")
    with monkeypatch.context() as patch:
        patch.setattr(catalogue.Parts, "write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            predict_catalogue(workdir, goods, output)
    assert told("2") == ([("1", 32, "1-32"), ("2", 36, "33-70")], "2")
    audit.unlink()  # nothing is answered now
    assert told("3") == ([("1", 32, "1-32"), ("2", 36, "33-70")], "2")
    replaced(goods, "boot no 20\n", "boot no 20 red\n")
    made, _ = told("3")
    assert made == [("1", 31, "1-19, 21-32"), ("3", 1, "20"), ("2", 36, "33-70")]
    replaced(goods, "boot no 70\n", "boot no 70 red\n")
    made, _ = told("4")
    assert [x[:2] for x in made] == [("1", 31), ("3", 1), ("2", 35), ("4", 1)]
    shutil.rmtree(tmp_path / "codes.jsonl.parts")
    audit.unlink()
    assert told("5") == ([], "5")


def test_embeddings_are_unit_vectors(workdir, goods, tmp_path):
    question = Question(embeddings=True)
    _, table = answers_of(workdir, goods, tmp_path / "codes.parquet", question)
    vectors = np.array(table["embedding_text"].to_pylist())
    lengths = np.linalg.norm(vectors, axis=1)
    said = np.array(table["has_title"].to_pylist())
    np.testing.assert_allclose(lengths[said], 1, rtol=1e-5)
    assert (lengths[~said] == 0).all()


def test_known_answers_are_found_by_all_of_a_hash(tmp_path):
    keys = [hashlib.sha1(bytes([i])).hexdigest() for i in range(4)]
    table = pa.table({"content": keys[:3], "row": [1, 2, 3]})
    pq.write_table(table, tmp_path / "part-00000.parquet")
    found, held = Known([tmp_path]).find(np.array([keys[2], keys[3], keys[0]], object))
    assert found.tolist() == [True, False, True]
    assert held["row"].to_pylist() == [3, 1]
    # the first 8 bytes agree, the rest does not
    other = keys[1][:16] + "f" * 24
    found, held = Known([tmp_path]).find(np.array([other, keys[1]], object))
    assert found.tolist() == [False, True]
    assert held["row"].to_pylist() == [2]


def test_mistakes_are_told(workdir, goods, tmp_path):
    with pytest.raises(CatalogueError, match="suffix has to be one of .parquet, .csv"):
        predict_catalogue(workdir, goods, tmp_path / "codes.xlsx")
    with pytest.raises(CatalogueError, match="no such file"):
        predict_catalogue(workdir, tmp_path / "no.csv", tmp_path / "codes.csv")
    (tmp_path / "other.csv").write_text("name,titel\n1,boot\n")
    with pytest.raises(CatalogueError, match="no column 'title'"):
        predict_catalogue(workdir, tmp_path / "other.csv", tmp_path / "codes.csv")
    (tmp_path / "none.csv").write_text("id,title\n")
    with pytest.raises(CatalogueError, match="no usable row"):
        predict_catalogue(workdir, tmp_path / "none.csv", tmp_path / "codes.csv")


@pytest.mark.slow
def test_the_command_survives_a_kill(workdir, goods, tmp_path):
    """SIGKILL at any moment: every row stands once in the output."""
    with goods.open("a", newline="") as file:
        csv.writer(file).writerows(
            [f"q{i}", f"woven basket no {i}"] for i in range(20_000)
        )
    output = tmp_path / "codes.parquet"
    given = [f"--run={workdir}", f"--input={goods}", f"--output={output}"]
    parts, killed = tmp_path / "codes.parquet.parts", 0
    for wait in (1, 2, 3):
        process = command(*given, module="hsjax.predict")
        while process.poll() is None and len([*parts.glob("*/*.parquet")]) < wait:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        killed += process.poll() is None
        process.kill()
        process.communicate()
        assert not output.exists()
    assert killed == 3
    process = command(*given, module="hsjax.predict")
    process.communicate()
    assert process.returncode == 0
    rows = pq.read_table(output)["row"].to_pylist()
    assert rows == [i for i in range(1, 20_071) if i not in (40, 41)]
