"""`bench heads`: both sides learn the same rows, and are timed and scored as said."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoders import path_of
from runs import command, overrides, report, run_config, train_run

from hsjax.benchmarks import heads as module
from hsjax.benchmarks.heads import Side, bench_heads, our_side, scores_of, stacked
from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import load_records
from hsjax.data.store import add_part, start_store
from hsjax.timing import times_faster
from hsjax.train.devices import set_up_jax
from hsjax.train.workdir import ConfigError
from hsjax.trained.opening import resolved
from hsjax.trained.training_data import scored_rows
from hsjax.tree.node_codes import node_codes

SIZE = 24
HEADS = {
    "model.modalities": ("title",),
    "objective.contrastive": 0.0,
    "train.steps": 60,
    "optim.learning_rate": 1e-2,
}


def store_titles(path, folder):
    """Titles of a shop's file as vectors that tell the label."""
    config = run_config(path_of(path))
    records = load_records(config.data, quarantine=Quarantine())
    rng, seen = np.random.default_rng(0), {}
    meaning = {}
    for r in records:
        vector = meaning.setdefault(r.path[-1], rng.normal(size=SIZE))
        if key := text_key(r.texts["title"]):
            seen.setdefault(key, vector + 0.3 * rng.normal(size=SIZE))
    start_store(folder, {"shape": [SIZE]})
    add_part(folder, list(seen), np.stack(list(seen.values())).astype(np.float32))
    return {**path_of(path), **HEADS, "data.features.title": str(folder)}


@pytest.fixture(scope="module")
def changes(shop, tmp_path_factory):
    return store_titles(shop, tmp_path_factory.mktemp("store") / "title")


@pytest.fixture(scope="module")
def config(changes):
    return run_config(changes)


def test_both_sides_learn(config):
    pytest.importorskip("hiclass")
    found = bench_heads(config, rows=0, rounds=1)
    catalogue = read_catalogue(config)
    assert found["training_rows"] == len(catalogue.rows("train"))
    assert found["features"] == SIZE
    assert found["ours"] == pytest.approx(1 / found["fit"]["ours_seconds"])
    for side in ("ours", "peer"):
        assert found["scores"][side]["hierarchical_f1"] > 0.6
        assert 0 < found["scores"][side]["path_accuracy"] <= 1


def test_the_command_prints_one_object(changes):
    pytest.importorskip("hiclass")
    flags = overrides({**changes, "train.steps": 5})
    asked = ("heads", "--config=configs/base.py", *flags, "--train_rows=50")
    process = command(*asked, "--rounds=7", module="hsjax.bench")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert {"name", "ours", "peer", "spread", "ratio"} <= found.keys()
    assert (found["name"], found["rounds"]) == ("heads", 7)
    assert found["training_rows"] == 50
    assert found["peer_is"].startswith("hiclass ")
    for part in ("fit", "predict"):
        low, high = found[part]["times_faster_quartiles"]
        assert low <= found[part]["times_faster"] <= high
    low, high = found["fit"]["times_faster_quartiles"]
    assert found["ratio"] == found["fit"]["times_faster"]
    assert found["spread"] == pytest.approx((high - low) / found["ratio"])
    assert found["ours"] == pytest.approx(1 / found["fit"]["ours_seconds"])


