"""Checkpoints: a run that was cut off goes on as if it never had been."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import (
    ALL_DEVICES,
    TEXT,
    command,
    final_state,
    fit_run,
    metric_lines,
    overrides,
    prepare_run,
    run_config,
)
from tiny import bitwise_equal, largest_difference

from hsjax.interrupts import interrupts_told
from hsjax.train import loop
from hsjax.train.checkpoint import CheckpointError, Checkpoints, checkpoint_steps
from hsjax.train.termination import Interrupted, TerminationFlag, interrupts_ignored
from hsjax.train.workdir import holds_results

# everything that a state can hold: averages, BatchNorm statistics, dropout, sampling
RICH = {
    **TEXT,
    "optim.schedule": "cosine",
    "model.head.norm": "batch",
    "train.ema": 0.9,
    "data.text.word_drop": 0.3,
    "data.weighted_sampling": 0.5,
    **ALL_DEVICES,
}


# what Myntra's config adds: crops and flips, statistics of pictures, two losses
JOINT = {
    "model.modalities": ("title", "image"),
    "model.image.norm": "batch",
    "model.modality_dropout": 0.3,
    "model.text.bag": 8,
    "objective.contrastive": 0.1,
}


@pytest.fixture(scope="module")
def prepared():
    return prepare_run(run_config(RICH))


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """(workdir, finished) of ten uninterrupted steps."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, fit_run(prepared, workdir)


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the finished workdir, to be damaged."""
    return Path(shutil.copytree(whole[0], tmp_path / "copy"))


@pytest.fixture
def record_batches(monkeypatch):
    """The index of every batch that is placed for a step."""
    seen, place = [], loop.place_batch

    def recording(batch, mesh):
        seen.append(batch["index"].tolist())
        return place(batch, mesh)

    monkeypatch.setattr(loop, "place_batch", recording)
    return seen


def stop_at(monkeypatch, step, number=signal.SIGTERM):
    """A signal comes while this step is computed, and the next one's batch placed."""
    place, count = loop.place_batch, iter(range(1000))

    def placing(batch, mesh):
        if next(count) == step:
            os.kill(os.getpid(), number)
        return place(batch, mesh)

    monkeypatch.setattr(loop, "place_batch", placing)


@pytest.mark.slow
def test_a_joint_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    joint = prepare_run(run_config({**RICH, **JOINT}))
    fit_run(joint, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Interrupted, match="saved step 7 in"):
            fit_run(joint, tmp_path / "cut")
    fit_run(joint, tmp_path / "cut")
    there, here = (final_state(joint, tmp_path / x) for x in ("whole", "cut"))
    assert there[0] == here[0] == 10
    assert bitwise_equal(there[1], here[1])


@pytest.mark.parametrize("step", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_ten_steps_are_some_a_sigterm_and_the_rest(
    prepared, whole, tmp_path, monkeypatch, record_batches, step
):
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Interrupted, match=f"saved step {step} in"):
            fit_run(prepared, tmp_path)
    at, _, position = final_state(prepared, tmp_path)
    assert (at, position["examples_seen"]) == (step, step * 16)
    del record_batches[step:]  # placed for a step that never came
    finished = fit_run(prepared, tmp_path)
    assert len(record_batches) == 10
    order = loop.training_order(prepared.config, prepared.parts.train)
    assert record_batches == [order[k]["index"].tolist() for k in range(10)]
    there, here = final_state(prepared, whole[0]), final_state(prepared, tmp_path)
    assert there[0] == here[0] == 10
    assert bitwise_equal(there[1], here[1])
    assert there[2] == here[2]
    assert finished.step == whole[1].step
    lines = metric_lines(tmp_path)
    if step == 5:  # a stop between two looks adds a line and divides the next
        assert lines == metric_lines(whole[0])
    assert (tmp_path / "best.json").read_text() == (whole[0] / "best.json").read_text()


def test_ctrl_c_saves_as_sigterm_does_and_a_second_one_ends_at_once(
    prepared, tmp_path, monkeypatch
):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        stop_at(patch, 3, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="SIGINT: saved step 3 in"):
            fit_run(prepared, tmp_path)
    assert final_state(prepared, tmp_path)[0] == 3
    with TerminationFlag() as flag:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert flag.came == signal.SIGINT
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_an_ignored_ctrl_c_stays_ignored():
    """As a shell starts what it is told to do in the background."""
    with interrupts_ignored():
        with TerminationFlag() as flag:
            signal.raise_signal(signal.SIGINT)
        assert flag.came is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_leaves_signals_alone():
    """Only a process's main thread may handle them, and a run may be in another."""

    def run():
        with interrupts_ignored(), interrupts_told(), TerminationFlag() as flag:
            return flag.came, signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run).result() == (None, signal.default_int_handler)


