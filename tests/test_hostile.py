"""200 hostile or broken catalogues: a sentence or answers, and no row is lost."""

import csv
import functools

import pyarrow.parquet as pq
import pytest
from hostile import KINDS, SECRET, make
from runs import run_config, train_run

from hsjax.data.cells import write_csv
from hsjax.data.quarantine import CatalogueError
from hsjax.inference.predict import load_run
from hsjax.prediction import answering_run
from hsjax.prediction.audit_record import audit_path
from hsjax.prediction.catalogue import predict_catalogue
from hsjax.prediction.output import quarantine_path

SEEDS = 40  # of each kind


@pytest.fixture(scope="module")
def seeing(shop, tmp_path_factory):
    """Of titles and pictures."""
    workdir = tmp_path_factory.mktemp("seeing")
    config = run_config(
        {
            "optim.schedule": "constant",
            "model.modalities": ("title", "image"),
            "data.columns.image": "image",
            "data.columns.id": "id",
            "data.columns.label": ("hs_code",),
            "data.path": str(shop),
            "data.rows": 150,
            "eval.batch_size": 8,
            "train.steps": 2,
        }
    )
    train_run(config, workdir)
    return workdir


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """As a user would find the model again for each of 200 files."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(lambda workdir: load_run(workdir))
        patch.setattr(answering_run, "load_run", lambda folder, **_: once(folder))
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_no_traceback_no_escape_no_lost_row(seeing, tmp_path, kind):
    answered = 0
    for seed in range(SEEDS):
        folder = tmp_path / str(seed) / "shop"
        folder.parent.mkdir()
        source, intact = make(kind, seed, folder)
        output = folder.parent / "codes.parquet"
        try:
            done = predict_catalogue(seeing, source, output)
        except CatalogueError as error:
            told = str(error)
            assert source.name in told, f"{kind} {seed}: {told}"
            assert not output.exists()
            # where rows are sound, one flaw does not cost the file
            assert not intact, f"{kind} {seed}: {told}"
            continue
        answered += 1
        rows = pq.read_table(output)
        numbers, ids = rows["row"].to_pylist(), set(rows["id"].to_pylist())
        with quarantine_path(output).open(newline="", encoding="utf-8") as file:
            notes = list(csv.DictReader(file))
        dropped = [int(x["row"]) for x in notes if x["action"] == "dropped"]
        every = sorted(numbers + dropped)
        assert every == list(range(1, len(every) + 1)), f"{kind} {seed}"
        assert done.rows == len(numbers)
        assert intact <= ids, f"{kind} {seed}: {sorted(intact - ids)}"
        # an answer, or why there is none
        for pred, reason in zip(rows["pred"], rows["reason"], strict=True):
            assert bool(pred.as_py()) != bool(reason.as_py())
        if kind not in ("parquet", "files"):  # nothing there is a picture
            assert not any(rows["has_image"].to_pylist()), f"{kind} {seed}"
        left = {p.name for p in folder.parent.iterdir()}
        assert left <= {"shop", SECRET, output.name, f"{output.name}.parts"} | {
            quarantine_path(output).name,
            audit_path(output).name,
        }
    assert answered or kind == "junk"


def test_no_csv_has_a_formula_and_none_is_half_written(tmp_path):
    path = tmp_path / "told.csv"
    write_csv(path, ["=id", "words"], [["=1+1", -2.5], ["+a", "boot"]])
    with path.open(newline="", encoding="utf-8") as file:
        assert [*csv.reader(file)] == [
            ["'=id", "words"],
            ["'=1+1", "-2.5"],
            ["'+a", "boot"],
        ]

    def rows():
        yield ["new", "row"]
        raise OSError("disk full")

    before = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        write_csv(path, ["id", "words"], rows())
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
