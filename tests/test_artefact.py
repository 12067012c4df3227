"""An exported run answers as the run itself, without the code that trained it."""

import base64
import contextlib
import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from encoders import LENGTH, extraction, path_of
from ml_collections import ConfigDict
from PIL import Image
from runs import ROOT, TEXT, command, run_config, train_run

import hsjax
from hsjax.artefact.answers import NOTHING
from hsjax.artefact.document import (
    CALIBRATION,
    NAME,
    PARAMETERS,
    PROGRAM,
    ArtefactError,
)
from hsjax.artefact.inputs import Note, as_rows
from hsjax.data.records import CatalogueError
from hsjax.inference.artefact_files import export_artefact
from hsjax.models.attention import for_any_device, implementation
from hsjax.models.published_files import PublishedError
from hsjax.tasks.registry import user_errors
from hsjax.trained.calibrating import calibrate_run

TOLERANCE = 1e-6
# a process that has what an artefact may need, and of hsjax no more than it reads with
READER = """
import json, sys

ALONE = {"flax", "orbax", "ml_collections", "optax", "grain", "array_record", "clu"}
ALONE |= {"absl", "transformers", "huggingface_hub", "sklearn", "pyarrow", "tqdm"}
ALONE |= {"matplotlib", "tensorboardX", "jaxtyping", "configs"}
PARTS = {"train", "models", "inference", "evaluation", "features", "trained", "tasks"}

class Nothing:
    def find_spec(self, name, path=None, target=None):
        first, _, rest = name.partition(".")
        if first in ALONE or (first == "hsjax" and rest.split(".")[0] in PARTS):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Nothing())

import jax.numpy as jnp
import numpy as np
import hsjax

folder, rows, root, found = sys.argv[1:]
artefact = hsjax.load_artefact(folder)
rows = json.load(open(rows))
answers = artefact.predict(rows, image_root=root, confidence=0.4)
levels = artefact.distribution(rows, image_root=root)
arrays = {f"level{k}": x for k, x in enumerate(levels)}
for name, value in answers._asdict().items():
    if isinstance(value, dict):
        arrays |= {f"{name}/{key}": x for key, x in value.items()}
    elif name != "notes":
        arrays[name] = np.array(value, str) if value.dtype == object else value
arrays["notes"] = np.array([str(x) for note in answers.notes for x in note])
np.savez(found, **arrays)
"""


