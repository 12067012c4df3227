"""Processes that train as one: the numbers of one, whoever is lost or told to stop."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
from runs import (
    ALL_DEVICES,
    ROOT,
    TEXT,
    command,
    metric_lines,
    overrides,
    report,
    run_config,
    train_run,
)

from hsjax.evaluation.predictions import read_predictions
from hsjax.train.checkpoint import checkpoint_steps
from hsjax.train.processes import LOST, _lost, _settings, check_alike, joined_processes
from hsjax.train.workdir import ConfigError

# all that draws, averages or counts over the batch; every other step is saved
RICH = {
    **TEXT,
    **ALL_DEVICES,
    "model.head.norm": "batch",
    "train.ema": 0.9,
    "data.text.word_drop": 0.3,
    "data.weighted_sampling": 0.5,
    "train.steps": 40,
    "train.eval_every": 20,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "train.lost_after": 20,
    "optim.learning_rate": 1e-4,  # Adam makes much of the rounding of small gradients
}
NEAR = 1e-3  # of a probability, after 40 steps of Adam in another order of sums
GRACE = 60  # seconds in which those that are left must have ended


class Process(NamedTuple):
    """One of several, with the file that it speaks to."""

    popen: object
    said: object


@pytest.fixture
def start(tmp_path):
    """`start(count, workdir, changes, own)`: so many commands, which end with the test.

    own: number of a process -> changes for it alone, None = it is not started.
    """
    running = []

    def started(count, workdir, changes=(), *, devices=1, own=()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        found = []
        for number in range(count):
            mine = dict(own).get(number, {})
            if mine is None:
                continue
            told = {
                "JAX_NUM_CPU_DEVICES": str(devices),
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": str(count),
                "JAX_PROCESS_ID": str(number),
            }
            flags = overrides({**RICH, **dict(changes), **mine})
            said = tmp_path / f"said-{len(running)}"
            with said.open("w") as file:
                popen = command(
                    "--config=configs/base.py",
                    f"--workdir={workdir}",
                    *flags,
                    env={**os.environ, **told},
                    streams=file,
                )
            found.append(Process(popen, said))
            running.append(popen)
        return found

    yield started
    for popen in running:
        popen.kill()
        popen.wait()


def ended(processes, within=600) -> list[tuple[int, str]]:
    """(exit code, what it said) of each."""
    limit = time.monotonic() + within
    codes = [p.popen.wait(max(0.1, limit - time.monotonic())) for p in processes]
    return [(c, p.said.read_text()) for c, p in zip(codes, processes, strict=True)]


def wait_for_step(processes, workdir, step):
    while all(p.popen.poll() is None for p in processes):
        lines = metric_lines(workdir)
        if lines and lines[-1]["step"] >= step:
            return
        time.sleep(0.01)
    raise AssertionError([p.said.read_text()[-2000:] for p in processes])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The workdir of one process with one device."""
    workdir = tmp_path_factory.mktemp("alone")
    train_run(run_config({**RICH, "train.data_devices": 1}), workdir)
    return workdir


def assert_same_numbers(alone, other):
    """Losses of the first five steps to 1e-5, of all others to 5e-4.

    Adam divides by the size of a gradient, so that rounding grows with the steps: from
    1e-6 to 1.6e-4 in 40, more on one processor than on another.
    """
    expected, found = metric_lines(alone), metric_lines(other)
    assert [x["step"] for x in found] == [x["step"] for x in expected]
    for a, b in zip(expected, found, strict=True):
        assert a.keys() == b.keys()
        near = 1e-5 if a["step"] <= 5 else 5e-4
        for key in a.keys() & {"train/loss", "val/loss"}:
            np.testing.assert_allclose(b[key], a[key], rtol=near, err_msg=str(a))
    assert report(other)["context"]["step"] == report(alone)["context"]["step"]
    theirs, ours = (read_predictions(x / "predictions.parquet") for x in (alone, other))
    np.testing.assert_allclose(ours.topk_probs, theirs.topk_probs, atol=NEAR)
    clear = theirs.topk_probs[:, 0] - theirs.topk_probs[:, 1] > 2 * NEAR
    answers = ours.topk_codes[:, 0], theirs.topk_codes[:, 0]
    assert (answers[0] == answers[1])[clear].all()
    assert clear.mean() > 0.5


@pytest.mark.slow
def test_four_processes_are_one_and_so_is_what_is_left_of_them(alone, start, tmp_path):
    """One of four is killed; two go on, one of which is told to stop; one ends it."""
    workdir = tmp_path / "run"
    four = start(4, workdir)
    wait_for_step(four, workdir, 7)
    four[2].popen.kill()
    begin = time.monotonic()
    codes = [code for code, _ in ended(four, GRACE)]
    assert time.monotonic() - begin < GRACE
    assert codes[2] == -signal.SIGKILL
    for process in (p for i, p in enumerate(four) if i != 2):
        said = process.said.read_text()
        assert process.popen.returncode in (LOST, -signal.SIGABRT), said
        assert "another process is lost" in said or "another task died" in said
    at = checkpoint_steps(workdir)[-1]
    assert 2 <= at < 40

    # parameters split over both processes, along two axes
    split = {"train.fsdp_devices": 2, "train.tensor_devices": 2}
    two = start(2, workdir, split, devices=2)
    wait_for_step(two, workdir, at + 6)
    two[1].popen.send_signal(signal.SIGTERM)
    told = [(code, said) for code, said in ended(two, GRACE)]
    steps = set()
    for code, said in told:
        assert code == 128 + signal.SIGTERM, said
        assert "Traceback" not in said
        steps |= {*re.findall(r"hsjax: SIGTERM: saved step (\d+)", said)}
    (step,) = map(int, steps)
    assert f"resuming at step {at}" in told[0][1]
    assert checkpoint_steps(workdir)[-1] == step < 40

    train_run(run_config({**RICH, "train.data_devices": 1}), workdir)
    assert_same_numbers(alone, workdir)


