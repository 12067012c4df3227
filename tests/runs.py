"""Tiny runs on the synthetic catalogue, and what several proofs need of them."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from configs.base import get_config
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.inference.predict import vocabulary
from hsjax.models.build import Model, build_model
from hsjax.tasks import registry as tasks
from hsjax.train.checkpoint import Checkpoints
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.loop import Finished, fit
from hsjax.train.start import TrainingParts, initial_state
from hsjax.train.validation import Validation
from hsjax.train.watch import read_metrics

ROOT = Path(__file__).parents[1]

SMALL = {
    "data.synthetic.products": 200,
    "data.columns.text": ("title", "brand"),
    "data.batch_size": 16,
    "data.text.length": 8,
    "data.text.vocab_size": 300,
    "data.image.resize": (18, 18),
    "data.image.size": (16, 16),
    "model.joint_width": 16,
    "model.text.width": 16,
    "model.text.depth": 1,
    "model.text.heads": 2,
    "model.text.mlp": 16,
    "model.image.stages": (1,),
    "model.image.widths": (8,),
    "model.head.width": 16,
    "train.steps": 10,
    "train.eval_every": 5,
    "train.log_every": 5,
    "train.tensorboard": False,
    "train.data_devices": 1,  # half the compilation of eight
    "train.compile_cache": os.environ["HSJAX_TEST_COMPILED"],
    "eval.bootstrap": 20,
    "eval.batch_size": 64,
}
TEXT = {  # compiles fastest; a constant rate fits any number of steps
    "model.modalities": ("title",),
    "objective.contrastive": 0.0,
    "optim.schedule": "constant",
}
ALL_DEVICES = {"train.data_devices": 0}
TIMES = ("examples_per_second", "model_flops_per_second", "input_wait")


def run_config(changes=(), /, **more):
    """The default config made tiny; keys are dotted, or with `__` as keywords."""
    config = get_config()
    dotted = {key.replace("__", "."): value for key, value in more.items()}
    config.update_from_flattened_dict({**SMALL, **dict(changes), **dotted})
    return config.lock()


class Prepared(NamedTuple):
    """What `fit` needs, read and built once."""

    config: object
    catalogue: Catalogue
    model: Model
    parts: TrainingParts


def prepare_run(config) -> Prepared:
    set_up_jax(config)
    catalogue = read_catalogue(config)
    vocab_size = vocabulary(catalogue.tokenizer)
    model = build_model(config, catalogue.spec, catalogue.tree, vocab_size=vocab_size)
    return Prepared(config, catalogue, model, tasks.training_parts(config, catalogue))


def fit_run(prepared: Prepared, workdir: Path, /, **changes) -> Finished:
    """`fit` with some keys changed that leave data and model alone."""
    config = prepared.config.copy_and_resolve_references()
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    config.update_from_flattened_dict(dotted)
    workdir.mkdir(parents=True, exist_ok=True)
    return fit(config, workdir, prepared.model, prepared.parts, training_mesh(config))


def final_state(prepared: Prepared, workdir: Path, **changes):
    """(step, state, position) of the newest checkpoint."""
    config = prepared.config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    like, _, _ = initial_state(
        config,
        prepared.model,
        prepared.parts.train.spec,
        training_mesh(config),
        steps=10,
    )
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        return checkpoints.restore_latest(like)


def train_run(config, workdir: Path) -> str:
    """The whole task, and what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        tasks.TASKS[config.task](config, workdir)
    return printed.getvalue()


def metric_lines(workdir: Path) -> list[dict]:
    """metrics.jsonl without what the clock says."""
    lines = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def report(workdir: Path) -> dict:
    return json.loads((workdir / "report.json").read_text())


def parameters(state) -> dict:
    return jax.tree.map(np.asarray, state.params)


def command(
    *arguments, module="hsjax.main", streams=subprocess.PIPE, **kwargs
) -> subprocess.Popen:
    """`python -m hsjax.main ...` on its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        stdout=streams,
        stderr=streams,
        text=True,
        **kwargs,
    )


def overrides(changes=(), /) -> list[str]:
    """`--config.KEY=VALUE` for the base config made tiny."""
    flat = {**SMALL, **dict(changes)}
    return [f"--config.{key}={value}" for key, value in flat.items()]


def sentence(config, workdir) -> str:
    """What a user is told who runs this config: one line, no traceback."""
    with pytest.raises(SystemExit) as stop, tasks.user_errors():
        tasks.TASKS[config.task](config, workdir)
    assert str(stop.value.code).startswith("hsjax: ")
    return str(stop.value.code)


def values_of(monkeypatch, values):
    """Lets validation find these monitored values, one after the other."""
    left = iter(values)
    monkeypatch.setattr(Validation, "monitored", lambda self, metrics: next(left))
    monkeypatch.setattr(Validation, "warm_up", lambda self, state: None)
