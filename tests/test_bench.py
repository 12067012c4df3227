"""Benches run as a command, and say when their figures are not to be quoted."""

import json
import os
import time

import numpy as np
import pytest
from encoders import extraction
from runs import TEXT, command, overrides

from hsjax.benchmarks.encode import SENTENCES, bench_encode, largest_difference
from hsjax.benchmarks.input import timed_rounds
from hsjax.data.quarantine import CatalogueError
from hsjax.decodes import DECODES
from hsjax.timing import alternate, is_noisy, summary

CORES, PINNED = os.cpu_count(), "all cores, not pinned"
if hasattr(os, "sched_setaffinity"):
    CORES = len(os.sched_getaffinity(0))
    PINNED = f"pinned to {min(CORES, 2)}"


def result(process, path):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(path.read_text())


@pytest.mark.slow
def test_both_benches(tmp_path):
    (tmp_path / "tree.csv").write_text("code,name\n010121,horse\n020110,beef\n")
    tree = (f"--taxonomy={tmp_path}/tree.csv", "--rows=16", "--rounds=7")
    loader = ("--config=configs/base.py", *overrides(TEXT), "--rounds=7")
    processes = [
        command(name, *flags, f"--json={tmp_path}/{name}", module="hsjax.bench")
        for name, flags in (("tree", tree), ("input", loader))
    ]
    tree, loader = (
        result(p, tmp_path / name)
        for p, name in zip(processes, ("tree", "input"), strict=True)
    )
    for found in (tree, loader):
        assert found["rounds"] == 7
        assert found["threads"] == PINNED
        assert found["cores"] == CORES
        assert found["noisy"] == is_noisy(found)
    assert tree["nodes"] == [2, 2, 2]
    decodes = {f"decode_{name}" for name in DECODES}
    measured = {k for k, v in tree.items() if isinstance(v, dict)}
    assert measured == {"node_log_probs", "loss_gradient", *decodes}
    rates = [v["median"] for k, v in loader.items() if k.endswith("per_second")]
    assert len(rates) == 3
    # whatever else runs: together is no faster than the slower of the two, by much
    assert rates[2] < 2 * min(rates[:2])


class Clock:
    """Stands still, but for what is said to take time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds


def test_turns_alternate_and_the_first_is_no_measurement(monkeypatch):
    clock, turns = Clock(monkeypatch), []

    def side(name, durations):
        durations = iter(durations)
        return lambda: (turns.append(name), clock.spend(next(durations)))

    found = alternate(side("a", [90, 2, 4, 6]), side("b", [1, 1, 1, 2]), rounds=3)
    assert turns == ["a", "b"] * 4
    assert (found["ours_seconds"], found["peer_seconds"]) == (4, 1)
    assert found["ratio"] == 3  # of 2, 4 and 3
    assert found["ratio_quartiles"] == [2.5, 3.5]


def test_rates_and_the_share_of_waiting(monkeypatch):
    clock = Clock(monkeypatch)

    def batches():
        while True:
            clock.spend(1)
            yield 0

    def work(batch):
        clock.spend(3)

    rates, waited = timed_rounds(batches(), work, rows=8, rounds=3)
    assert (rates["median"], rates["spread"]) == (2, 0)  # 8 rows in 4 s
    assert waited == 0.25


def test_few_rounds_are_refused():
    process = command("tree", "--taxonomy=x", "--rounds=6", module="hsjax.bench")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "rounds" in err


@pytest.mark.parametrize(
    ("load", "rounds", "noisy"),
    [
        (1.0, [1.0, 1.0, 1.1], False),
        (2.6, [1.0, 1.0, 1.1], True),
        (1.0, [1, 2, 3], True),
    ],
)
@pytest.mark.parametrize("when", ["load", "load_after"])
def test_load_and_rounds_that_disagree_are_noise(when, load, rounds, noisy):
    spread = {f"ratio_{k}": v for k, v in summary(rounds).items()}
    loads = {"load": 0.0, "load_after": 0.0, when: load}
    assert is_noisy({**loads, "cores": 2, "decode": spread}) == noisy


def test_summary():
    assert summary([1.0, 2.0, 3.0, 4.0, 5.0]) == {
        "median": 3.0,
        "quartiles": [2.0, 4.0],
        "spread": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize("modality", ["title", "image"])
def test_an_encoder_is_measured_beside_the_same_one_in_pytorch(
    shop, bert, resnet, modality
):
    pytest.importorskip("torch", reason="the peer of this bench is not installed")
    encoder = {"title": bert, "image": resnet}[modality]
    config = extraction(shop, encoder, modality)
    found = bench_encode(config, items=9, rounds=2)
    assert found["items"] == 9
    peers = [found[key] for key in found if key.startswith("transformers")]
    assert len(peers) == {"title": 2, "image": 1}[modality]
    for peer in peers:
        assert peer["largest_difference"] < 1e-5
        assert peer["times_faster"] == pytest.approx(1 / peer["ratio"])
        assert peer["ours_per_second"] == pytest.approx(9 / peer["ours_seconds"])


def test_unit_vectors_are_compared_with_unit_vectors():
    ours = np.random.default_rng(0).normal(size=(5, 3))
    theirs = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    assert largest_difference(SENTENCES, ours, theirs) < 1e-12
    assert largest_difference("transformers", ours, theirs) > 0.1


def test_a_pool_that_no_peer_has_is_refused(shop, bert):
    config = extraction(shop, bert, "title", pool="max")
    with pytest.raises(CatalogueError, match="by mean and cls, not by max"):
        bench_encode(config, items=9, rounds=2)


def test_without_a_peer_it_says_what_to_install(shop, bert, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CatalogueError, match="pip install torch"):
        bench_encode(extraction(shop, bert, "title"), items=9, rounds=2)
