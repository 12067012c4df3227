"""What evidence says of an answer, held against what is known to tell the code."""

import html
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import browse, chromium  # noqa: F401
from encoders import path_of, published
from keyed_goods import KEYS, keyed_config, keyed_rows, write_rows
from ml_collections import ConfigDict
from PIL import Image
from runs import command, run_config, train_run

from hsjax.data.quarantine import CatalogueError
from hsjax.explanation.asked import Asked, without_modality
from hsjax.explanation.attribution import Attribution, summed
from hsjax.explanation.chosen import chosen_rows, read_chosen
from hsjax.explanation.gradients import Gradients
from hsjax.explanation.occlusion import whole_picture
from hsjax.explanation.precedents import nearest, open_precedents, word_hashes
from hsjax.explanation.sanity import alike, sanity, shuffled
from hsjax.explanation.task import Wish, write_evidence
from hsjax.explanation.verifying import verify
from hsjax.hierarchy import node_log_probs
from hsjax.inference.fingerprint import parameters_hash
from hsjax.inference.predict import load_run
from hsjax.prediction.audit_record import read_audit
from hsjax.prediction.catalogue import predict_catalogue
from hsjax.prediction.question import Question
from hsjax.train.config import WorkdirError
from hsjax.trained.calibrating import calibrate_run

HOSTILE = "<script>document.title='x'</script><img src=x onerror=alert(1)> @BODY@ vinyl"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of a run that has learnt the words and the corners."""
    folder = tmp_path_factory.mktemp("keyed")
    path = write_rows(folder / "goods.parquet", keyed_rows(240, seed=0))
    train_run(keyed_config(path), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def goods(tmp_path_factory):
    """40 new products: 10 without a picture, 10 without a title, one with nothing."""
    rows = keyed_rows(40, seed=1)
    for row in rows[20:30]:
        row["image"] = None
    for row in rows[30:]:
        row["title"] = None
    rows[39]["image"] = None
    rows[5]["title"] += " qwertz"
    return write_rows(tmp_path_factory.mktemp("goods") / "new.parquet", rows)


@pytest.fixture(scope="module")
def asked(workdir, goods):
    run = load_run(workdir)
    return Asked(run, read_chosen(run.config, goods, range(1, 40)))


@pytest.fixture(scope="module")
def told(workdir, goods, tmp_path_factory):
    """(folder, its evidence) of the command on all products."""
    folder = tmp_path_factory.mktemp("out") / "evidence"
    return folder, write_evidence(workdir, goods, folder, Wish(first=40))


# ---- what an answer stands on


def test_words_are_counted_as_they_count(asked):
    """The one word that tells comes first, and what is said adds up."""
    gradients = Gradients(asked)
    attribution, first = Attribution(asked), []
    for place in range(30):
        found = gradients(place)
        assert abs(found.missed) < 0.03 * (1 + abs(found.total))
        words = attribution(place)["title"]["words"]
        title = asked.records[place].texts["title"]
        assert [w["word"] for w in words] == title.split()
        first.append(max(words, key=lambda w: w["attribution"])["word"] in KEYS)
    assert np.mean(first) > 0.9


def test_a_token_of_its_own_changes_nothing(asked):
    """F(x) of the rows that the gradient goes by is log p of the answer itself."""
    gradients, place = Gradients(asked), 7
    one = asked.one(place)
    own, rows, base = gradients._with_own_tokens(place, one)
    batch = jax.device_put({**one, **own, "answer": asked.labels[[place]]})
    model = asked.params, asked.stats
    score = float(gradients._score(*model, batch, rows))
    expected = asked.log_probs(one, asked.labels[[place]])[0]
    assert score == pytest.approx(float(expected), abs=1e-5)
    # the sum is the difference to average tokens
    found = gradients(place)
    without = float(gradients._score(*model, batch, base))
    assert found.total == pytest.approx(score - without, abs=1e-5)


def test_pixels_count_by_their_slope(asked):
    """Against finite differences along the attribution's own direction."""
    gradients, place = Gradients(asked), 33
    one, found = asked.one(place), gradients(place)
    seen = one["image"].astype(np.float32)
    labels = np.repeat(asked.labels[[place]], 2, axis=0)
    for corner in (slice(0, 8), slice(8, 16)):
        step = np.zeros_like(seen)
        step[0, 0, corner] = 0.01 * (seen - gradients._grey)[0, 0, corner]
        pair = {k: np.repeat(x, 2, axis=0) for k, x in one.items()}
        pair["image"] = np.concatenate([seen + step, seen - step])
        more, less = asked.log_probs(pair, labels)
        expected = (more - less) / 0.02
        assert found.pixels[corner].sum() == pytest.approx(expected, rel=0.1, abs=0.02)


