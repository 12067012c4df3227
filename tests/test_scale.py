"""Configs of large runs: where each parameter lies, and that their step compiles."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import AbstractMesh
from runs import ALL_DEVICES, TEXT, command, overrides, run_config

from hsjax.benchmarks import ahead
from hsjax.data.examples import batch_spec
from hsjax.models.build import build_model
from hsjax.sharding import AXES, parameter_names, parameter_specs
from hsjax.train.workdir import ConfigError

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden/sharding"
WRITE = "HSJAX_WRITE_GOLDEN"
SCALE = sorted(p.stem for p in (ROOT / "configs/scale").glob("[a-z]*.py"))
SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))


def spec_table(config) -> str:
    """A line per parameter, layers of a tower as one: name, shape, spec."""
    train, tree = config.train, ahead.built_in_tree(config)
    sizes = train.data_devices or 1, train.fsdp_devices, train.tensor_devices
    spec = batch_spec(config, tree)
    model = build_model(config, spec, tree, vocab_size=ahead.vocabulary_of(config))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), spec.padding(2))
    specs = parameter_specs(params, train.sharding, AbstractMesh(sizes, AXES))
    is_spec = lambda x: isinstance(x, jax.sharding.PartitionSpec)  # noqa: E731
    rows = zip(
        parameter_names(params),
        jax.tree.leaves(params),
        jax.tree.leaves(specs, is_leaf=is_spec),
        strict=True,
    )
    lines = {
        re.sub(r"layer\d+", "layer*", name): f"{tuple(x.shape)} {tuple(s)}"
        for name, x, s in rows
    }
    mesh = ", ".join(f"{a} {n}" for a, n in zip(AXES[1:], sizes[1:], strict=True))
    return "\n".join([mesh, "", *(f"{k} {v}" for k, v in lines.items()), ""])


@pytest.mark.parametrize("name", SCALE)
def test_every_parameter_lies_where_it_was_agreed(name):
    config = importlib.import_module(f"configs.scale.{name}").get_config()
    path, text = GOLDEN / f"{name}.txt", spec_table(config)
    if os.environ.get(WRITE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    told = f"where this is intended: {WRITE}=1 python -m pytest tests/test_scale.py"
    assert text == path.read_text(), told
    if config.train.fsdp_devices > 1:  # no large parameter lies whole on a device
        assert re.search(r"layer\*/mlp_in/kernel \(\d+, \d+\) \(.*'fsdp'", text)


def test_a_step_is_compiled_for_the_devices_that_are_here():
    config = run_config({**TEXT, **ALL_DEVICES, "train.fsdp_devices": 2})
    found = ahead.bench_ahead(config, ahead.HERE)
    assert (found["devices"], found["batch_size"]) == (8, 16)
    assert found["mesh"] == {"data": 4, "fsdp": 2, "tensor": 1}
    assert found["libtpu"] is None
    sizes = found["bytes_per_device"]
    # two moments of each parameter, halves of some
    assert 3 * 4 * found["parameters"] / 2 < sizes["argument"]
    assert sizes["together"] >= sizes["argument"]
    assert found["flops_per_device"] > 0


def test_without_the_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'hsjax\[tpu\]'"):
        ahead.bench_ahead(run_config(), "v5e:2x4")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the compiler of TPUs, is not installed: pip install 'hsjax[tpu]'",
)
def test_a_step_is_compiled_for_a_tpu_that_is_not_here(tmp_path):
    small = ("--config=configs/base.py", *overrides({**TEXT, **ALL_DEVICES}))
    asked = {"v5e:2x4": ("--config=configs/scale/v5e_8.py",), "v5e:3x5": small}
    told = f"--json={tmp_path}/found"
    runs = [
        command("compile", f"--topology={name}", *flags, told, module="hsjax.bench")
        for name, flags in asked.items()
    ]
    (_, err), (_, wrong) = (run.communicate(timeout=900) for run in runs)
    assert runs[0].returncode == 0, err
    found = json.loads((tmp_path / "found").read_text())
    assert (found["device"], found["devices"]) == ("TPU v5 lite", 8)
    config = importlib.import_module("configs.scale.v5e_8").get_config()
    assert found["mesh"]["fsdp"] == config.train.fsdp_devices > 1
    assert found["batch_size"] == config.data.batch_size
    assert found["bytes_per_device"]["together"] < 16 * 2**30
    assert found["compile_seconds"] > 0
    assert runs[1].returncode == 1
    assert "hsjax: --topology=v5e:3x5: " in wrong


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_says_how_it_is_used_and_is_strict(path):
    text = path.read_text()
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", path], check=True)
    assert os.access(path, os.X_OK)
    if path.name != "slurm.sh":  # which hands all to hsjax.main
        done = subprocess.run([path], capture_output=True, text=True)
        assert done.returncode == 2
        assert "usage: " in done.stderr


def test_names_that_the_manifest_and_the_scripts_share():
    """What the environment is called, here and in `hsjax.train.processes`."""
    manifest = (ROOT / "launch/gke.yaml").read_text()
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        assert f"name: {name}\n" in manifest
        assert name in (ROOT / "launch/local.sh").read_text()
    assert "kind: JobSet" in manifest


def test_a_run_fills_in_the_manifest():
    words = ["launch/gke.sh", "-p", "run-1", "there/hsjax:tpu", "--", "--workdir=/a b"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    for part in (
        "  name: run-1\n",
        "value: run-1-run-0-0.run-1:8476",
        "image: there/hsjax:tpu\n",
        'args: ["--workdir=/a b"]\n',
    ):
        assert part in done.stdout
    words[2] = "No Name"
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == 2


KUBECTL = """#!/usr/bin/env bash
# a cluster in files: `plan` is what it says of a JobSet, a line each time, or down
set -e
cd "$(dirname "$0")"
echo "$*" >>asked
case $1 in
  get)
    if [[ ! -e jobset ]]; then
      [[ $* == *--ignore-not-found* ]]
      exit
    fi
    word=$(head -n 1 jobset)
    if (($(wc -l <jobset) > 1)); then sed -i 1d jobset; fi
    [[ $word != down ]]
    printf %s "$word"
    ;;
  apply)
    cat >/dev/null
    if [[ ! -e jobset ]]; then cp plan jobset; fi
    ;;
  delete) rm jobset ;;
