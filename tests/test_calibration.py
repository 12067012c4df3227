"""A run is calibrated, and answers by that: kept, bound to its model, asked more."""

import contextlib
import csv
import io
import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, command, report, run_config, train_run

import hsjax
from hsjax.data.content import content_hashes
from hsjax.data.groups import group_keys
from hsjax.data.quarantine import CatalogueError
from hsjax.data.synthetic import write_catalogue
from hsjax.evaluation.calibration import calibrated
from hsjax.evaluation.judged import drawn
from hsjax.evaluation.metrics import labelled, readable
from hsjax.evaluation.predictions import deepest, read_predictions
from hsjax.hierarchy import leaf_log_probs, leaf_paths, node_log_probs
from hsjax.inference.calibration import FILE
from hsjax.prediction.catalogue import predict_catalogue
from hsjax.prediction.question import Question
from hsjax.temperature import tempered
from hsjax.train.kept import read_train_rows
from hsjax.trained.calibrating import calibrate_run
from hsjax.trained.scoring import evaluate_run


def trained(shop, workdir, **changes):
    """Of a few steps, on titles."""
    common = {
        "data.path": str(shop),
        "data.rows": 230,
        "data.columns.id": "id",
        "data.columns.label": ("hs_code",),
        "eval.batch_size": 32,
        "train.steps": 40,
        "optim.learning_rate": 1e-2,
    }
    train_run(run_config({**TEXT, **common, **changes}), workdir)
    return workdir