def test_the_corner_that_tells_counts_most(asked, goods):
    corners = pq.read_table(goods)["corner"].to_pylist()
    attribution, right = Attribution(asked), []
    for place in range(30, 39):  # pictures alone
        grid = np.abs(attribution(place)["image"]["grid"])
        right.append(summed_corners(grid).argmax() == corners[place])
    assert np.mean(right) > 0.7


def summed_corners(grid):
    half = len(grid) // 2
    rows = (slice(0, half), slice(half, None))
    return np.array([grid[y, x].sum() for y in rows for x in rows])


@pytest.mark.slow
def test_published_encoders_in_the_loop(shop, bert, resnet, tmp_path):
    """Their tables are found, and streams with a tower of their own apart."""
    config = published(shop, bert, resnet, **{"train.steps": 3}).unlock()
    config.data.columns.text = ("title", "brand")
    config.data.text.streams = ConfigDict({"title": ("title",), "brand": ("brand",)})
    config.model.modalities = ("title", "brand", "image")
    train_run(config.lock(), tmp_path / "run")
    run = load_run(tmp_path / "run")
    asked = Asked(run, read_chosen(run.config, shop, range(1, 5)))
    for place in range(4):
        found = Gradients(asked)(place)
        assert abs(found.missed) < 0.03 * (1 + abs(found.total))
        assert found.pixels.shape == (24, 24)
        for stream, values in found.tokens.items():
            assert values.any() == asked.batch[f"has_{stream}"][place]
            assert (values[~asked.batch[f"{stream}_mask"][place]] == 0).all()


def test_a_vocabulary_smaller_than_the_texts(tmp_path):
    """No row of the table is left for each place: words are left out in turn."""
    rows = [{**x, "more": f"item {x['title']}"} for x in keyed_rows(60, seed=0)]
    path = write_rows(tmp_path / "goods.parquet", rows)
    config = keyed_config(path, **{"train.steps": 2, "train.eval_every": 2}).unlock()
    config.data.columns.text = ("title", "more")
    config.data.text.streams = ConfigDict({"title": ("title",), "more": ("more",)})
    config.data.text.length, config.data.text.vocab_size = 96, 60
    config.model.modalities = ("title", "more", "image")
    train_run(config.lock(), tmp_path / "run")
    run = load_run(tmp_path / "run")
    asked = Asked(run, read_chosen(run.config, path, [1, 2]))
    assert len(asked.params["text"]["token_embedding"]) < 2 * 96
    found = Attribution(asked)(1)
    assert found["image"]["method"] == "gradient_x_input"
    whole = asked.log_probs(asked.one(1), asked.labels[[1]])[0]
    record = asked.records[1]
    for stream in ("title", "more"):
        assert found[stream]["method"] == "occlusion"
        words = record.texts[stream].split()
        assert [w["word"] for w in found[stream]["words"]] == words
        text = " ".join(words[1:])
        bare = Asked(run, [replace(record, texts={**record.texts, stream: text})])
        without = bare.log_probs(bare.batch, asked.labels[[1]])[0]
        told = found[stream]["words"][0]["attribution"]
        assert told == pytest.approx(float(whole - without), abs=1e-5)


def test_fields_hold_all_pixels():
    pixels = np.random.default_rng(0).normal(size=(19, 13))
    grid = summed(pixels)
    assert grid.shape == (8, 8)
    assert grid.sum() == pytest.approx(pixels.sum())
    assert grid[0, 0] == pytest.approx(pixels[:3, :2].sum())
    assert summed(pixels[:3]).shape == (3, 8)


def test_attributions_pass_the_sanity_checks(asked):
    found = sanity(asked)
    assert abs(found.words) < 0.4
    assert abs(found.fields) < 0.4
    assert found.top > 1
    assert found.top > 3 * found.random
    # of a model compared with itself they would be alike: the measure can tell
    words = Attribution(asked)(0)["title"]["words"]
    values = np.array([word["attribution"] for word in words])
    assert alike(values, -2 * values) == pytest.approx(1.0)


def test_shuffled_parameters_are_the_same_numbers():
    tree = {"a": np.arange(12.0).reshape(3, 4), "b": np.zeros(2)}
    mixed = shuffled(tree, np.random.default_rng(0))
    assert mixed["a"].shape == (3, 4)
    assert sorted(mixed["a"].reshape(-1)) == sorted(tree["a"].reshape(-1))
    assert (mixed["a"] != tree["a"]).any()


# ---- a frozen encoder, whose features are read


@pytest.fixture(scope="module")
def on_features(shop, stores, tmp_path_factory):
    """(a run on stored features, its first products)."""
    folder = tmp_path_factory.mktemp("features") / "run"
    config = run_config(path_of(shop), train__steps=20).unlock()
    config.data.columns.text = ("title",)
    places = {m: str(stores / m) for m in ("title", "image")}
    config.data.features = ConfigDict(places)
    train_run(config.lock(), folder)
    run = load_run(folder)
    return Asked(run, read_chosen(run.config, shop, range(1, 9)))


