"""`bench step` measures two sides that train alike, and says what it needs."""

import jax
import numpy as np
import pytest

from configs.bench_step import get_config
from hsjax.benchmarks import step as bench
from hsjax.benchmarks.peers import peer_device
from hsjax.benchmarks.step import SAME, bench_step, random_batch, same_config
from hsjax.taxonomy import Taxonomy
from hsjax.timing import is_noisy
from hsjax.train.workdir import ConfigError

TINY = {
    "data.batch_size": 4,
    "data.text.length": 8,
    "data.image.resize": (16, 16),
    "data.image.size": (16, 16),
    "model.joint_width": 12,
    "model.text.width": 16,
    "model.text.depth": 2,
    "model.text.mlp": 24,
    "model.image.width": 16,
    "model.image.depth": 2,
    "model.image.mlp": 24,
}


def tiny():
    config = get_config()
    config.update_from_flattened_dict(TINY)
    return config


def test_both_sides_train_alike(monkeypatch):
    torch = pytest.importorskip("torch", reason="the peer of this bench")
    monkeypatch.setattr(torch, "compile", lambda model: model)  # minutes
    found = bench_step(tiny(), rounds=2)
    for way in ("eager", "compiled"):
        assert found[way]["loss_difference"] < 2e-5  # of 4.6, after five updates
        rate = found["batch_size"] * found["steps_per_round"]
        rate /= found[way]["ours_seconds"]
        assert found[way]["ours_per_second"] == pytest.approx(rate)
    assert found["name"] == "step"
    best = found["peer_is"].split(", ")[1]
    assert found["peer"] == max(
        found[way]["peer_per_second"] for way in ("eager", "compiled")
    )
    assert found["ratio"] == found[best]["times_faster"]
    assert found["spread"] == found[best]["times_faster_spread"]
    loads = {"load": 9.0, "load_after": 0.0, "cores": 2}
    assert is_noisy({**found, **loads})


def test_both_sides_train_alike_in_bfloat16(monkeypatch):
    torch = pytest.importorskip("torch", reason="the peer of this bench")
    monkeypatch.setattr(torch, "compile", lambda model: model)  # minutes
    config = tiny()
    config.model.dtype, config.optim.learning_rate = "bfloat16", 1e-5
    with jax.numpy_dtype_promotion("standard"):  # the gradient of masked attention
        found = bench_step(config, rounds=1)
    assert (found["device"], found["dtype"]) == ("cpu", "bfloat16")
    assert found["torch"] == torch.__version__
    # rounded as bfloat16 rounds, so float32 it is not
    assert 1e-6 < found["eager"]["loss_difference"] < 0.05


def test_a_peer_without_the_accelerator_is_told(monkeypatch):
    torch = pytest.importorskip("torch", reason="the peer of this bench")
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch for CUDA"):
        peer_device("step")


def test_what_the_peer_has_no_choice_about_is_set():
    config = tiny().unlock()
    config.model.fusion.kind, config.optim.clip = "late", 1.0
    same = same_config(config)
    assert (same.model.fusion.kind, same.optim.clip) == ("concat", 0.0)
    assert all(same[key] == value for key, value in SAME.items())
    assert same.model.text.width == 16


def test_batches_are_whole_and_differ():
    tree = Taxonomy.from_paths([(f"c{i}",) for i in range(5)])
    first, other = (random_batch(tiny(), tree, seed) for seed in (0, 1))
    bench.batch_spec(tiny()).check(first)
    assert (first["title_ids"] != other["title_ids"]).any()
    assert (first["title_mask"].sum(axis=1) >= 4).all()
    assert not np.any(first["title_ids"][~first["title_mask"]])


@pytest.mark.parametrize(
    ("lacks", "told"), [("find_spec", "pip install torch"), ("which", "install g")]
)
def test_it_says_what_to_install(monkeypatch, lacks, told):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: lacks != "find_spec")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=told):
        bench_step(tiny(), rounds=2)