def calibrate(workdir, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        return calibrate_run(workdir, features={}, **options)


@pytest.fixture(scope="module")
def plain(shop, tmp_path_factory):
    """A run as it is trained."""
    return trained(shop, tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def workdir(plain, tmp_path_factory):
    """The same run, calibrated."""
    copied = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(plain, copied)
    calibrate(copied)
    return copied


@pytest.fixture(scope="module")
def other_shop(tmp_path_factory):
    """Products of the same kinds that the runs have not seen, but for a few."""
    path = tmp_path_factory.mktemp("other_shop") / "other.parquet"
    more = {"data.synthetic.seed": 1, "data.synthetic.products": 500}
    write_catalogue(path, run_config(more).data)
    return path


@pytest.fixture
def goods(shop, tmp_path):
    """50 products of the shop, with what is known of the code of some."""
    rows = pq.read_table(shop, columns=["id", "title", "hs_code"]).to_pylist()[:50]
    path = tmp_path / "goods.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "title", "known", "code"])
        for i, row in enumerate(rows):
            known = ("", row["hs_code"][:2], row["hs_code"][:4], "9999")[i % 4]
            code = ("", row["hs_code"], "999999")[i % 3]
            lines.writerow([row["id"], row["title"] or "", known, code])
    return path


def answered(workdir, source, output, question=None, **options):
    done = predict_catalogue(workdir, source, output, question, **options)
    return done, pq.read_table(output).to_pylist()


def test_it_is_kept_with_a_report_of_other_rows(workdir):
    kept = json.loads((workdir / FILE).read_text())
    run = hsjax.load(workdir)
    assert kept["temperature"] == list(run.calibration.temperature)
    assert len(kept["temperature"]) == run.tree.num_levels
    assert kept["step"] == run.step
    folder = workdir / "calibration"
    text = (folder / "report.md").read_text()
    assert "part val" in text
    assert "Held back: shop.parquet, part test" in text
    for name in (
        "fitted_before",
        "fitted_after",
        "held_back_before",
        "held_back_after",
    ):
        assert (folder / f"reliability_{name}.png").is_file()
    assert (folder / "risk_coverage.png").is_file()
    with (folder / "risk_coverage.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["calibrated"] for line in lines} == {"before", "after"}
    assert all(0 <= float(line["risk"]) <= 1 for line in lines)


def test_answers_are_those_of_the_tempered_logits(workdir, shop):
    """Told from the model's own logits; every decode and the best paths go along."""
    run, raw = (
        hsjax.load(workdir, calibration="own"),
        hsjax.load(workdir, calibration="none"),
    )
    assert raw.calibration is None
    records = run.records(shop)[:32]
    (batch,) = run.feed(records, groups=np.arange(32))
    logits = jax.jit(run.model.apply)(run.params, run.stats, batch)[0].logits
    t = jnp.array(run.calibration.temperature, jnp.float32)
    leaves = np.exp(leaf_log_probs(tempered(logits, run.tree, t), run.tree))
    p, before = run.predict(records), raw.predict(records)
    ends = [run.tree.decode(path)[-1] for path in leaf_paths(run.tree)]
    order = np.argsort(-leaves, axis=1, kind="stable")[:, : p.topk_codes.shape[1]]
    assert p.topk_codes.tolist() == np.array(ends, object)[order].tolist()
    best = np.take_along_axis(leaves, order, axis=1)
    np.testing.assert_allclose(p.topk_probs, best, rtol=1e-4)
    nodes = node_log_probs(tempered(logits, run.tree, t), run.tree)
    for level, x in enumerate(nodes):
        place = {code: i for i, code in enumerate(run.tree.codes[level].tolist())}
        for row, code in enumerate(p.decoded["path"][:, level]):
            slot = run.tree.layout[level].slots[place[code]]
            assert p.prob[row, level] == pytest.approx(np.exp(x[row, slot]), rel=1e-4)
    assert not np.allclose(p.prob, before.prob)


def test_it_states_probabilities_nearer_to_the_truth(workdir, shop):
    """Of the rows that it was fitted on, whose likelihood it cannot make worse."""
    kept = json.loads((workdir / FILE).read_text())
    assert any(t != 1 for t in kept["temperature"])
    lines = (workdir / "calibration/report.md").read_text().splitlines()
    fitted = lines[lines.index(next(x for x in lines if x.startswith("## Fitted"))) :]
    for line in (x for x in fitted[4:7]):
        cells = [x.strip() for x in line.strip("|").split("|")]
        assert float(cells[5]) <= float(cells[4]) + 1e-4


def test_isotonic_maps_fall_down_the_path(plain, tmp_path, shop, other_shop):
    wish = {"source": str(other_shop), "kind": "isotonic"}
    known = calibrate(plain, output=tmp_path / "maps", **wish)
    assert known.maps[0]["kind"] == "isotonic"
    assert not (plain / FILE).exists()
    path = tmp_path / "maps" / FILE
    run = hsjax.load(plain, calibration=path)
    soft = run._replace(calibration=run.calibration._replace(maps=()))
    records = run.records(shop)
    p, base = run.predict(records), soft.predict(records)
    assert (np.diff(p.prob, axis=1) <= 0).all()
    for level, of in enumerate(known.maps):
        mapped = calibrated(of, base.prob[:, level])
        above = p.prob[:, level - 1] if level else 1.0
        np.testing.assert_allclose(
            p.prob[:, level], np.minimum(mapped, above), atol=1e-6
        )
    assert p.decoded["path"].tolist() == base.decoded["path"].tolist()
    # a wish for a calibrated probability is one for what has to be stated
    sure = run.predict(records, confidence=0.6).confident
    least = run.calibration.least_stated(0.6)
    same = soft.predict(records, confidence=np.asarray(least)).confident
    assert sure.tolist() == same.tolist()


def test_it_is_refused_by_another_training(workdir, shop, tmp_path, goods):
    other = trained(shop, tmp_path / "other", **{"train.steps": 44})
    with pytest.raises(CatalogueError, match="fitted to another model .*fit it again"):
        hsjax.load(other, calibration=workdir / FILE)
    shutil.copy(workdir / FILE, other / FILE)
    with pytest.raises(CatalogueError, match="--calibration=none"):
        predict_catalogue(other, goods, tmp_path / "codes.csv")
    done = predict_catalogue(other, goods, tmp_path / "codes.csv", calibration="none")
    assert "hsjax.calibrate" in done.told(tmp_path / "codes.csv")
    old = json.loads((other / FILE).read_text()) | {"format": 1}
    (other / FILE).write_text(json.dumps(old))
    with pytest.raises(CatalogueError, match="another version .*fit it again"):
        hsjax.load(other, calibration="own")
    (other / FILE).write_text("{}")
    with pytest.raises(CatalogueError, match="no calibration to read"):
        hsjax.load(other, calibration="own")
    with pytest.raises(CatalogueError, match="no file .*hsjax.calibrate --run="):
        hsjax.load(other, calibration=tmp_path / "none.json")


def test_the_same_training_on_a_file_that_has_changed_is_another(shop, tmp_path):
    """Step and config are the same: what was learnt is not."""
    table, file = pq.read_table(shop), tmp_path / "shop.parquet"
    pq.write_table(table, file)
    few = {"train.steps": 5}
    one = trained(file, tmp_path / "one", **few)
    known = calibrate(one)
    assert hsjax.load(one, calibration="own").calibration.sets == known.sets
    pq.write_table(table.take(np.arange(5, len(table))), file)
    two = trained(file, tmp_path / "two", **few)
    shutil.copy(one / FILE, two / FILE)
    with pytest.raises(CatalogueError) as told:
        hsjax.load(two, calibration="own")
    step, config, parameters = known.step, known.config[:12], known.parameters[:12]
    fitted, now = str(told.value).split(" than ")
    assert f"(step {step}, config {config}, parameters {parameters})" in fitted
    assert f"(step {step}, config {config}, parameters " in now
    assert parameters not in now
    assert f"fit it again by python -m hsjax.calibrate --run={two}" in now


def test_predict_goes_by_it_and_knows_whose_answers_it_has(workdir, goods, tmp_path):
    output = tmp_path / "codes.parquet"
    done, rows = answered(workdir, goods, output)
    assert done.note == ""
    run = hsjax.load(workdir, calibration="own")
    expected = run.predict(run.records(goods))
    said = {row["row"]: row["prob_level1"] for row in rows if not row["reason"]}
    for row, prob in zip(expected.row.tolist(), expected.prob[:, 0], strict=True):
        if row in said:
            assert said[row] == pytest.approx(prob, rel=1e-4)
    done, raw = answered(workdir, goods, output, calibration="none")
    assert done.answered == 50, "other answers: no part is taken over"
    assert "as the model states them" in done.note
    assert [x["prob_level1"] for x in raw] != [x["prob_level1"] for x in rows]


def test_evaluate_is_what_it_was_unless_it_is_asked(workdir, tmp_path):
    options = {"source": None, "part": "test", "corrupt": "", "seed": 0}
    found = {}
    for word in ("none", "own"):
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate_run(workdir, tmp_path / word, calibration=word, **options)
        found[word] = report(tmp_path / word)
    one, two = (read_predictions(tmp_path / x / "predictions.parquet") for x in found)
    own = read_predictions(workdir / "predictions.parquet")
    np.testing.assert_array_equal(one.prob, own.prob)
    assert not np.allclose(one.prob, two.prob)
    told = "Calibrated (temperature) on"
    assert told not in (tmp_path / "none/report.md").read_text()
    assert told in (tmp_path / "own/report.md").read_text()


def test_a_new_shop_is_calibrated_on_some_of_its_rows(plain, other_shop, tmp_path):
    known = calibrate(plain, source=str(other_shop), count=60, output=tmp_path / "shop")
    assert 40 <= known.rows <= 60
    text = (tmp_path / "shop" / "report.md").read_text()
    assert "the other rows of" in text
    with pytest.raises(CatalogueError, match="--rows=9,999"):
        calibrate(plain, source=str(other_shop), count=9999, output=tmp_path / "much")


def test_rows_that_the_run_was_trained_on_are_left_out(plain, shop, tmp_path):
    known = calibrate(plain, source=str(shop), output=tmp_path / "all")
    run = hsjax.load(plain)
    records = run.records(shop)
    own = np.isin(content_hashes(records), read_train_rows(plain))
    groups = group_keys(records)
    new = ~np.isin(groups, groups[own])
    assert 0 < known.rows <= new.sum() < len(records) / 2
    told = f"without {(~new).sum()} rows of groups that the run was trained on"
    assert told in known.fitted
    assert json.loads((tmp_path / "all" / FILE).read_text())["fitted"] == known.fitted
    assert told in (tmp_path / "all" / "report.md").read_text()
    table, seen = pq.read_table(shop), [r.row - 1 for r in np.array(records)[own]]
    pq.write_table(table.take(seen), tmp_path / "seen.parquet")
    with pytest.raises(CatalogueError, match="name a file with others"):
        calibrate(plain, source=str(tmp_path / "seen.parquet"), output=tmp_path / "x")


def test_rows_that_get_no_answer_take_no_part(plain, other_shop, tmp_path):
    """All is as if the file did not have them."""
    table, run = pq.read_table(other_shop), hsjax.load(plain)
    p = run.predict(run.records(other_shop))
    blank = ~p.present["title"]
    assert 5 < blank.sum() < len(p) / 4
    pq.write_table(table.take(p.row[~blank] - 1), tmp_path / "told.parquet")
    files = {"all": str(other_shop), "told": str(tmp_path / "told.parquet")}
    found = {
        k: calibrate(plain, source=x, output=tmp_path / k) for k, x in files.items()
    }
    one, other = found["all"], found["told"]
    assert one.rows == other.rows
    np.testing.assert_allclose(one.temperature, other.temperature, rtol=1e-4)
    assert one.sets == pytest.approx(other.sets, rel=1e-3)
    assert one.certainty.rows == other.certainty.rows
    for count in ("decided", "judged", "right"):
        counts = (getattr(x.certainty, count)[-1] for x in (one, other))
        assert len({*counts}) == 1
    told = " of which the model reads nothing"
    assert told in one.fitted
    assert told not in other.fitted
    assert told in (tmp_path / "all" / "report.md").read_text()


def test_predict_decides_the_products_that_were_counted(plain, other_shop, tmp_path):
    """At any threshold that was tried: one program counts, and another answers."""
    known = calibrate(plain, source=str(other_shop), output=tmp_path / "shop")
    run = hsjax.load(plain, calibration=tmp_path / "shop" / FILE)
    records = run.records(other_shop)
    groups = group_keys(records)
    own = np.isin(content_hashes(records), read_train_rows(plain))
    fitted = ~np.isin(groups, groups[own])
    counts = known.certainty
    for i in np.linspace(0, len(counts.threshold) - 1, 9).astype(int):
        least = np.full(3, counts.threshold[i])
        p = run.predict(records, groups=groups, confidence=least)
        p = drawn(
            p.select(np.flatnonzero(fitted & readable(p) & (p.truth[:, 0] != "")))
        )
        assert (p.confident != "").sum() == counts.decided[i]


def test_flat_heads_and_ragged_trees_are_calibrated(shop, tmp_path):
    changes = {
        "model.head.kind": "flat",
        "model.head.feed": "none",
        "model.head.level_width": 0,
    }
    flat = trained(shop, tmp_path / "flat", **changes)
    known = calibrate(flat)
    assert len(known.temperature) == 1
    run, raw = hsjax.load(flat, calibration="own"), hsjax.load(flat, calibration="none")
    records = run.records(shop)
    odds = [
        np.log(r.predict(records).topk_probs[:, 0])
        - np.log(r.predict(records).topk_probs[:, 1])
        for r in (raw, run)
    ]
    # of two leaves the log-odds are divided by the temperature, wherever they lie
    np.testing.assert_allclose(odds[0] / known.temperature[0], odds[1], atol=1e-3)


def test_only_codes_below_what_is_known(workdir, goods, tmp_path):
    question = Question(prefix="known")
    _, rows = answered(workdir, goods, tmp_path / "codes.parquet", question)
    _, free = answered(workdir, goods, tmp_path / "free.parquet")
    with goods.open(newline="") as file:
        given = list(csv.DictReader(file))
    run = hsjax.load(workdir, calibration="own")
    known = {code for level in run.tree.codes for code in level.tolist()}
    for row, whole, line in zip(rows, free, given, strict=True):
        said = line["known"]
        if not line["title"]:
            continue
        if said and said not in known:
            assert (row["pred"], row["topk_codes"]) == ("", [])
            assert row["reason"] == f"prefix: {said!r} is no node of the tree"
        elif said:
            assert row["topk_codes"]
            assert all(
                code.startswith(said) for code in [row["pred"], *row["topk_codes"]]
            )
            assert row[f"prob_level{len(said) // 2}"] == pytest.approx(1, abs=1e-5)
        else:
            assert row["pred"] == whole["pred"]
            assert row["topk_probs"] == pytest.approx(whole["topk_probs"], rel=1e-5)


def test_another_prefix_of_the_same_product_is_another_answer(workdir, goods, tmp_path):
    output, question = tmp_path / "codes.parquet", Question(prefix="known")
    answered(workdir, goods, output, question)
    text = goods.read_text().splitlines()
    number = next(i for i, x in enumerate(text) if ",9999," in x)
    text[number] = text[number].replace(",9999,", ",,")
    goods.write_text("\n".join(text) + "\n")
    done, rows = answered(workdir, goods, output, question)
    assert done.answered == 1
    assert rows[number - 1]["reason"] == ""


@pytest.mark.parametrize("policy", ["suggest", "fill_missing", "replace"])
def test_policies(workdir, goods, tmp_path, policy):
    question = Question(policy=policy, current="code", confidence=0.3)
    done, rows = answered(workdir, goods, tmp_path / "codes.parquet", question)
    with goods.open(newline="") as file:
        given = list(csv.DictReader(file))
    changed = 0
    for row, line in zip(rows, given, strict=True):
        old, sure = line["code"], row["pred_confident"]
        assert row["current"] == old
        assert row["decided_level"] == len(sure) // 2
        if policy == "suggest":
            assert row["code"] == old
        elif not old:
            assert row["code"] == sure
        elif policy == "fill_missing":
            assert (row["code"], row["pred"]) == (old, "")
            assert row["reason"] == "it has a code: the model was not asked"
        else:
            same = not sure or (old != "999999" and old.startswith(sure))
            assert row["code"] == (old if same else sure)
            changed += row["code"] != old
    blank = sum(not line["code"] for line in given)
    assert done.answered == (blank if policy == "fill_missing" else len(given))
    assert (changed > 0) == (policy == "replace")


def test_precision_and_sets_are_of_the_calibration(workdir, goods, tmp_path, shop):
    run = hsjax.load(workdir, calibration="own")
    # one that promises what this small model can keep
    easy = run.calibration.certainty.least(0.2)
    question = Question(precision=0.2, coverage=0.9)
    _, rows = answered(workdir, goods, tmp_path / "codes.parquet", question)
    records = run.records(goods)
    expected = run.predict(records, confidence=np.full(3, easy)).confident
    sure = {row["row"]: row["pred_confident"] for row in rows if not row["reason"]}
    for row, code in zip([r.row for r in records], expected, strict=True):
        assert sure.get(row, code) == code
    for row in (x for x in rows if not x["reason"]):
        assert row["set_codes"][0] == row["topk_codes"][0]
        assert len(row["set_codes"]) == min(row["set_count"], 20)
        assert all(code.startswith(row["set_node"]) for code in row["set_codes"])
    with pytest.raises(
        CatalogueError, match="sets were fitted for 0.8, 0.9, 0.95, 0.99"
    ):
        answered(workdir, goods, tmp_path / "x.parquet", Question(coverage=0.5))
    with pytest.raises(CatalogueError, match="groups of rows that it was fitted on"):
        answered(workdir, goods, tmp_path / "x.parquet", Question(precision=0.9999))
    (workdir / FILE).rename(workdir / "away.json")
    try:
        with pytest.raises(CatalogueError, match="goes by a calibration"):
            answered(workdir, goods, tmp_path / "x.parquet", Question(precision=0.5))
    finally:
        (workdir / "away.json").rename(workdir / FILE)


def test_stakes_decide_what_to_do(workdir, goods, tmp_path):
    duties = tmp_path / "duties.csv"
    run = hsjax.load(workdir)
    lines = [f"{code},{i % 3},{4 + i % 5}" for i, code in enumerate(run.tree.codes[0])]
    duties.write_text("\n".join(["code,duty,penalty", *lines]) + "\n")
    question = Question(duties=duties, ask=0.5, review=1.5)
    _, rows = answered(workdir, goods, tmp_path / "codes.parquet", question)
    seen = [row for row in rows if not row["reason"]]
    assert {row["action"] for row in seen} <= {"file", "ask", "review"}
    assert all(0 <= row["expected_cost"] <= 1.5 + 1e-4 for row in seen)
    for row in seen:
        assert row["code"] == (row["file_code"] if row["action"] == "file" else "")
    dear = replace(question, ask=1e6, review=1e6)
    _, rows = answered(workdir, goods, tmp_path / "dear.parquet", dear)
    assert {row["action"] for row in rows if not row["reason"]} == {"file"}
    duties.write_text("\n".join(["code,duty,penalty", *lines[1:]]) + "\n")
    with pytest.raises(CatalogueError, match="nothing is said of .* codes"):
        answered(workdir, goods, tmp_path / "x.parquet", question)
    duties.write_text("code,duty,penalty\n64,1,x\n")
    with pytest.raises(CatalogueError, match="row 1, column penalty: 'x' is no number"):
        answered(workdir, goods, tmp_path / "x.parquet", question)


def test_answers_of_least_cost(workdir, goods, tmp_path):
    run = hsjax.load(workdir)
    ends = [run.tree.decode(path)[-1] for path in leaf_paths(run.tree)]
    wanted = ends[3]
    costs = tmp_path / "costs.csv"
    lines = [f"{code},{true},1000" for code in ends if code != wanted for true in ends]
    costs.write_text("\n".join(["predicted,true,cost", *lines]) + "\n")
    _, rows = answered(workdir, goods, tmp_path / "a.parquet", cost_matrix=costs)
    assert {row["pred"] for row in rows if not row["reason"]} == {wanted}


def test_a_missing_column_is_told(workdir, goods, tmp_path):
    for question in (
        Question(prefix="knwon"),
        Question(current="knwon", policy="suggest"),
    ):
        with pytest.raises(CatalogueError, match="no column 'knwon'.*mean 'known'"):
            predict_catalogue(workdir, goods, tmp_path / "codes.csv", question)


def test_flags_that_do_not_go_together_are_told(workdir, goods, tmp_path):
    flags = [f"--run={workdir}", f"--input={goods}", f"--output={tmp_path / 'c.csv'}"]
    more = ["--policy=replace", "--current=code"]
    process = command(*flags, *more, module="hsjax.predict")
    output, errors = process.communicate(timeout=120)
    assert process.returncode
    assert "give --precision, --min_confidence or --duties" in output + errors


@pytest.mark.slow
def test_the_command_says_what_the_function_says(workdir, goods, tmp_path):
    """With another spelling of --min_confidence."""
    output = tmp_path / "codes.csv"
    flags = [f"--run={workdir}", f"--input={goods}", f"--output={output}"]
    flags += ["--coverage=0.9", "--prefix=known", "--min-confidence=0.3"]
    process = command(*flags, module="hsjax.predict")
    printed, errors = process.communicate(timeout=120)
    assert not process.returncode, errors
    assert "calibrate" not in printed
    text = output.read_text()
    assert "pred_confident,decided_level,set_codes" in text.splitlines()[0]
    question = Question(coverage=0.9, prefix="known", confidence=0.3)
    predict_catalogue(workdir, goods, tmp_path / "same.csv", question)
    assert (tmp_path / "same.csv").read_text() == text


def test_one_program_answers_all_batches(workdir, shop):
    run = hsjax.load(workdir, calibration="own")
    records, tree = run.records(shop), run.tree
    prefixes = np.full((len(records), tree.num_levels), -1)
    prefixes[::3, 0] = 0
    asked = {"confidence": 0.4, "prefixes": prefixes, "set_least": 0.01}
    p = run.predict(records, **asked)
    assert run.answer._cache_size() == 1
    run.predict(records, **(asked | {"confidence": 0.7, "set_least": 0.2}))
    assert run.answer._cache_size() == 1, "other numbers, the same program"
    first = tree.codes[0][0]
    assert set(p.decoded["path"][::3, 0]) == {first}
    assert (deepest(labelled(p).truth) != "").all()