def test_words_of_stored_features_are_left_out_one_by_one(on_features):
    asked, place = on_features, 1
    record = asked.records[place]
    words = record.texts["title"].split()
    found = Attribution(asked)(place)
    assert [found[m]["method"] for m in ("title", "image")] == ["occlusion"] * 2
    assert [w["word"] for w in found["title"]["words"]] == words
    whole = asked.log_probs(asked.one(place), asked.labels[[place]])[0]
    for i, word in enumerate(found["title"]["words"]):
        text = " ".join(words[:i] + words[i + 1 :])
        bare = Asked(asked.run, [replace(record, texts={"title": text})])
        without = bare.log_probs(bare.batch, asked.labels[[place]])[0]
        assert word["attribution"] == pytest.approx(whole - without, abs=2e-3)


def test_fields_of_stored_features_go_grey_one_by_one(on_features):
    asked, place = on_features, 1
    found = Attribution(asked)(place)["image"]
    record, grid = asked.records[place], np.array(found["grid"])
    assert found["box"] == [0, 0, 1, 1]
    assert grid.shape == (5, 5)
    pixels = np.array(Image.open(io.BytesIO(record.image)).convert("RGB"))
    high, wide = np.linspace(0, pixels.shape[:2], 6).astype(int).T
    grey = (np.array(asked.run.config.model.image.mean) * 255).astype(np.uint8)
    whole = asked.log_probs(asked.one(place), asked.labels[[place]])[0]
    for y, x in ((0, 0), (2, 3), (4, 4)):
        covered = pixels.copy()
        covered[high[y] : high[y + 1], wide[x] : wide[x + 1]] = grey
        file = io.BytesIO()
        Image.fromarray(covered).save(file, "PNG")
        bare = replace(record, image=file.getvalue(), image_key=f"{y} {x}")
        other = Asked(asked.run, [bare])
        without = other.log_probs(other.batch, asked.labels[[place]])[0]
        assert grid[y, x] == pytest.approx(whole - without, abs=2e-3)


def test_an_encoder_that_is_gone_is_told(on_features, monkeypatch):
    def gone(*_, **__):
        raise CatalogueError("its encoder is not where it was")

    monkeypatch.setattr("hsjax.explanation.occlusion.encode_missing", gone)
    found = Attribution(on_features)(1)
    assert {x["missing"] for x in found.values()} == {"its encoder is not where it was"}