@pytest.mark.slow
def test_a_run_without_extras_resumes_bit_for_bit(tmp_path, monkeypatch):
    plain = prepare_run(run_config(TEXT))
    fit_run(plain, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(Interrupted):
            fit_run(plain, tmp_path / "parts")
    fit_run(plain, tmp_path / "parts")
    states = [final_state(plain, tmp_path / name)[1] for name in ("whole", "parts")]
    assert states[0].stats == {}
    assert states[0].ema == ()
    assert bitwise_equal(*states)
    assert metric_lines(tmp_path / "whole") == metric_lines(tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_command_goes_on_after_kill_9(tmp_path, seed):
    """SIGKILL anywhere between two random steps; everything but clocks is the same."""
    fast = {"train.steps": 40, "train.eval_every": 4, "train.log_every": 4}
    flags = overrides({**RICH, **fast})
    base = "--config=configs/base.py"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out, err = command(base, f"--workdir={whole}", *flags).communicate()
    assert (whole / "report.json").exists(), err
    after = random.Random(seed).randrange(1, 9) * 4
    for attempt in (after, None):
        process = command(base, f"--workdir={killed}", *flags)
        if attempt:
            kill_after(process, killed, attempt, random.Random(seed + 7).random() / 5)
            assert process.returncode == -signal.SIGKILL
            assert not (killed / "report.json").exists()
        else:
            process.communicate()
            assert process.returncode == 0
    assert metric_lines(whole) == metric_lines(killed)
    assert (whole / "best.json").read_text() == (killed / "best.json").read_text()
    rich = prepare_run(run_config({**RICH, **fast}))
    states = [final_state(rich, workdir)[1] for workdir in (whole, killed)]
    assert bitwise_equal(*states)


def kill_after(process, workdir, step, delay):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = metric_lines(workdir)
        if lines and lines[-1]["step"] >= step:
            time.sleep(delay)
            process.kill()
            break
        time.sleep(0.01)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGINT, 2)]
)
def test_a_signal_ends_the_command_with_a_sentence(tmp_path, number, workers):
    """As a terminal does it, Ctrl-C reaches the workers, too."""
    fast = {"train.steps": 100000, "train.log_every": 1, "data.workers": workers}
    base = ["--config=configs/base.py", f"--workdir={tmp_path}"]
    process = command(*base, *overrides({**TEXT, **fast}), start_new_session=True)
    while process.poll() is None and not metric_lines(tmp_path):
        time.sleep(0.05)
    send = os.killpg if number == signal.SIGINT else os.kill
    send(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    (told,) = [line for line in err.splitlines() if line.startswith("hsjax: ")]
    assert told.startswith(f"hsjax: {number.name}: saved step")
    assert "Traceback" not in err
    assert checkpoint_steps(tmp_path)


@pytest.mark.slow
def test_a_checkpoint_moves_to_another_mesh(prepared, whole, copy, monkeypatch):
    shutil.rmtree(copy / "checkpoints/10")
    placed, place = [], loop.place_batch
    monkeypatch.setattr(
        loop,
        "place_batch",
        lambda batch, mesh: placed.append(mesh) or place(batch, mesh),
    )
    fit_run(prepared, copy, train__data_devices=2)
    assert [mesh.size for mesh in placed] == [2] * 5
    there, here = final_state(prepared, whole[0])[1], final_state(prepared, copy)[1]
    assert largest_difference(there.params, here.params) <= 1e-4
    assert largest_difference(there.ema, here.ema) <= 1e-4
    losses = [
        [line["train/loss"] for line in metric_lines(w) if "train/loss" in line]
        for w in (whole[0], copy)
    ]
    assert len(losses[0]) == len(losses[1]) == 2
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_a_damaged_checkpoint_is_skipped(prepared, whole, copy, caplog):
    for file in filter(Path.is_file, (copy / "checkpoints/10/state").rglob("*")):
        os.truncate(file, file.stat().st_size // 2)
    with caplog.at_level("WARNING", logger="hsjax"):
        finished = fit_run(prepared, copy)
    assert re.search(r"checkpoint 10 in .* cannot be read: .*; skipped", caplog.text)
    aside = copy / "checkpoints/damaged-10"
    assert f"checkpoint 10 is kept as {aside}" in caplog.text
    assert (aside / "state").is_dir()
    assert finished.step == whole[1].step
    there, here = final_state(prepared, whole[0]), final_state(prepared, copy)
    assert here[0] == 10
    assert bitwise_equal(there[1], here[1])
    assert metric_lines(copy) == metric_lines(whole[0])


def test_checkpoints_that_cannot_be_read_are_kept_and_named(prepared, copy):
    for file in (copy / "checkpoints").glob("*/data/metadata"):
        os.truncate(file, 10)
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[5, 10\]"):
        fit_run(prepared, copy)
    assert sorted(p.name for p in (copy / "checkpoints").iterdir()) == ["10", "5"]


def folders(workdir):
    return sorted(p.name for p in (workdir / "checkpoints").iterdir())


def a_state():
    return {"kernel": jnp.arange(100.0), "step": jnp.int32(3)}


def saved(workdir, *values):
    """A workdir with a checkpoint per monitored value, at steps 1, 2, ..."""
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        for step, value in enumerate(values, start=1):
            checkpoints.save(step, a_state(), {"manifest": "m"}, value)
        checkpoints.write_best("accuracy")
    return workdir


def tear(workdir, step):
    for file in filter(
        Path.is_file, (workdir / f"checkpoints/{step}/state").rglob("*")
    ):
        os.truncate(file, 0)


@pytest.mark.parametrize(("value", "named"), [(0.5, 1), (None, None)])
def test_best_json_never_names_a_damaged_checkpoint(tmp_path, value, named):
    best = saved(tmp_path, value, 0.9) / "best.json"
    assert json.loads(best.read_text())["step"] == 2
    tear(tmp_path, 2)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.restore_latest(a_state())[0] == 1
        checkpoints.write_best("accuracy")
        assert checkpoints.best_step() == 1
    assert (json.loads(best.read_text())["step"] if best.exists() else None) == named
    assert folders(tmp_path) == ["1", "damaged-2"]


def test_a_step_that_is_damaged_twice_is_kept_twice(tmp_path):
    saved(tmp_path, 0.1, 0.2)
    for name in ("damaged-2", "damaged-2-2", "damaged-2-3"):
        tear(tmp_path, 2)
        with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
            assert checkpoints.restore_latest(a_state())[0] == 1
            checkpoints.save(2, a_state(), {"manifest": "m"}, 0.2)
        assert {"1", "2", name} <= set(folders(tmp_path))


@pytest.mark.parametrize(
    "error", [MemoryError(), jax.errors.JaxRuntimeError("oom"), OSError(5, "I/O error")]
)
def test_what_is_not_the_fault_of_the_file_touches_nothing(
    tmp_path, monkeypatch, error
):
    saved(tmp_path, 0.1, 0.2)
    checkpoints = Checkpoints(tmp_path)

    def failing(*args, **kwargs):
        raise error

    monkeypatch.setattr(checkpoints._manager, "restore", failing)
    with pytest.raises(type(error)):
        checkpoints.restore_latest(a_state())
    checkpoints.close()
    assert folders(tmp_path) == ["1", "2"]


def test_a_best_checkpoint_that_cannot_be_read_is_named(tmp_path):
    saved(tmp_path, 0.1, 0.2)
    tear(tmp_path, 2)
    with (
        contextlib.closing(Checkpoints(tmp_path)) as checkpoints,
        pytest.raises(CheckpointError, match="checkpoint 2 in .* cannot be read"),
    ):
        checkpoints.restore_parameters({"kernel": a_state()["kernel"]})
    os.truncate(tmp_path / "checkpoints/1/metrics/metrics", 3)
    with pytest.raises(CheckpointError, match="metrics of a checkpoint cannot be read"):
        Checkpoints(tmp_path)


def test_reading_makes_nothing_and_takes_no_half_written_checkpoint(tmp_path):
    half = tmp_path / "half/checkpoints/3.orbax-checkpoint-tmp-7"
    half.mkdir(parents=True)
    for workdir in (tmp_path / "empty", tmp_path / "half"):
        assert checkpoint_steps(workdir) == []
        with pytest.raises(FileNotFoundError, match="no checkpoint in .*checkpoints"):
            Checkpoints(workdir, read_only=True)
        assert not holds_results(workdir)
    assert half.is_dir()
    assert not (tmp_path / "empty").exists()


def test_checkpoints_are_read_from_a_folder_that_nobody_may_write(
    tmp_path, monkeypatch
):
    saved(tmp_path, 0.2, 0.1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def refused(self, *args, **kwargs):
        raise PermissionError(f"{self} is made")

    monkeypatch.setattr(Path, "mkdir", refused)
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints:
        like = {"kernel": a_state()["kernel"]}
        step, found = checkpoints.restore_parameters(like)
    assert (step, found["kernel"].tolist()) == (1, a_state()["kernel"].tolist())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