@pytest.mark.slow
def test_two_processes_give_the_report_of_one(alone, start, tmp_path):
    workdir = tmp_path / "run"
    (code, said), (other, quiet) = ended(start(2, workdir, devices=2))
    assert code == other == 0, said + quiet
    assert_same_numbers(alone, workdir)
    assert re.search(r"2 processes, 4 devices, 2 of them here", said)
    assert "compiled after warm-up: 0" in said
    assert "# Report" in said
    assert "step" not in quiet, "process 0 speaks for all"
    again = ended(start(2, workdir, devices=2))
    assert [code for code, _ in again] == [0, 0]
    assert "is done: see" in again[0][1]


@pytest.mark.slow
def test_processes_that_differ_are_named(start, tmp_path):
    for code, said in ended(start(2, tmp_path / "a", own={1: {"seed": 1}})):
        assert code == 1
        assert "process 1 has another config than process 0" in said
    (code, said) = ended(start(2, tmp_path / "b", {"task": "check"}))[0]
    assert code == 1
    assert "task=check is done by one process" in said


@pytest.mark.slow
def test_a_process_that_never_comes_is_not_waited_for(start, tmp_path):
    late = {"train.join_timeout": 8}
    ((code, said),) = ended(start(2, tmp_path / "a", late, own={1: None}), 60)
    assert code == LOST
    assert "process 0 of 2: not all have come to 127.0.0.1:" in said


def test_an_error_between_processes_is_known_by_what_it_came_of():
    lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Read error")
    late = TimeoutError("a checkpoint")
    late.__cause__ = lost
    assert _lost(late) == str(lost)
    assert _lost(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")) == ""
    assert _lost(ConfigError("gloo")) == ""


def test_one_process_joins_nobody(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    config = run_config()
    assert _settings(config.train) is None
    with joined_processes(config):
        check_alike({"config": "a"})
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    config.train.processes = 1
    assert _settings(config.train) is None


def test_the_config_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "there:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    train = run_config().train
    told = ("coordinator_address", "num_processes", "process_id")
    assert tuple(map(_settings(train).get, told)) == ("there:1", 4, 3)
    train.update(coordinator="here:2", processes=2, process=0)
    assert tuple(map(_settings(train).get, told)) == ("here:2", 2, 0)
    train.process = 2
    with pytest.raises(ConfigError, match=r"train\.process is 2, of 2 processes"):
        _settings(train)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    train.update(processes=0, process=0)
    with pytest.raises(ConfigError, match="JAX_NUM_PROCESSES is 'two'"):
        _settings(train)


def test_a_cluster_is_asked_where_it_says_that_there_are_several(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert set(_settings(run_config().train).values()) == {None}
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    pod = run_config(train__processes=-1)
    assert set(_settings(pod.train).values()) == {None}


@pytest.mark.slow
def test_the_local_launcher_starts_again_and_hands_a_signal_on(tmp_path):
    """A child is killed: a new start. SIGTERM to the script: saved, and no other."""
    workdir, said = tmp_path / "run", tmp_path / "said"
    flags = overrides({**RICH, "train.steps": 2000, "train.eval_every": 1000})
    words = ["-n", "2", "-d", "1", "-r", "1", "--", "--config=configs/base.py"]
    with said.open("w") as file:
        script = subprocess.Popen(
            ["launch/local.sh", *words, f"--workdir={workdir}", *flags],
            cwd=ROOT,
            env={**os.environ, "PYTHON": sys.executable},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )

    def wait_until(happened):
        while not happened():
            assert script.poll() is None, said.read_text()
            time.sleep(0.1)

    try:
        wait_until(lambda: checkpoint_steps(workdir))
        at = checkpoint_steps(workdir)[-1]
        os.kill(children(script.pid)[1], signal.SIGKILL)
        wait_until(lambda: "new start 1" in said.read_text())
        wait_until(lambda: checkpoint_steps(workdir)[-1] > at + 6)
        script.terminate()
        assert script.wait(GRACE) == 128 + signal.SIGTERM, said.read_text()
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
            script.wait()
    text = said.read_text()
    assert len(re.findall(r"^\[[01]\] hsjax: SIGTERM: saved step \d+", text, re.M)) == 2
    assert text.count("new start") == 1


def children(pid) -> list[int]:
    """Runs that a process has started, oldest first."""
    asked = ["ps", "-o", "pid=,args=", "--ppid", str(pid)]
    listed = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    return sorted(int(line.split()[0]) for line in listed if "hsjax.main" in line)