def test_a_picture_that_lies_on_its_side(tmp_path):
    """Its shape is that in which it is seen."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(file, "JPEG", exif=exif)
    record = SimpleNamespace(image=file.getvalue())
    assert whole_picture(record, max_pixels=10**6).shape == (30, 10, 3)


# ---- path, siblings, modalities


def test_siblings_by_brute_force(asked, told):
    run, tree = asked.run, asked.tree
    batch = jax.device_put(asked.batch)
    outputs, _ = run.model.apply(asked.params, asked.stats, batch)
    levels = node_log_probs(outputs.logits, tree)
    found = {x["row"]: x for x in told[1]}
    for place, record in enumerate(asked.records[:12]):
        for level, node in enumerate(found[record.row]["path"]):
            probs = {
                str(tree.codes[level][i]): float(np.exp(levels[level][place, slot]))
                for i, slot in enumerate(tree.layout[level].slots)
            }
            own = node["code"]
            assert node["probability"] == pytest.approx(probs[own], abs=1e-5)
            up = tree.parents[level][tree.codes[level].tolist().index(own)]
            same = np.flatnonzero(tree.parents[level] == up)
            others = {str(tree.codes[level][i]) for i in same} - {own}
            if not others:
                assert node["nearly"] is None
                continue
            best = max(others, key=probs.get)
            assert node["nearly"]["code"] == best
            behind = probs[own] - probs[best]
            assert node["nearly"]["behind"] == pytest.approx(behind, abs=1e-5)


def test_shares_are_those_of_products_without(asked, workdir):
    """Leaving a modality out is answering a product that lacks it."""
    place, run = 4, asked.run
    record = asked.records[place]
    bare = {
        "title": replace(record, texts={"title": ""}),
        "image": replace(record, image=None, image_key=""),
    }
    shares = without_modality(asked, place)
    whole = asked.variants(place, {"weight": np.ones(1, np.float32)})[0]
    for name, lacking in bare.items():
        other = Asked(run, [lacking])
        expected = other.log_probs(other.batch, asked.labels[[place]])[0]
        assert shares[name]["without"] == pytest.approx(float(expected), abs=1e-5)
        gone = float(whole - expected)
        assert shares[name]["share"] == pytest.approx(gone, abs=1e-5)
    assert shares["title"]["alone"] == shares["image"]["without"]


# ---- precedents


def test_nearest_by_brute_force():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0  # absent
    queries, stored = vectors[10:13], vectors.astype(np.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hsjax.explanation.precedents.BLOCK", 8)
        places, cosines = nearest(stored, queries, 5)
    near = queries @ stored.astype(np.float32).T
    near[:, 7] = -np.inf
    for row in range(3):
        best = np.argsort(-near[row], kind="stable")[:5]
        assert places[row].tolist() == best.tolist()
        np.testing.assert_allclose(cosines[row], near[row][best], rtol=1e-6)


def test_precedents_are_training_products_of_the_code(told, workdir):
    run, (_, found) = load_run(workdir), told
    kept = open_precedents(workdir, run, parameters_hash((run.params, run.stats)))
    rows = {row["row"]: row for row in kept.rows.to_pylist()}
    right = []
    for x in found[:20]:
        for side in ("text", "image", "joint"):
            near = x["precedents"][side]
            assert len(near) == 5
            groups = {rows[p["row"]]["group"] for p in near}
            assert len(groups) == 5  # no product twice
            cosines = [p["cosine"] for p in near]
            assert cosines == sorted(cosines, reverse=True)
            right += [p["label"] == x["answer"]["code"] for p in near]
    assert np.mean(right) > 0.9


def test_a_product_of_the_training_part_is_its_own_precedent(workdir, tmp_path):
    run = load_run(workdir)
    kept = open_precedents(workdir, run, parameters_hash((run.params, run.stats)))
    row = kept.rows["row"][3].as_py()
    (found,) = write_evidence(
        workdir, run.config.data.path, tmp_path / "out", Wish(rows=[row])
    )
    first = found["precedents"]["joint"][0]
    assert first["row"] == row
    assert first["same"]
    assert first["cosine"] == pytest.approx(1, abs=2e-3)


def test_precedents_of_another_model_or_catalogue(workdir, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(workdir, moved)
    run = load_run(moved)
    kept = open_precedents(moved, run, "another model")  # are made anew
    assert json.loads((moved / "precedents" / "precedents.json").read_text())[
        "parameters"] == "another model"  # fmt: skip
    assert kept.rows.equals(open_precedents(moved, run, "another model").rows)
    catalogue = tmp_path / "goods.parquet"
    shutil.copy(run.config.data.path, catalogue)
    config = run.config.copy_and_resolve_references().unlock()
    config.data.path = str(write_rows(catalogue, keyed_rows(200, seed=3)))
    with pytest.raises(WorkdirError, match="other rows"):
        open_precedents(moved, run._replace(config=config.lock()), "a third")
    assert not [*moved.glob("*.partial")]


def test_what_makes_an_answer_doubtful(told):
    flags = {x["row"]: x["flags"] for x in told[1]}
    assert flags[1] == []
    assert flags[6] == [{"flag": "unseen words", "words": ["qwertz"]}]
    assert flags[40] == [{"flag": "nothing present"}]
    (last,) = [x for x in told[1] if x["row"] == 40]
    assert last["answer"] is None
    assert last["reason"].startswith("nothing to classify")
    assert len(word_hashes([])) == 0


# ---- which products


def test_products_that_are_asked_for(workdir, goods, tmp_path):
    config = load_run(workdir).config
    wish = {"rows": [3], "ids": ["g1-8"], "first": 1}
    assert chosen_rows(config, goods, **wish) == [1, 3, 9]
    none = {"rows": [], "ids": [], "first": 0}
    for changes, message in (
        ({}, "name products"),
        ({"rows": [0]}, "count from 1"),
        ({"ids": ["g1-88"]}, "no id 'g1-88'. Did you mean 'g1-8'"),
    ):
        with pytest.raises(CatalogueError, match=re.escape(message)):
            chosen_rows(config, goods, **{**none, **changes})
    with pytest.raises(CatalogueError, match="row 99 is not in the file"):
        read_chosen(config, goods, [2, 99])
    torn = tmp_path / "torn.csv"
    torn.write_text("id,title,image\na,boot,\nb\n")
    with pytest.raises(CatalogueError, match="row 2 cannot be read: wrong number"):
        read_chosen(config, torn, [1, 2])
    with pytest.raises(CatalogueError, match="is something else"):
        write_evidence(workdir, goods, workdir, Wish(first=1))


def test_only_the_first_products_may_be_fewer(workdir, goods, tmp_path, caplog):
    """What was named has to be there; what cannot be read is told."""
    lines = ["id,title,image", "a,clay trend,", "b", "c,vinyl item,"]
    source = tmp_path / "goods.csv"
    source.write_text("\n".join(lines) + "\n")
    wish, folder = Wish(first=20, precedents=0), tmp_path / "out"
    found = write_evidence(workdir, source, folder, wish)
    assert [x["row"] for x in found] == [1, 3]
    assert f"{source}: row 2 cannot be read: wrong number of columns" in caplog.text
    assert "row 4" not in caplog.text
    for changes, row in (({"rows": [99]}, 99), ({"rows": [2]}, 2), ({"rows": [4]}, 4)):
        with pytest.raises(CatalogueError, match=f"row {row} (is not in|cannot be)"):
            write_evidence(workdir, source, folder, wish._replace(**changes))
    found = write_evidence(workdir, source, folder, wish._replace(ids=["c"], first=1))
    assert [x["row"] for x in found] == [1, 3]


def test_evidence_goes_over_nothing_else(workdir, goods, tmp_path):
    wish = Wish(rows=[1], precedents=0)
    own, source = tmp_path / "own", tmp_path / "in" / "answers.parquet"
    for folder in (own, tmp_path / "in", tmp_path / "notes"):
        folder.mkdir()
    shutil.copy(goods, source)
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    for folder in (tmp_path / "in", tmp_path / "notes"):
        with pytest.raises(CatalogueError, match="is something else: name a new"):
            write_evidence(workdir, source, folder, wish)
    write_evidence(workdir, source, own, wish)  # an empty one
    (own / "mine.txt").write_text("mine")
    write_evidence(workdir, source, own, wish._replace(rows=[2]))  # its own
    source = shutil.copy(goods, own / "answers.parquet")
    with pytest.raises(CatalogueError, match="be written over or into --input="):
        write_evidence(workdir, source, own, wish)
    assert source.read_bytes() == goods.read_bytes()


# ---- the record


def test_answers_of_a_record_are_had_again(workdir, goods, tmp_path):
    source = shutil.copy(goods, tmp_path / "new.parquet")
    output = tmp_path / "codes.parquet"
    predict_catalogue(workdir, source, output)
    audit = tmp_path / "codes.parquet.audit.json"
    record = read_audit(audit)
    assert record["batch"]["rows"] == 16
    assert record["batch"]["shapes"]["image"] == [16, 1, 16, 16, 3]
    assert "no legal ruling" in record["note"]
    before = audit.read_bytes()
    predict_catalogue(workdir, source, output)  # nothing to do
    assert audit.read_bytes() == before
    # elsewhere in a batch than they were
    found = verify(audit, rows=[37, 11, 40])
    assert (found.rows, found.equal, found.changed) == (3, 3, {})
    assert found.same
    assert "3 of 3 answers are the same, bit for bit" in found.told()
    # the last bit of one number
    table = pq.read_table(output)
    place = table.schema.get_field_index("log_prob")
    values = table["log_prob"].to_numpy(zero_copy_only=False).copy()
    values[10] = np.nextafter(values[10], np.float32(1))
    field = table.schema.field(place)
    nulls = np.isnan(values)
    column = pa.array(values, field.type, mask=nulls)
    pq.write_table(table.set_column(place, field, column), output)
    found = verify(audit, rows=[37, 11])
    assert (found.equal, [*found.changed]) == (1, ["output sha256"])
    assert 0 < found.gap < 1e-6
    assert found.others == (11,)
    assert found.told().endswith("at most, in row 11")


def test_what_has_no_answer_is_told(workdir, tmp_path):
    """A named row or id that the output lacks is no success of the others."""
    source, output = tmp_path / "new.csv", tmp_path / "codes.csv"
    source.write_text("id,title,image\na,clay trend,\nb,cotton,\nc,vinyl item,\n")
    predict_catalogue(workdir, source, output)
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(line for line in lines if not line.startswith("2,b")))
    audit = tmp_path / "codes.csv.audit.json"
    found = verify(audit, rows=[1], ids=["c"])
    assert (found.rows, found.equal) == (2, 2)
    assert verify(audit, first=99).rows == 2  # of the first there may be fewer
    for asked, message in (
        ({"rows": [1, 99999]}, "has no answer to row 99999: name"),
        ({"rows": [2], "ids": ["b", "c"]}, "has no answer to row 2, id 'b': name"),
        ({"rows": [3, *range(11, 18)], "first": 3}, "row 15 and 2 more: name"),
        ({"ids": ["d"]}, "has no id 'd'"),
    ):
        with pytest.raises(CatalogueError, match=re.escape(message)):
            verify(audit, **asked)
    given = [f"--verify={audit}", "--rows=1,99999"]
    process = command(*given, module="hsjax.evidence")
    said, err = process.communicate(timeout=300)
    assert (process.returncode, said) == (1, "")
    assert f"hsjax: {output} has no answer to row 99999" in err


def test_what_is_otherwise_is_told(workdir, goods, tmp_path):
    source = tmp_path / "new.parquet"
    shutil.copy(goods, source)
    predict_catalogue(workdir, source, tmp_path / "codes.csv")
    audit = tmp_path / "codes.csv.audit.json"
    assert verify(audit, first=9).same
    rows = pq.read_table(source).to_pylist()
    rows[1]["title"], rows[1]["image"] = "clay item", None
    write_rows(source, rows)
    found = verify(audit, first=9)
    assert [*found.changed] == ["input sha256"]
    assert (found.equal, found.others) == (8, (2,))
    assert "a code or a text is another, in row 2" in found.told()
    record = json.loads(audit.read_text())
    record["environment"]["jax"] = "0.0.1"
    audit.write_text(json.dumps(record))
    assert verify(audit, rows=[1]).changed["environment jax"][0] == "0.0.1"
    for text in ("{", "[]", '{"model": {}}'):
        audit.write_text(text)
        with pytest.raises(CatalogueError, match="audit record|format None"):
            verify(audit, rows=[1])


def test_a_new_output_names_the_record_of_the_old_one(workdir, goods, tmp_path):
    source, output = tmp_path / "new.parquet", tmp_path / "codes.jsonl"
    shutil.copy(goods, source)
    predict_catalogue(workdir, source, output)
    first = read_audit(tmp_path / "codes.jsonl.audit.json")
    assert first["earlier"] is None
    write_rows(source, [*pq.read_table(goods).to_pylist(), *keyed_rows(1, seed=9)])
    predict_catalogue(workdir, source, output)
    second = read_audit(tmp_path / "codes.jsonl.audit.json")
    assert second["earlier"]["kept"] == 40
    assert len(second["earlier"]["audit"]) == 64
    assert second["output"] != first["output"]


def test_rows_that_were_made_elsewhere_are_told(workdir, tmp_path):
    """Two processes on 1 and on 8 devices: neither speaks for the other's answers."""
    source, output = tmp_path / "new.csv", tmp_path / "codes.parquet"
    lines = [f"g{i},vinyl item {i % 9},\n" for i in range(1, 1031)]
    source.write_text("".join(["id,title,image\n", *lines]))
    flags = {"run": workdir, "input": source, "output": output, "shard": "0/2"}
    given = [f"--{name}={value}" for name, value in flags.items()]
    one = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    process = command(*given, module="hsjax.predict", env=one)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    predict_catalogue(workdir, source, output, Question(shard=(1, 2)))
    audit = tmp_path / "codes.parquet.audit.json"
    record = read_audit(audit)
    first, second = record["origins"]
    assert (first["rows"], first["numbers"]) == (1024, "1-1024")
    assert (second["rows"], second["numbers"]) == (6, "1025-1030")
    devices = [len(x["environment"]["devices"]) for x in (first, second, record)]
    assert devices == [1, 8, 1]  # the record itself goes by most of its rows
    assert "origin" not in pq.read_schema(output).names
    here, both = verify(audit, rows=[1030]), verify(audit, rows=[9, 1030])
    assert here.same
    assert here.elsewhere == both.elsewhere == ("1-1024",)
    assert "rows 1-1024 were made elsewhere" in here.told()
    assert [*both.changed] == ["environment devices of rows 1-1024"]
    assert not both.same


