"""Benches run as a command, and say when their figures are not to be quoted."""

import importlib.util
import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from encoders import extraction
from runs import TEXT, command, prepare_run, run_config
from tiny import ragged_tree, random_logits

from hsjax.benchmarks import loader
from hsjax.benchmarks.decode import bench_decode, segment_path
from hsjax.benchmarks.decoder import decoders
from hsjax.benchmarks.embed import SENTENCES, bench_embed, largest_difference
from hsjax.benchmarks.loader import bench_loader, timed_rounds, torch_loader
from hsjax.data.examples import assemble
from hsjax.data.pixels import ImageError
from hsjax.data.quarantine import CatalogueError
from hsjax.decodes import DECODES, exact_path
from hsjax.timing import headline, is_noisy, summary, times_faster
from hsjax.train.workdir import ConfigError

CORES, PINNED = os.cpu_count(), "all cores, not pinned"
if hasattr(os, "sched_setaffinity"):
    CORES = len(os.sched_getaffinity(0))
    PINNED = f"pinned to {min(CORES, 2)}"


def result(process, path):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_tree_beside_a_softmax(tmp_path):
    (tmp_path / "tree.csv").write_text("code,name\n010121,horse\n020110,beef\n")
    flags = (f"--taxonomy={tmp_path}/tree.csv", "--rows=16", "--rounds=7")
    told = f"--json={tmp_path}/told"
    process = command("decode", *flags, told, module="hsjax.bench")
    found = result(process, tmp_path / "told")
    assert (found["name"], found["rounds"]) == ("decode", 7)
    assert found["threads"] == PINNED
    assert found["cores"] == CORES
    assert found["noisy"] == is_noisy(found)
    assert found["nodes"] == [2, 2, 2]
    decodes = {f"decode_{name}" for name in DECODES}
    measured = {k for k, v in found.items() if isinstance(v, dict)}
    assert measured == {"node_log_probs", "loss_gradient", "segment_sums", *decodes}
    held = found["temporary_bytes"] / 16 / 6  # rows, nodes
    assert found["temporary_bytes_per_row_and_node"] == held
    assert found["ratio"] == found["decode_path"]["times_faster"]
    assert found["ours"] == 160 / found["decode_path"]["ours_seconds"]


@pytest.mark.parametrize("depth", [2, 4])
def test_the_path_by_segments_is_the_same(depth):
    tree = ragged_tree(depth, depth=depth)
    logits = random_logits(tree, 50, seed=1)
    assert np.array_equal(segment_path(logits, tree), exact_path(logits, tree))


def test_a_tree_of_a_run_is_one_for_the_bench_of_decodes(tmp_path):
    ragged_tree(0).save(tmp_path / "taxonomy.json")
    found = bench_decode(tmp_path / "taxonomy.json", rows=8, rounds=2)
    assert found["nodes"] == [*ragged_tree(0).sizes]


def few(shop):
    """150 titles of a file."""
    label = {"data.columns.label": ("hs_code",), "data.columns.id": "id"}
    return {**TEXT, **label, "data.path": str(shop), "data.rows": 150}


def test_the_loader_beside_torchs(shop, monkeypatch):
    pytest.importorskip("torch", reason="the peer of this bench is not installed")
    monkeypatch.setattr(loader, "TURN", 20)  # more than an epoch
    found = bench_loader(run_config(few(shop)), rounds=2)
    rates = [v["median"] for k, v in found.items() if k.endswith("per_second")]
    assert len(rates) == 3
    # whatever else runs: together is no faster than the slower of the two, by much
    assert rates[2] < 2 * min(rates[:2])
    assert found["ratio"] == found["beside_torch"]["times_faster"]
    assert found["peer"] > 0


def test_the_limit_of_a_loader_is_of_processes_that_decode():
    """One picture that cannot be read: the processes do look at all of them."""
    config = run_config({"data.rows": 60, "model.modalities": ("image",)})
    examples = prepare_run(config).parts.train
    with decoders(examples, pictures=50) as decode:
        assert min(decode() for _ in range(2)) > 1
    broken = replace(examples, images=[b"no picture"] * len(examples))
    with (
        pytest.raises(ImageError, match="not an image"),
        decoders(broken, pictures=50) as decode,
    ):
        decode()


def test_torch_is_given_the_very_examples(shop):
    torch = pytest.importorskip("torch", reason="the peer of this bench")
    examples = prepare_run(run_config(few(shop))).parts.train
    batch = next(iter(torch_loader(examples, 16)))
    index = batch["index"].numpy()
    expected = assemble(examples, index, index)
    assert len(set(index.tolist())) == 16
    for name, array in expected.items():
        assert torch.equal(batch[name], torch.from_numpy(array)), name


def test_a_loader_without_its_peer_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install torch"):
        bench_loader(run_config(TEXT), rounds=2)


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

    found = times_faster(side("a", [90, 1, 1, 2]), side("b", [1, 2, 4, 6]), rounds=3)
    assert turns == ["a", "b"] * 4
    assert (found["ours_seconds"], found["peer_seconds"]) == (1, 4)
    assert found["times_faster"] == 3  # of 2, 4 and 3
    assert found["times_faster_quartiles"] == [2.5, 3.5]
    assert headline("x", 12, found, peer_is="b") == {
        "name": "x",
        "peer_is": "b",
        "ours": 12,
        "peer": 3,
        "ratio": 3,
        "spread": pytest.approx(1 / 3),
    }


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
    process = command("decode", "--taxonomy=x", "--rounds=6", module="hsjax.bench")
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
    spread = {f"times_faster_{k}": v for k, v in summary(rounds).items()}
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
    found = bench_embed(config, items=9, rounds=2)
    assert found["items"] == 9
    peers = [found[key] for key in found if key.startswith("transformers")]
    assert len(peers) == {"title": 2, "image": 1}[modality]
    for peer in peers:
        assert peer["largest_difference"] < 1e-5
        assert peer["ours_per_second"] == pytest.approx(9 / peer["ours_seconds"])


def test_unit_vectors_are_compared_with_unit_vectors():
    ours = np.random.default_rng(0).normal(size=(5, 3))
    theirs = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    assert largest_difference(SENTENCES, ours, theirs) < 1e-12
    assert largest_difference("transformers", ours, theirs) > 0.1


def test_a_pool_that_no_peer_has_is_refused(shop, bert):
    config = extraction(shop, bert, "title", pool="max")
    with pytest.raises(CatalogueError, match="by mean and cls, not by max"):
        bench_embed(config, items=9, rounds=2)


def test_without_a_peer_it_says_what_to_install(shop, bert, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install torch"):
        bench_embed(extraction(shop, bert, "title"), items=9, rounds=2)