class Clock:
    """Stands still, but for what is said to take time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def side(self, durations):
        durations = iter(durations)

        def work():
            self.now += next(durations)

        return work


# of ours and the peer; the first turn of each is no measurement
OURS, PEER = [9, 1, 4, 2], [9, 3, 4, 16]


def test_the_ratio_is_the_median_of_those_of_the_rounds(monkeypatch):
    clock = Clock(monkeypatch)
    found = times_faster(clock.side(OURS), clock.side(PEER), rounds=3)
    assert (found["ours_seconds"], found["peer_seconds"]) == (2, 4)
    assert found["times_faster"] == 3  # of 3, 1 and 8, where 4 / 2 is 2
    assert found["times_faster_quartiles"] == [2, 5.5]
    assert found["times_faster_spread"] == pytest.approx(3.5 / 3)
    # of an even number of rounds the median of one ratio is not one over the other's
    found = times_faster(clock.side(OURS[:3]), clock.side(PEER[:3]), rounds=2)
    assert found["times_faster"] == 2


def test_ratio_and_spread_are_of_the_same_rounds(config, monkeypatch):
    catalogue = read_catalogue(config)
    test = catalogue.rows("test")
    truth = node_codes(catalogue.tree, catalogue.labels[test])
    clock = Clock(monkeypatch)
    ours = [clock.side(x) for x in ([5, *OURS], [5, *[1] * 5])]
    peer = [clock.side(x) for x in (PEER, [2] * 5)]
    for name, (fit, answer) in (("our_side", ours), ("hiclass_side", peer)):
        side = Side(fit, lambda answer=answer: (answer(), truth)[1])
        monkeypatch.setattr(module, name, lambda *_, side=side, **__: side)
    monkeypatch.setattr(module, "_peer", lambda: SimpleNamespace(__version__="1"))
    found = bench_heads(config, rows=0, rounds=3)
    assert (found["ours"], found["peer"]) == (1 / 2, 1 / 4)
    assert (found["ratio"], found["spread"]) == (3, pytest.approx(3.5 / 3))
    assert found["predict"]["times_faster"] == 2
    assert (found["ours_first_seconds"], found["peer_jobs"]) == (10, 1)
    assert found["scores"]["ours"]["hierarchical_f1"] == 1


def test_labels_and_vectors_are_the_catalogue_s(config):
    catalogue = read_catalogue(config)
    rows = catalogue.rows("test")
    truth = node_codes(catalogue.tree, catalogue.labels[rows])
    for row, codes in zip(rows, truth, strict=True):
        path = catalogue.records[row].path
        assert tuple(c for c in codes if c) == path
    assert stacked(config, catalogue, rows).shape == (len(rows), SIZE)
    right = scores_of(catalogue, rows, truth)
    assert right == {"hierarchical_f1": 1.0, "path_accuracy": 1.0}
    nothing = np.full_like(truth, "")
    assert scores_of(catalogue, rows, nothing)["hierarchical_f1"] == 0


@pytest.fixture(scope="module")
def rough_shop(shop, tmp_path_factory):
    """Labels that are unknown below 4 digits, and some that training has not seen."""
    folder = tmp_path_factory.mktemp("rough")
    table = pq.read_table(shop)
    codes = table["hs_code"].to_pylist()
    parts = [("train", "train", "val", "test")[i % 4] for i in range(len(codes))]
    for i, part in enumerate(parts):
        if i % 5 == 0:
            codes[i] = codes[i][:4]
        elif part == "test" and i % 3 == 0:
            codes[i] = codes[i][:4] + "99"
    for name, values in (("hs_code", codes), ("part", parts)):
        if name in table.column_names:
            table = table.drop([name])
        table = table.append_column(name, pa.array(values, pa.string()))
    pq.write_table(table, folder / "shop.parquet")
    changes = store_titles(folder / "shop.parquet", folder / "title")
    official = {"data.columns.split": "part", "data.split.by": "column"}
    return {**changes, **official, "train.eval_every": 60}


def test_scores_are_those_of_the_report(rough_shop, tmp_path):
    config, encoders = resolved(run_config(rough_shop))
    set_up_jax(config)
    catalogue = read_catalogue(config)
    test = scored_rows(config, catalogue)
    records = [catalogue.records[i] for i in test]
    assert not all(r.complete for r in records), "some are unknown below 4 digits"
    assert catalogue.outside[test].any()
    ours = our_side(config, catalogue, encoders, catalogue.rows("train"), test)
    ours.fit()
    answer = ours.predict()
    train_run(config, tmp_path / "run")
    told = report(tmp_path / "run")["metrics"]
    found = scores_of(catalogue, test, answer)
    assert found["hierarchical_f1"] == pytest.approx(told["hierarchical/f1"], abs=1e-6)
    assert found["path_accuracy"] == pytest.approx(told["path/accuracy"], abs=1e-6)
    # labels cut to the tree, and answers below what is known, are another score
    cut = node_codes(catalogue.tree, catalogue.labels[test])
    shared = ((answer == cut) & (cut != "")).sum()
    plain = 2 * shared / ((answer != "").sum() + (cut != "").sum())
    assert abs(plain - told["hierarchical/f1"]) > 0.01


def test_raw_modalities_are_refused(config, monkeypatch):
    """Before the peer is asked for."""
    monkeypatch.setattr(module, "_peer", None)
    raw = config.copy_and_resolve_references().unlock()
    raw.data.features.title = ""
    with pytest.raises(ConfigError, match="and title is raw: name its store"):
        bench_heads(raw.lock(), rows=0, rounds=1)