def test_a_record_is_kept_where_all_is_as_it_was(workdir, goods, tmp_path):
    """The same bytes are no proof: another question or catalogue may give them."""
    rows = [{**x, "image": None} for x in pq.read_table(goods).to_pylist()]
    source, output = write_rows(tmp_path / "new.parquet", rows), tmp_path / "c.csv"
    audit = tmp_path / "c.csv.audit.json"
    own = shutil.copytree(workdir, tmp_path / "run")

    def told(confidence, run=own, shard=(0, 1)):
        predict_catalogue(
            run, source, output, Question(confidence=confidence, shard=shard)
        )
        return audit.read_bytes(), output.read_bytes(), read_audit(audit)

    first, before, _ = told(1e-6)
    moved = shutil.copytree(own, tmp_path / "moved")
    for again in (told(1e-6), told(1e-6, moved), told(1e-6, own, (1, 2))):
        assert again[:2] == (first, before)
    other = told(2e-6)
    assert other[1] == before
    assert other[2]["asked"]["question"]["confidence"] == 2e-6
    write_rows(source, [{**row, "corner": 7} for row in rows])  # which nobody reads
    third = told(2e-6)
    assert third[1] == before
    assert third[2]["input"] != other[2]["input"]
    (own / "config.json").write_text((own / "config.json").read_text() + " ")
    last = told(2e-6)
    assert last[1] == before
    assert last[2]["model"]["config.json"] != third[2]["model"]["config.json"]


