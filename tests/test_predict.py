"""A trained run answers for products from anywhere, and says what it left out."""

import csv
import os

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, command, run_config, train_run
from tiny import ragged_tree, random_logits, tiny_config, tiny_model

import hsjax
from hsjax.data.records import CatalogueError
from hsjax.decodes import confident_path
from hsjax.evaluation.answer import make_answer
from hsjax.evaluation.predictions import (
    deepest,
    read_predictions,
    write_predictions,
)
from hsjax.inference.products import read_products
from hsjax.models.build import Outputs
from hsjax.trained.scoring import evaluate_run
from hsjax.tree.node_codes import node_codes


@pytest.fixture(scope="module")
def workdir(shop, tmp_path_factory):
    """Of a run of a few steps on titles; its catalogue has pictures, too."""
    changes = {
        **TEXT,
        "data.path": str(shop),
        "data.rows": 150,
        "data.columns.id": "id",
        "data.columns.label": ("hs_code",),
        "data.columns.image": "image",
        "data.columns.metadata": ("shop",),
        "data.required": ("title",),
        "train.steps": 4,
    }
    workdir = tmp_path_factory.mktemp("run")
    train_run(run_config(changes), workdir)
    return workdir


@pytest.fixture(scope="module")
def run(workdir):
    return hsjax.load(workdir)


@pytest.fixture(scope="module")
def rows(shop):
    """The first rows of the shop that have everything, as dicts."""
    rows = pq.read_table(shop).to_pylist()
    return [row for row in rows if row["title"] and row["image"]][:20]


