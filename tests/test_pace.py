"""Between two looks the host only hands out work: it copies and awaits nothing."""

import json

import jax
import numpy as np
import pytest
from jax._src.array import ArrayImpl
from runs import TEXT, fit_run, prepare_run, run_config

from hsjax.sharding import place_batch
from hsjax.train import loop
from hsjax.train.devices import training_mesh
from hsjax.train.objective import make_objective
from hsjax.train.start import (
    empty_running,
    initial_state,
    training_order,
    training_step,
)


@pytest.fixture(scope="module")
def prepared():
    return prepare_run(run_config(TEXT))


def test_state_and_running_means_are_overwritten(prepared):
    config, parts = prepared.config, prepared.parts
    mesh, spec = training_mesh(config), parts.train.spec
    state, shardings, optimizer = initial_state(
        config, prepared.model, spec, mesh, steps=10
    )
    objective = make_objective(config.objective, parts.tree, ("title",))
    given = config, prepared.model, objective, optimizer, shardings, mesh
    step, running = training_step(*given), empty_running(config, mesh)
    batch = place_batch(training_order(config, parts.train)[0], mesh)
    after = step(state, running, batch)
    assert all(x.is_deleted() for x in jax.tree.leaves((state, running)))
    assert not any(x.is_deleted() for x in jax.tree.leaves((after, batch)))


def reads_of(prepared, workdir, monkeypatch, steps):
    """How often the host read an array of the device in a run with one look."""
    reads, read = [], ArrayImpl._value
    value = property(lambda self: reads.append(self.shape) or read.fget(self))
    with monkeypatch.context() as patch:
        patch.setattr(ArrayImpl, "_value", value)
        changes = {"train__log_every": steps, "train__eval_every": steps}
        fit_run(prepared, workdir, train__steps=steps, **changes)
    return len(reads)


def test_the_host_reads_nothing_in_a_step(prepared, tmp_path, monkeypatch):
    few = reads_of(prepared, tmp_path / "few", monkeypatch, 2)
    many = reads_of(prepared, tmp_path / "many", monkeypatch, 9)
    assert few == many > 0


def test_the_next_batch_is_on_its_way_before_a_look(prepared, tmp_path, monkeypatch):
    told, place, look = [], loop.place_batch, loop._Run.look

    def placing(batch, mesh):
        told.append("place")
        return place(batch, mesh)

    def looking(self, *args):
        told.append("look")
        return look(self, *args)

    monkeypatch.setattr(loop, "place_batch", placing)
    monkeypatch.setattr(loop._Run, "look", looking)
    fit_run(prepared, tmp_path, train__steps=4, train__log_every=2)
    # of steps 1 and 2, and that of step 3; none is made in vain at the end
    assert told == [*("place",) * 3, "look", "place", "look"]


def test_lines_tell_the_speed_of_the_model(prepared, tmp_path):
    fit_run(prepared, tmp_path, train__steps=4, train__log_every=2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    looks = [x for x in map(json.loads, lines) if "train/loss" in x]
    spec, config = prepared.parts.train.spec, prepared.config
    forward = prepared.model.flops(spec, config.data.batch_size)
    for line in looks:
        rate = line["examples_per_second"] / config.data.batch_size
        expected = 3 * sum(forward.values()) * rate
        np.testing.assert_allclose(line["model_flops_per_second"], expected)
        assert "mfu" not in line  # nobody knows the peak of a CPU