esac
"""


@pytest.fixture
def cluster(tmp_path):
    """`gke(*plan)`: (how the script ends, what the cluster was asked)."""
    for name, text in (("kubectl", KUBECTL), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHON": sys.executable, "PATH": path}

    def gke(*plan):
        (tmp_path / "plan").write_text("\n".join(plan) + "\n")
        (tmp_path / "asked").write_text("")
        words = ["launch/gke.sh", "run-1", "there/hsjax:tpu", "--", "--workdir=/a"]
        options = {"capture_output": True, "text": True, "timeout": 30}
        done = subprocess.run(words, cwd=ROOT, env=environment, **options)
        asked = (tmp_path / "asked").read_text().splitlines()
        return done.returncode, [line.split()[0] for line in asked]

    return gke


def test_a_run_that_has_ended_is_started_again_by_the_same_command(cluster, tmp_path):
    assert cluster("", "Failed") == (1, ["get", "apply", "get", "get"])
    anew = ["get", "delete", "apply", "get"]
    assert cluster("", "", "Completed") == (0, [*anew, "get", "get"])
    assert cluster("Failed") == (1, anew)


def test_a_run_that_is_under_way_is_waited_for(cluster, tmp_path):
    (tmp_path / "jobset").write_text("\n\nCompleted\n")
    assert cluster("Failed") == (0, ["get", "apply", "get", "get"])


def test_a_cluster_may_be_out_of_reach_for_a_while(cluster, tmp_path):
    assert cluster("", *["down"] * 9, "", *["down"] * 9, "Completed")[0] == 0
    (tmp_path / "jobset").unlink()
    assert cluster("", "down") == (75, ["get", "apply", *["get"] * 11])
    assert cluster("") == (1, ["get"])  # nothing is known yet, and nothing was begun