@pytest.fixture
def unlabelled(rows, tmp_path):
    """A CSV with pictures beside it, without labels, group and shop."""
    with (tmp_path / "new.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "title", "brand", "image"])
        for row in rows:
            (tmp_path / f"{row['id']}.png").write_bytes(row["image"])
            name = f"{row['id']}.png"
            lines.writerow([row["id"], row["title"], row["brand"], name])
        lines.writerow(["torn", "boot"])
    return tmp_path / "new.csv"


def test_a_file_without_labels_is_answered(run, rows, unlabelled, tmp_path, caplog):
    records = run.records(unlabelled, quarantine=tmp_path / "quarantine.csv")
    assert all(r.image_key and r.image is None for r in records), "a model of text"
    answers = run.predict(records)
    assert answers.id.tolist() == [row["id"] for row in rows]
    assert (answers.truth == "").all()
    assert (answers.decoded["path"][:, 0] != "").all()
    # the row that could not be read is told, in the log and in the file
    assert "1 x wrong number of columns (dropped)" in caplog.text
    with (tmp_path / "quarantine.csv").open(newline="") as file:
        notes = list(csv.DictReader(file))
    flaw = {n["row"]: n for n in notes if n["action"] == "dropped"}["21"]
    assert flaw["file"] == str(unlabelled)
    assert flaw["reason"].startswith("wrong number of columns")


def test_dicts_are_answered_like_the_file(run, rows, unlabelled, monkeypatch, caplog):
    records = run.records(unlabelled)
    expected, pictures = run.predict(records), [r.image_key for r in records]
    paths = [{**row, "image": f"{row['id']}.png"} for row in rows]
    monkeypatch.chdir(unlabelled.parent)  # where paths of dicts begin
    for given in (rows, paths):
        records = run.records(given)
        assert [r.image_key for r in records] == pictures
        found = run.predict(records)
        assert found.id.tolist() == expected.id.tolist()
        np.testing.assert_array_equal(found.log_prob, expected.log_prob)
    # the label of a dict is read, too
    assert deepest(found.truth).tolist() == [row["hs_code"] for row in rows]
    caplog.clear()
    records = run.records([{"title": "leather boot"}, {"title": "clay brick", "id": 7}])
    assert [r.id for r in records] == ["1", "7"]
    assert len(run.predict(records)) == 2
    assert "records, column image: 1 x column absent (kept)" in caplog.text
    # dicts need no ids
    assert "column id" not in caplog.text
    # `required` is about training
    assert len(run.records([{"title": "", "image": rows[0]["image"]}])) == 1
    assert "records, column title: 1 x empty text (kept)" in caplog.text
    run.records([{"title": "boot", "image": b"junk"}])
    told = "records, column image: 1 x not an image (kept without picture)"
    assert told in caplog.text


def test_a_table_is_answered_like_its_rows(run):
    class Table:
        """What is used of a pandas table, which yields its columns' names."""

        iterrows = None

        def __iter__(self):
            return iter(["title"])

        def to_dict(self, *, orient):
            assert orient == "records"
            return [{"title": "leather boot"}, {"title": "clay brick"}]

    records = run.records(Table())
    assert [r.texts["title"] for r in records] == ["leather boot", "clay brick"]


def test_what_cannot_be_answered_is_said(run, tmp_path):
    (tmp_path / "new.csv").write_text("id,titel,brand\n1,boot,acme\n")
    with pytest.raises(CatalogueError, match="Did you mean 'titel'"):
        run.records(tmp_path / "new.csv")
    with pytest.raises(CatalogueError, match="the list is empty"):
        run.records([])
    with pytest.raises(CatalogueError, match=r"^gone\.csv: no such file$"):
        run.records("gone.csv")
    with pytest.raises(CatalogueError, match=r"folder gone \(image_root\) does not"):
        run.records([{"title": "boot"}], image_root="gone")
    for key, meant in (("titel", r"'titel'\. Did you mean 'title'\?"), ("x", "'x'.")):
        # a picture is nothing that this model reads
        words = "no record has 'title', all that the model reads; they have 'image', "
        with pytest.raises(CatalogueError, match=f"{words}{meant}$"):
            run.records([{"image": b"junk", key: "boots"}])
    for rows in (["boot"], {"title": "boot"}):
        words = "^record 1 is '(boot|title)', no dict; give a list of"
        with pytest.raises(CatalogueError, match=words):
            read_products(run.config, run.tree, iter(rows))
    (tmp_path / "bad.csv").write_text("title,brand\nboot\n")
    with pytest.raises(
        CatalogueError,
        match=r"Row 1: wrong .* What was wrong in rows so far is in .*csv",
    ):
        run.records(tmp_path / "bad.csv", quarantine=tmp_path / "flaws.csv")
    assert "wrong number of columns" in (tmp_path / "flaws.csv").read_text()
    with pytest.raises(CatalogueError, match="no records to answer"):
        run.predict([])
    for given in ([{"title": "boot"}], ["boot"], "new.csv"):
        with pytest.raises(CatalogueError, match=r"run\.predict\(run\.records\("):
            run.predict(given)
    with pytest.raises(ValueError, match="confidence is 80"):
        run.predict(run.records([{"title": "boot"}]), confidence=80.0)


def test_the_deepest_node_that_is_sure_enough(run, rows, tmp_path):
    records = run.records(rows)
    assert run.predict(records).confident is None
    sure, unsure = (run.predict(records, confidence=c) for c in (1e-6, 1.0))
    assert set(unsure.confident) == {""}
    assert {len(code) for code in sure.confident} == {6}
    some = run.predict(records, confidence=0.3)
    probs = some.prob[:, 0]  # of the answered chapter
    same = some.decoded["path"][:, 0] == [code[:2] for code in some.confident]
    assert (probs[same] >= 0.3).all()
    write_predictions(some, tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    assert table["pred_confident"].to_pylist() == some.confident.tolist()
    found = read_predictions(tmp_path / "p.parquet")
    assert found.confident.tolist() == some.confident.tolist()
    assert found.select([3, 1]).confident.tolist() == some.confident[[3, 1]].tolist()


def test_nothing_is_sure_of_a_product_that_says_nothing(run):
    records = run.records([{"title": "boot"}, {"title": ""}])
    found = run.predict(records, confidence=1e-6)
    assert [bool(code) for code in found.confident] == [True, False]
    assert found.present["title"].tolist() == [True, False]


def test_confidence_is_that_of_the_decode():
    """Against `confident_path`, which is compared with brute force elsewhere."""
    tree = ragged_tree(0)
    logits = random_logits(tree, 8, seed=1)

    def apply(params, stats, batch):
        return Outputs(tuple(logits), None, None, jnp.zeros((8, 1)), jnp.ones(())), {}

    answer = jax.jit(make_answer(apply, tree, topk=2))
    batch = {"weight": jnp.ones(8)}
    for confidence in (0.3, 0.6):
        found = answer({}, {}, batch, confidence=confidence)["confident"]
        expected = confident_path(logits, tree, confidence)
        np.testing.assert_array_equal(found, expected)
        assert (node_codes(tree, np.asarray(found)) != "").any()
    assert "confident" not in answer({}, {}, batch)


def test_embeddings_are_zero_where_a_modality_is_absent():
    tree = ragged_tree(0)
    model, params, stats, batch = tiny_model(tiny_config(), tree)
    batch["has_image"][:2] = False
    batch["has_title"][1:3] = False
    found = jax.jit(make_answer(model.apply, tree, topk=2))(params, stats, batch)
    for name, absent in (("image", [0, 1]), ("text", [1, 2])):
        lengths = np.linalg.norm(found[f"embedding/{name}"], axis=1)
        expected = np.ones(len(lengths))
        expected[absent] = 0.0
        np.testing.assert_allclose(lengths, expected, atol=1e-5)
        assert not np.asarray(found[f"embedding/{name}"])[absent].any()


def test_loading_sets_jax_up_as_training_did(workdir, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        config = hsjax.load(workdir).config
        assert jax.config.jax_compilation_cache_dir == config.train.compile_cache
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert "--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]


def test_batches_are_made_ahead_as_the_config_says(run, monkeypatch):
    asked = []

    def prefetched(batches, **options):
        asked.append(options)
        assert batches[0]["weight"].shape == (8,)  # as many for every device
        return iter([batches[k] for k in range(len(batches))])

    monkeypatch.setattr("hsjax.evaluation.feed.prefetched", prefetched)
    config = run.config.copy_and_resolve_references().unlock()
    config.data.threads, config.data.prefetch, config.eval.batch_size = 3, 5, 3
    records = run.records([{"title": "boot"}] * 9)
    assert len(run._replace(config=config).predict(records)) == 9
    assert asked == [{"start": 0, "threads": 3, "workers": 0, "buffer": 5}]


def test_an_answer_hangs_on_its_own_product_alone(run, monkeypatch):
    """Texts of like length are answered together, whoever else is asked for."""
    monkeypatch.setattr("hsjax.data.buckets.FEW_LENGTHS", (2, 4, 6))
    titles = ["boot", "b", "", "boot " * 9, "red boot", "leather " * 4]
    records = run.records([{"title": title} for title in titles * 3])
    lengths = []

    def answer(params, stats, batch, **asked):
        lengths.append(batch["title_ids"].shape)
        return run.answer(params, stats, batch, **asked)

    config = run.config.copy_and_resolve_references().unlock()
    config.eval.batch_size = 8
    whole = run._replace(config=config, answer=answer).predict(records)
    longest = dict(run.spec.lengths)["title"]
    sizes = [length for _, length in lengths]
    assert sizes == sorted(sizes, reverse=True)
    assert {rows for rows, _ in lengths} == {8}
    # 6 would save less than half of the longest
    assert (set(sizes), longest) == ({2, 4, 8}, 8)
    assert [int(row) for row in whole.row] == [record.row for record in records]
    for place in (0, 3, 5, 7):
        alone = run._replace(config=config).predict([records[place]])
        for name in ("log_prob", "topk_probs", "prob"):
            own, among = getattr(alone, name)[0], getattr(whole, name)[place]
            np.testing.assert_array_equal(own, among, err_msg=name)
        assert alone.topk_codes[0].tolist() == whole.topk_codes[place].tolist()
    monkeypatch.setattr("hsjax.data.buckets.FEW_LENGTHS", ())
    alike = run.predict(records)
    np.testing.assert_allclose(alike.log_prob, whole.log_prob, atol=2e-6)
    np.testing.assert_array_equal(alike.topk_codes, whole.topk_codes)


@pytest.mark.slow
def test_the_command_writes_the_confident_answer(run, workdir, shop, tmp_path):
    flags = (f"--run={workdir}", f"--input={shop}", f"--output={tmp_path}")
    process = command(*flags, "--confidence=0.3", module="hsjax.evaluate")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found = read_predictions(tmp_path / "predictions.parquet")
    expected = run.predict(run.records(shop), confidence=0.3)
    assert found.confident.tolist() == expected.confident.tolist()


def test_a_file_without_labels_is_answered_and_not_scored(
    run, workdir, unlabelled, tmp_path, capsys
):
    options = {"part": "", "corrupt": "", "seed": 0}
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.json").write_text("{}")  # of another file
    evaluate_run(workdir, tmp_path / "out", source=str(unlabelled), **options)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"predictions.parquet", "quarantine.csv", "report.md"}
    found = read_predictions(tmp_path / "out/predictions.parquet")
    expected = run.predict(run.records(unlabelled))
    assert found.id.tolist() == expected.id.tolist()
    np.testing.assert_array_equal(found.log_prob, expected.log_prob)
    text = (tmp_path / "out/report.md").read_text()
    assert "new.csv has no labels (no column 'hs_code'), so nothing is scored" in text
    assert "| rows read | 21 |" in text
    assert "| rows dropped | 1 |" in text
    assert text.strip() in capsys.readouterr().out


def test_a_file_that_cannot_be_scored_is_told(workdir, tmp_path):
    options = {"part": "", "corrupt": "", "seed": 0}
    with pytest.raises(CatalogueError, match=r"^--input=gone\.csv: no such file$"):
        evaluate_run(workdir, tmp_path / "out", source="gone.csv", **options)
    source = str(tmp_path / "bad.csv")
    (tmp_path / "bad.csv").write_text("title,hs_code\nboot,6406100\n")
    with pytest.raises(CatalogueError, match="Row 1: malformed label: probably a lo"):
        evaluate_run(workdir, tmp_path / "out", source=source, **options)
    assert "probably a lost" in (tmp_path / "out/quarantine.csv").read_text()


def test_a_report_on_a_file_tells_of_the_file_and_the_damage(workdir, shop, tmp_path):
    options = {"part": "", "seed": 0, "source": str(shop)}
    evaluate_run(workdir, tmp_path, corrupt="word_drop", **options)
    text = (tmp_path / "report.md").read_text()
    assert ", word_drop:1 (seed 0)" in text.splitlines()[0]
    rows = pq.read_metadata(shop).num_rows
    assert f"| rows read | {rows} |" in text
    assert "| labels outside the tree |" in text