def test_a_calibrated_run_is_asked_the_same_question(workdir, goods, tmp_path):
    """Columns, thresholds and temperatures of a question are in its record."""
    own = tmp_path / "run"
    shutil.copytree(workdir, own)
    calibrate_run(own, features={})
    rows = pq.read_table(goods).to_pylist()
    for i, row in enumerate(rows):
        row["known"] = row["hs_code"][:2] if i % 2 else ""
    source, output = write_rows(tmp_path / "new.parquet", rows), tmp_path / "c.parquet"
    question = Question(prefix="known", confidence=0.7)
    predict_catalogue(own, source, output, question)
    audit = tmp_path / "c.parquet.audit.json"
    assert len(read_audit(audit)["model"]["calibration"]) == 64
    assert verify(audit, first=20).same
    (own / "calibration.json").unlink()
    found = verify(audit, first=20)
    assert "model calibration" in found.changed
    assert found.equal < found.rows


def test_evidence_is_of_the_calibrated_distribution(workdir, goods, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(workdir, own)
    calibrate_run(own, features={})
    predict_catalogue(own, goods, tmp_path / "codes.parquet")
    answers = pq.read_table(tmp_path / "codes.parquet").to_pylist()
    found = write_evidence(own, goods, tmp_path / "why", Wish(first=5, precedents=0))
    for x, answer in zip(found, answers, strict=False):
        assert x["answer"]["log_prob"] == pytest.approx(answer["log_prob"], abs=1e-5)
        for node in x["path"]:
            assert node["probability"] == answer[f"prob_level{node['level']}"]
            if node["nearly"]:
                ours = node["nearly"]["behind"] + node["nearly"]["probability"]
                assert ours == pytest.approx(node["probability"], abs=1e-5)
    assert found[0]["precedents"] == {}


def test_one_scale_beside_what_isotonic_maps_say(workdir, goods, tmp_path):
    """What is compared adds up; the mapped probability is a number of its own."""
    rows, codes = keyed_rows(200, seed=5), [*KEYS.values()]
    for i, row in enumerate(rows):  # a third of the labels is anything
        row["hs_code"] = codes[i % 4] if i % 3 == 0 else row["hs_code"]
    own, noisy = tmp_path / "own", write_rows(tmp_path / "noisy.parquet", rows)
    calibrate_run(workdir, source=str(noisy), output=own, kind="isotonic", features={})
    fitted = {"calibration": own / "calibration.json"}
    predict_catalogue(workdir, goods, tmp_path / "codes.parquet", **fitted)
    answers = pq.read_table(tmp_path / "codes.parquet").to_pylist()
    wish = Wish(first=39, precedents=0, **fitted)
    found = write_evidence(workdir, goods, tmp_path / "why", wish)
    apart = 0.0
    for x, answer in zip(found, answers, strict=False):
        for node in x["path"]:
            assert node["calibrated"] == answer[f"prob_level{node['level']}"]
            apart = max(apart, abs(node["calibrated"] - node["probability"]))
            if near := node["nearly"]:
                total = near["behind"] + near["probability"]
                assert total == pytest.approx(node["probability"], abs=1e-6)
                assert near["probability"] + node["probability"] < 1 + 1e-5
        last = x["path"][-1]["probability"]
        assert last == pytest.approx(np.exp(x["answer"]["log_prob"]), abs=1e-5)
        assert last == pytest.approx(x["top"][0]["probability"], abs=1e-5)
    assert apart > 0.01
    page = (tmp_path / "why" / "evidence.html").read_text()
    assert page.count("answer, calibrated") == len(found)


def test_answers_of_the_least_cost_are_explained(workdir, goods, tmp_path):
    """By the function that gives the answers, as the run's own decode, too."""
    costs = tmp_path / "costs.csv"
    lines = [
        f"{a},{b},90" for a in ("691200", "640299") for b in KEYS.values() if a != b
    ]
    costs.write_text("\n".join(["predicted,true,cost", *lines]) + "\n")
    own = shutil.copytree(workdir, tmp_path / "run")
    shutil.copy(costs, own / "costs.csv")
    config = json.loads((own / "config.json").read_text())
    config["config"]["eval"] |= {"decode": "cost", "cost_matrix": str(costs)}
    (own / "config.json").write_text(json.dumps(config))
    predict_catalogue(own, goods, tmp_path / "codes.parquet")
    answers = pq.read_table(tmp_path / "codes.parquet").to_pylist()
    plain = load_run(workdir)
    likely = plain.predict(plain.records(goods)).decoded["path"][:, -1]
    assert [x["pred"] for x in answers if x["pred"]] != likely.tolist()[:39]
    found = write_evidence(own, goods, tmp_path / "why", Wish(first=39, precedents=0))
    for x, answer in zip(found, answers, strict=False):
        assert x["answer"]["code"] == answer["pred"]
        assert [node["code"] for node in x["path"]][-1] == answer["pred"]
        assert x["answer"]["log_prob"] == pytest.approx(answer["log_prob"], abs=1e-5)


@pytest.fixture(scope="module")
def known(goods, tmp_path_factory):
    """The products, of which some columns say what is known: (catalogue, costs)."""
    folder, rows = tmp_path_factory.mktemp("known"), pq.read_table(goods).to_pylist()
    for i, row in enumerate(rows):
        row["known"] = ("", "42", "6109", "6402.99.00", "9999")[i % 5]
        row["old"] = "640299" if i % 4 == 3 else ""
    (folder / "costs.csv").write_text("predicted,true,cost\n640299,420221,50\n")
    return write_rows(folder / "new.parquet", rows), folder / "costs.csv"


def test_evidence_is_of_the_answers_that_were_given(workdir, known, tmp_path):
    """Below what is known, by the costs of mistakes, with what is to be filed."""
    source, costs = known
    question = Question(
        prefix="known", policy="fill_missing", current="old", confidence=0.5
    )
    output, folder = tmp_path / "codes.parquet", tmp_path / "why"
    predict_catalogue(workdir, source, output, question, cost_matrix=costs)
    wish = Wish(first=20, precedents=0, question=question, cost_matrix=costs)
    found = write_evidence(workdir, source, folder, wish)
    answers = pq.read_table(output).slice(0, 20).to_pylist()
    said = pq.read_table(folder / "answers.parquet").to_pylist()
    assert repr(said) == repr(answers)
    run = load_run(workdir)
    free = Asked(run, read_chosen(run.config, source, range(1, 21)))
    seen = set()
    for place, (x, answer) in enumerate(zip(found, answers, strict=True)):
        if answer["reason"]:
            assert (x["answer"], x["reason"]) == (None, answer["reason"])
            seen.add(answer["reason"].split(":")[0])
            continue
        assert x["answer"]["code"] == answer["pred"]
        assert x["asked"]["code"] == answer["code"] == answer["pred_confident"]
        path = [node["code"] for node in x["path"]]
        assert path == [answer[f"pred_level{k}"] for k in (1, 2, 3)]
        # by the chain rule: what is known divides what the model says without it
        codes = zip(free.tree.codes, path, strict=True)
        labels = np.array([[x.tolist().index(code) for x, code in codes]])
        whole = float(free.log_probs(free.one(place), labels)[0])
        levels = len(("", "42", "6109", "640299")[place % 5]) // 2
        given = free.nodes[levels - 1][place, labels[0, levels - 1]] if levels else 0.0
        assert x["answer"]["log_prob"] == pytest.approx(whole - float(given), abs=1e-4)
        for node in x["path"][:levels]:
            assert node["probability"] == pytest.approx(1, abs=1e-5)
            assert node["nearly"] is None
    assert seen == {"prefix", "it has a code"}
    assert "current: " not in (folder / "evidence.html").read_text()
    assert "code: 610910" in (folder / "evidence.html").read_text()
    assert verify(folder / "audit.json", first=20).same


def test_predict_asks_evidence_of_its_own_answers(workdir, known, tmp_path):
    source, costs = known
    output, folder = tmp_path / "codes.jsonl", tmp_path / "why"
    flags = {"run": workdir, "input": source, "output": output, "evidence": folder}
    flags |= {"prefix": "known", "cost_matrix": costs, "calibration": "none"}
    given = [f"--{name}={value}" for name, value in flags.items()]
    process = command(*given, module="hsjax.predict")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    lines = (folder / "evidence.jsonl").read_text().splitlines()
    found = [json.loads(line)["answer"] for line in lines]
    answers = [json.loads(line) for line in output.read_text().splitlines()[:20]]
    assert len(found) == 20
    assert [x["code"] if x else "" for x in found] == [x["pred"] for x in answers]


def test_evidence_has_a_record_too(told):
    folder, _ = told
    found = verify(folder / "audit.json", first=12)
    assert found.same
    assert found.rows == 12


# ---- the page


def test_a_browser_shows_the_evidence(chromium, workdir, tmp_path):  # noqa: F811
    rows = keyed_rows(4, seed=2)
    rows[0]["title"], rows[0]["id"] = HOSTILE, "<b>id</b>"
    source, folder = write_rows(tmp_path / "new.parquet", rows), tmp_path / "out"
    write_evidence(workdir, source, folder, Wish(rows=[1, 2, 3], sanity=True))
    page, shot = folder / "evidence.html", tmp_path / "shot.png"
    size = (1200, 900)
    dom, said = browse(chromium, page, tmp_path / "user", size, f"--screenshot={shot}")
    assert said == []
    assert dom.count("<article") == 3
    assert "<script" not in dom
    assert "onerror" not in re.sub(r">[^<]*<", "><", dom)  # of text alone
    assert "&lt;b&gt;id&lt;/b&gt;" in dom
    assert "no legal ruling" in dom
    assert "randomised model" in dom
    words = [html.unescape(x) for x in re.findall(r"<span [^>]*>([^<]*)</span>", dom)]
    assert set(HOSTILE.split()) <= set(words)
    # every picture is within the file: 3 products and their precedents
    sources = re.findall(r'<img src="([^"]*)"', dom)
    assert len(sources) == 3 + 3 * 3 * 5
    assert all(x.startswith("data:image/jpeg;base64,") for x in sources)
    assert not re.findall(r'(?:src|href)="(?!data:)', page.read_text())
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=2) > 60).sum() > 2000  # pictures and coloured words


def test_json_and_page_are_whole(told):
    folder, found = told
    lines = (folder / "evidence.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(found))
    assert (folder / "evidence.html").read_text().count("<article") == 40
    assert "NaN" not in "".join(lines)


def test_the_pages_are_part_of_the_package():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'package-data."hsjax.explanation" = ["pages/*"]' in text
