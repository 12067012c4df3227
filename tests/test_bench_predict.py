"""`bench predict` measures a run that reads as the loop does, and refuses others."""

import csv
import time

import pytest
from encoders import path_of
from pyarrow.parquet import read_metadata
from runs import TEXT, run_config, train_run

from hsjax.benchmarks.catalogue import bench_predict, write_texts
from hsjax.data.quarantine import CatalogueError
from hsjax.prediction import answering_run, catalogue
from hsjax.train.workdir import ConfigError


def trained(shop, bert, workdir):
    encoder = {"model.text.published": str(bert), "data.text.tokenizer": "published"}
    train_run(run_config({**path_of(shop), **TEXT, **encoder}), workdir)
    return workdir


def test_every_row_is_answered_by_both(shop, bert, tmp_path):
    pytest.importorskip("torch", reason="the peer of this bench")
    run = trained(shop, bert, tmp_path / "run")
    found = bench_predict(run, shop, items=40, rounds=2)
    assert (found["name"], found["items"], found["answered"]) == ("predict", 40, 40)
    assert found["ratio"] == found["predict"]["times_faster"]
    assert found["ours"] == pytest.approx(40 / found["predict"]["ours_seconds"])
    assert found["peer"] == pytest.approx(40 / found["predict"]["peer_seconds"])
    assert len(list(tmp_path.iterdir())) == 1  # its files are gone


def test_all_of_a_call_counts_but_loading(shop, bert, tmp_path, monkeypatch):
    """Each stage of ours takes hours more, by a clock that they move on."""
    pytest.importorskip("torch", reason="the peer of this bench")
    run = trained(shop, bert, tmp_path / "run")
    clock, late = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])

    def slow(place, name, hours):
        whole = getattr(place, name)

        def slower(*args, **kwargs):
            late[0] += 3600 * hours
            return whole(*args, **kwargs)

        monkeypatch.setattr(place, name, slower)

    slow(answering_run, "load_run", 1000)
    slow(answering_run, "run_facts", 1)
    slow(catalogue.Answering, "ask", 10)
    slow(catalogue, "assemble", 20)
    slow(catalogue, "keep_audit", 40)
    found = bench_predict(run, shop, items=20, rounds=1)["predict"]
    assert round(found["ours_seconds"] / 3600) == 1 + 10 + 20 + 40
    assert found["peer_seconds"] < 3600


def test_both_read_the_same_file(shop, tmp_path):
    goods = tmp_path / "goods.csv"
    assert write_texts(shop, goods, ["title", "brand"], 7) == 7
    with goods.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["title", "brand"]
    assert len(rows) == 7
    assert all(row["title"] for row in rows)
    assert write_texts(shop, goods, ["title"], 0) == read_metadata(shop).num_rows
    empty = tmp_path / "empty.csv"
    empty.write_text("title\n")
    with pytest.raises(CatalogueError, match="no rows"):
        write_texts(empty, goods, ["title"], 0)


def test_what_it_cannot_stand_beside_is_told(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("hsjax.benchmarks.catalogue.check_torch", lambda name: None)
    both = run_config({**path_of(shop), "train.steps": 1, "train.eval_every": 1})
    train_run(both, tmp_path / "both")
    with pytest.raises(CatalogueError, match="one text stream.*reads.*image"):
        bench_predict(tmp_path / "both", shop, items=4, rounds=1)


def test_a_missing_peer_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        bench_predict(tmp_path, tmp_path, items=4, rounds=1)