def png(seed, size=(20, 26)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def as_field(data):
    return "data:;base64," + base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def goods(shop, tmp_path_factory):
    """(rows as JSON has them, folder of pictures): three batches, with flaws."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "boot.png").write_bytes(png(99))
    rows = []
    for i, row in enumerate(pq.read_table(shop).to_pylist()[:11]):
        title = f"{row['title'] or 'spare'} of steel {i}"
        rows.append({"title": title, "image": as_field(png(i)), "brand": row["brand"]})
    rows[1]["title"], rows[2]["image"] = None, ""
    rows[3] = {"title": "\u200b"}  # invisible
    rows[4]["image"] = as_field(png(4)[:300])  # cut off
    rows[5]["image"], rows[6]["image"] = "boot.png", "../boot.png"
    rows[7]["title"], rows[8] = 640610.0, {"title": "nan", "image": None}
    return rows, folder


def read_alone(artefact, goods, tmp_path):
    """What a process answers that has not the code that trained the run."""
    rows, folder = goods
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    found = tmp_path / "found.npz"
    arguments = [artefact, tmp_path / "rows.json", folder, found]
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(found) as file:
        return {name: file[name] for name in file.files}


def assert_same(found, expected, rows):
    """Answers of `read_alone` and those of a run: codes equal, numbers to TOLERANCE."""
    main = expected.decoded[expected.main]
    np.testing.assert_array_equal(found["codes"], main.astype(str))
    for name in ("topk_codes", "level_topk", "confident"):
        held = getattr(expected, name).astype(str)
        np.testing.assert_array_equal(found[name], held, err_msg=name)
    for name in ("prob", "log_prob", "topk_probs"):
        held = getattr(expected, name)
        np.testing.assert_allclose(found[name], held, atol=TOLERANCE, err_msg=name)
    for name, held in expected.present.items():
        np.testing.assert_array_equal(found[f"present/{name}"], held, err_msg=name)
    for name, held in expected.embeddings.items():
        key = f"embeddings/{name}"
        np.testing.assert_allclose(found[key], held, atol=TOLERANCE, err_msg=key)
    assert len(found["codes"]) == len(rows)


@pytest.fixture(scope="module")
def workdir(shop, tmp_path_factory):
    """Of a run on titles, brands and pictures, which are cut in the middle."""
    changes = {**path_of(shop), "train.steps": 4, "train.eval_every": 4}
    changes |= {"data.image.resize": (21, 18), "data.image.size": (16, 15)}
    config = run_config(changes).unlock()
    config.data.text.streams.brand = ("brand",)
    config.data.text.lengths.brand = 5
    config.model.modalities = ("title", "brand", "image")
    workdir = tmp_path_factory.mktemp("run") / "run"
    train_run(config.lock(), workdir)
    return workdir


@pytest.fixture(scope="module")
def folder(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artefact") / "new" / "artefact"
    assert export_artefact(workdir, folder, rows=4) == []
    return folder


@pytest.fixture(scope="module")
def artefact(folder):
    return hsjax.load_artefact(folder)


def test_it_answers_as_the_run_without_what_trained_it(
    workdir, folder, goods, tmp_path
):
    rows, pictures = goods
    run = hsjax.load(workdir)
    expected = run.predict(run.records(rows, image_root=pictures), confidence=0.4)
    found = read_alone(folder, goods, tmp_path)
    assert_same(found, expected, rows)
    assert found["present/image"].tolist() == [
        x not in (2, 3, 4, 6, 8) for x in range(11)
    ]
    notes = found["notes"].reshape(-1, 3)
    assert notes[:, 0].tolist() == ["4", "6", "3", "8"]  # unread, then empty
    assert "truncated image" in notes[0, 2]
    assert "leaves image_root" in notes[1, 2]
    document = json.loads((folder / NAME).read_text())
    assert document["platforms"] == ["cpu", "cuda", "tpu"]
    assert document["taxonomy"] == run.tree.hash
    assert document["run"] == {"name": "run", "step": run.step}


def test_the_distribution_is_one_over_the_tree(artefact, goods):
    rows, pictures = goods
    levels = artefact.distribution(rows, image_root=pictures)
    answers = artefact.predict(rows, image_root=pictures)
    tree, here = artefact.tree, np.arange(len(rows))
    ends = sum(
        x[:, leaf].sum(axis=1) for x, leaf in zip(levels, tree.leaf, strict=True)
    )
    np.testing.assert_allclose(ends, 1.0, atol=1e-5)
    for k in range(1, tree.num_levels):
        below = np.zeros_like(levels[k - 1])
        np.add.at(below, (slice(None), tree.parents[k]), levels[k])
        inner = ~tree.leaf[k - 1]
        np.testing.assert_allclose(below[:, inner], levels[k - 1][:, inner], atol=1e-6)
    ids = {code: i for i, code in enumerate(tree.codes[0].tolist())}
    first = [ids[code] for code in answers.codes[:, 0]]
    np.testing.assert_allclose(levels[0][here, first], answers.prob[:, 0], atol=1e-7)


def test_a_row_does_not_depend_on_its_batch(artefact, goods):
    rows, pictures = goods
    whole = artefact.predict(rows, image_root=pictures)
    for i in (0, 5, 8):
        alone = artefact.predict([rows[i]], image_root=pictures)
        np.testing.assert_array_equal(alone.log_prob, whole.log_prob[i : i + 1])
        assert alone.codes.tolist() == whole.codes[i : i + 1].tolist()
    assert whole.confident is None
    assert whole.notes[0] == Note(4, "image", whole.notes[0].reason)
    bare = ~np.any([*whole.present.values()], axis=0)
    told = [note.row for note in whole.notes if note.reason == NOTHING]
    assert told == np.flatnonzero(bare).tolist() != []


def test_threads_may_share_it(artefact, goods):
    rows, pictures = goods
    expected = artefact.predict(rows, image_root=pictures).log_prob
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(artefact.predict, rows, image_root=pictures) for _ in range(8)
        ]
        for answer in asked:
            np.testing.assert_array_equal(answer.result().log_prob, expected)


def calibrated(workdir, folder, **options):
    shutil.copytree(workdir, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        calibrate_run(folder, features={}, **options)
    return folder


def as_calibrated(run_folder, goods, tmp_path):
    """An artefact answers as the calibrated run; its probabilities."""
    rows, pictures = goods
    run = hsjax.load(run_folder, calibration="own")
    expected = run.predict(run.records(rows, image_root=pictures), confidence=0.4)
    export_artefact(run_folder, tmp_path / "out", rows=4)
    kept = (run_folder / CALIBRATION).read_bytes()
    assert (tmp_path / "out" / CALIBRATION).read_bytes() == kept
    assert_same(read_alone(tmp_path / "out", goods, tmp_path), expected, rows)
    return expected.prob


def test_a_calibrated_run_is_exported_with_its_temperatures(
    workdir, artefact, goods, tmp_path
):
    run = calibrated(workdir, tmp_path / "run")
    found = as_calibrated(run, goods, tmp_path)
    before = artefact.predict(goods[0], image_root=goods[1]).prob
    assert np.abs(found - before).max() > 1e-3


@pytest.mark.slow
def test_a_flat_head_is_exported_with_its_one_temperature(shop, goods, tmp_path):
    changes = {**path_of(shop), **TEXT, "model.head.kind": "flat", "train.steps": 4}
    changes |= {"model.head.feed": "none", "train.eval_every": 4}
    train_run(run_config(changes), tmp_path / "flat")
    run = calibrated(tmp_path / "flat", tmp_path / "run")
    as_calibrated(run, goods, tmp_path)
    document = json.loads((tmp_path / "out" / NAME).read_text())
    assert len(document["temperature"]) == 1


def test_another_calibration_is_refused(workdir, tmp_path):
    run = calibrated(workdir, tmp_path / "run", kind="isotonic")
    with pytest.raises(CatalogueError, match="calibrate by --kind=temperature"):
        export_artefact(run, tmp_path / "out", rows=4)
    document = json.loads((run / CALIBRATION).read_text()) | {"step": 99}
    (run / CALIBRATION).write_text(json.dumps(document))
    with pytest.raises(CatalogueError, match="was fitted to another model"):
        export_artefact(run, tmp_path / "out", rows=4)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def stored_run(shop, stores, tmp_path_factory):
    """On components of cached titles, and pictures."""
    config = run_config(path_of(shop), train__steps=4, train__eval_every=4).unlock()
    config.data.columns.text = ("title",)
    folders = {"title": str(stores / "title" / "pca"), "image": str(stores / "image")}
    config.data.features = ConfigDict(folders)
    workdir = tmp_path_factory.mktemp("stored") / "run"
    train_run(config.lock(), workdir)
    return workdir


def test_a_run_on_features_is_exported_with_their_encoders(stored_run, goods, tmp_path):
    rows, pictures = goods
    run = hsjax.load(stored_run)
    expected = run.predict(run.records(rows, image_root=pictures), confidence=0.4)
    export_artefact(stored_run, tmp_path / "out", rows=4)
    found = read_alone(tmp_path / "out", goods, tmp_path)
    assert_same(found, expected, rows)
    assert found["present/title"].tolist() == [x not in (1, 8) for x in range(11)]
    document = json.loads((tmp_path / "out" / NAME).read_text())
    assert document["texts"]["title"]["length"] == LENGTH
    assert document["inputs"]["image"] == [[4, 1, 24, 24, 3], "uint8"]


@pytest.mark.slow
def test_token_and_patch_states_are_exported_with_their_encoders(
    shop, bert, resnet, goods, tmp_path
):
    rows, pictures = goods
    for modality, encoder in (("title", bert), ("image", resnet)):
        more = {"stored": "float32", "states": True, "pca": 0.9}
        more |= {"prefix": "query: "} if modality == "title" else {}
        config = extraction(shop, encoder, modality, **more)
        train_run(config, tmp_path / "stores" / modality)
    steps = {"train__steps": 4, "train__eval_every": 4}
    config = run_config(path_of(shop), **steps).unlock()
    config.data.columns.text = ("title",)
    stores = tmp_path / "stores"
    folders = {"title": str(stores / "title"), "image": str(stores / "image" / "pca")}
    config.data.features = ConfigDict(folders)
    config.model.fusion.kind, config.model.fusion.of = "late_max", "feature"
    train_run(config.lock(), tmp_path / "run")
    run = hsjax.load(tmp_path / "run")
    expected = run.predict(run.records(rows, image_root=pictures), confidence=0.4)
    export_artefact(tmp_path / "run", tmp_path / "out", rows=4)
    assert_same(read_alone(tmp_path / "out", goods, tmp_path), expected, rows)


def test_without_its_encoder_a_run_on_features_says_what_to_do(
    stored_run, bert, tmp_path
):
    bert.rename(tmp_path / "away")
    try:
        with pytest.raises(CatalogueError, match="Bring the encoder back"):
            export_artefact(stored_run, tmp_path / "out")
    finally:
        (tmp_path / "away").rename(bert)
    assert not (tmp_path / "out").exists()


def test_what_lowers_for_the_cpu_alone_is_told(workdir, tmp_path, monkeypatch):
    calls = []
    export = jax.export.export

    def lowering(call, platforms):
        calls.append(platforms)
        if "tpu" in platforms:
            raise NotImplementedError("no rule for tpu\nand more")
        return export(call, platforms=platforms)

    monkeypatch.setattr("hsjax.inference.artefact_files.export.export", lowering)
    (told,) = export_artefact(workdir, tmp_path / "out", rows=2)
    assert told.endswith("no rule for tpu")
    document = json.loads((tmp_path / "out" / NAME).read_text())
    assert document["platforms"] == ["cpu"]
    assert len(calls) == 2
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    with pytest.raises(ArtefactError, match="for cpu, and jax computes on cuda"):
        hsjax.load_artefact(tmp_path / "out")


def test_a_program_for_other_machines_has_no_kernel_of_one_vendor(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    heads = jnp.zeros((1, 2, 2, 8), jnp.bfloat16)
    asked = partial(implementation, "cudnn", heads, heads, masked=False)
    assert asked() == "cudnn"
    with for_any_device():
        assert asked() == "xla"
    assert asked() == "cudnn"


def broken(folder, tmp_path, change):
    shutil.copytree(folder, tmp_path / "broken")
    change(tmp_path / "broken")
    with pytest.raises(ArtefactError) as found:
        hsjax.load_artefact(tmp_path / "broken")
    return str(found.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def document_with(**values):
    def change(folder):
        document = json.loads((folder / NAME).read_text()) | values
        (folder / NAME).write_text(json.dumps(document))

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / NAME).unlink(), "has no artefact.json: it is none that"),
        (lambda f: cut(f / NAME), "cannot be read"),
        (lambda f: (f / NAME).write_text("[]"), "cannot be read"),
        (document_with(format=9), "has format 9, this hsjax reads 1: export the run"),
        (document_with(texts=3), "cannot be read"),
        (document_with(taxonomy="0"), "is another tree than the program's"),
        (lambda f: (f / PROGRAM).unlink(), "is missing: copy the whole folder"),
        (lambda f: cut(f / PROGRAM), "is not the file that artefact.json was"),
        (lambda f: cut(f / PARAMETERS), "torn, or of another export"),
        (lambda f: cut(f / "tokenizer.json"), "copy the folder again"),
        (document_with(files={}), ""),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder, tmp_path, change, told):
    if told:
        assert told in broken(folder, tmp_path, change)
        return
    # where nobody has the hashes, what is read still has to be whole
    shutil.copytree(folder, tmp_path / "f")
    change(tmp_path / "f")
    (tmp_path / "f" / PROGRAM).write_bytes(b"nothing of the kind")
    with pytest.raises(ArtefactError, match="cannot be read by jax"):
        hsjax.load_artefact(tmp_path / "f")


def test_other_folders_are_refused_in_words(workdir, tmp_path):
    with pytest.raises(ArtefactError, match="it is a workdir, which hsjax.load"):
        hsjax.load_artefact(workdir)
    with pytest.raises(ArtefactError, match="there is no such folder"):
        hsjax.load_artefact(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "there are no rows"),
        ("goods.csv", "a list of dicts"),
        ({"title": "boots"}, "a list of dicts"),
        (["boots"], "row 1 is 'boots', no dict"),
        ([{"titel": "boots"}], "no row has 'title' or 'brand' or 'image'"),
    ],
)
def test_rows_of_another_kind_are_refused(artefact, rows, told):
    with pytest.raises(ArtefactError, match=told):
        as_rows(rows, artefact.document)


def test_other_mistakes_are_refused(artefact, tmp_path):
    with pytest.raises(ValueError, match="0 < p <= 1"):
        artefact.predict([{"title": "boots"}], confidence=1.5)
    with pytest.raises(ArtefactError, match="image_root"):
        artefact.predict([{"title": "boots"}], image_root=tmp_path / "nowhere")
    answers = artefact.predict([{"title": "boots", "image": np.zeros((3, 3, 3))}])
    assert "give encoded bytes" in answers.notes[0].reason
    answers = artefact.predict([{"title": "boots \ud800\0", "image": png(0)}])
    assert answers.present["image"].all()


def test_what_is_no_classifier_or_would_go_over_something_is_refused(
    workdir, folder, tmp_path
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "novel.txt").write_text("")
    with pytest.raises(PublishedError, match=r"something else \(novel.txt\)"):
        export_artefact(workdir, tmp_path / "full")
    with pytest.raises(PublishedError, match="is a file"):
        export_artefact(workdir, tmp_path / "full" / "novel.txt")
    with pytest.raises(SystemExit, match="no workdir of a run"), user_errors():
        export_artefact(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(SystemExit, match="an artefact, which hsjax"), user_errors():
        export_artefact(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    text = path.read_text().replace('"classification": 1.0', '"classification": 0.0')
    path.write_text(text)
    with pytest.raises(CatalogueError, match="its head was never trained"):
        export_artefact(tmp_path / "run", tmp_path / "out")


def test_an_earlier_artefact_is_replaced(workdir, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / NAME).unlink()  # it was cut off before the last file
    export_artefact(workdir, tmp_path / "out", rows=2)
    again = hsjax.load_artefact(tmp_path / "out")
    assert again.document.rows == 2
    before = hsjax.load_artefact(folder).document
    assert again.document.parameters == before.parameters


@pytest.mark.slow
def test_the_command_exports_an_artefact(workdir, tmp_path):
    flags = f"--run={workdir}", "--artefact", "--rows=2", f"--output={tmp_path / 'a'}"
    process = command(*flags, module="hsjax.export")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == f"all files: {tmp_path / 'a'}\n"
    answers = hsjax.load_artefact(tmp_path / "a").predict([{"title": "boots"}])
    assert len(answers) == 1
    process = command(*flags, "--tower=title", module="hsjax.export")
    assert "of encoders; --artefact" in process.communicate(timeout=300)[1]
