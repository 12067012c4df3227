"""The training loop: when it compiles, stops, refuses, and what it tells."""

import json
import math
import re

import jax
import numpy as np
import pytest
from runs import (
    ALL_DEVICES,
    TEXT,
    final_state,
    fit_run,
    metric_lines,
    prepare_run,
    run_config,
    values_of,
)
from tiny import bitwise_equal

from hsjax.data import batches
from hsjax.train import loop, start
from hsjax.train.devices import training_mesh
from hsjax.train.diverged import Diverged
from hsjax.train.start import few_steps_told, rows_of_batch, tell_rules, total_steps
from hsjax.train.validation import Validation
from hsjax.train.watch import headline, left_out_steps, tell_parameters
from hsjax.train.workdir import ConfigError


@pytest.fixture(scope="module")
def prepared():
    return prepare_run(run_config({**TEXT, **ALL_DEVICES}))


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    """(workdir, finished, loop object) of a run with two evaluations."""
    made, workdir = [], tmp_path_factory.mktemp("run")

    class Recorded(loop._Run):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_Run", Recorded)
        changes = {"train__tensorboard": True, "train__monitor": "loss"}
        finished = fit_run(prepared, workdir, **changes)
    return workdir, finished, made[0]


def test_one_program_per_step_and_none_after_warm_up(run):
    _, finished, made = run
    assert finished.compiles == 0
    assert made.step._cache_size() == 0  # compiled ahead, not by its first call
    assert made.validation.answer._cache_size() == 1


@pytest.mark.parametrize("at", [1, 3, 7])
def test_what_compiles_after_warm_up_is_counted(prepared, tmp_path, monkeypatch, at):
    """From step 1 on, not from the first evaluation on."""
    place, steps = loop.place_batch, iter(range(1, 100))

    def placing(batch, mesh):
        if next(steps) == at:
            jax.jit(lambda x: x * 2 + 1).lower(np.float32(0)).compile()
        return place(batch, mesh)

    monkeypatch.setattr(loop, "place_batch", placing)
    assert fit_run(prepared, tmp_path).compiles == 1
    # nothing was left to be done: nothing was counted
    assert fit_run(prepared, tmp_path).compiles is None


def test_what_the_first_evaluation_compiles_is_no_recompile(
    prepared, tmp_path, monkeypatch
):
    save, compiled = loop._Run.save, []

    def saving(self, state, monitor=None):
        if len(compiled) < limit:
            compiled.append(jax.jit(lambda x: x + 2).lower(np.float32(0)).compile())
        return save(self, state, monitor)

    monkeypatch.setattr(loop._Run, "save", saving)
    limit = 1
    assert fit_run(prepared, tmp_path / "first").compiles == 0
    limit = 3  # the second evaluation is like the first
    assert fit_run(prepared, tmp_path / "both").compiles == 1
    assert len(compiled) == 3


def test_metrics_are_written_for_programs_and_tensorboard(run):
    workdir, _, _ = run
    lines = metric_lines(workdir)
    assert [line["step"] for line in lines] == [5, 5, 10, 10]
    training, validation = lines[2], lines[3]
    assert training.keys() == {
        "step",
        "train/loss",
        "train/classification",
        "train/gradient_norm",
    }
    assert {"val/loss", "val/level3/accuracy", "val/hierarchical/f1"} <= set(validation)
    events = list((workdir / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"val/hierarchical/f1" in events[0].read_bytes()


def test_monitor_loss_picks_the_lowest(run):
    workdir, finished, _ = run
    losses = {
        x["step"]: x["val/loss"] for x in metric_lines(workdir) if "val/loss" in x
    }
    assert len(losses) == 2
    assert finished.step == min(losses, key=losses.get)
    best = json.loads((workdir / "best.json").read_text())
    assert best == {
        "step": finished.step,
        "monitor": "loss",
        "value": min(losses.values()),
    }


def test_the_loss_starts_at_the_mean_of_log_siblings(prepared, tmp_path):
    """The head starts at zero: every sibling is equally likely."""
    fit_run(prepared, tmp_path, train__steps=1, train__log_every=1)
    order = loop.training_order(prepared.config, prepared.parts.train)
    tree, labels = prepared.catalogue.tree, order[0]["labels"]
    expected = 0.0
    for level in range(tree.num_levels):
        parents = tree.parents[level]
        children = np.bincount(parents) if level else np.array([tree.sizes[0]])
        expected += np.log(children[parents[labels[:, level]] if level else 0]).mean()
    first = metric_lines(tmp_path)[0]["train/classification"]
    assert abs(first - expected) <= 0.01 * expected


def test_patience(prepared, tmp_path, monkeypatch):
    values_of(monkeypatch, [0.1, 0.5, 0.5, 0.4, 0.9, 1.0])
    changes = {"train__eval_every": 1, "train__patience": 2}
    finished = fit_run(prepared, tmp_path, **changes)
    assert finished.step == 2
    assert metric_lines(tmp_path)[-1]["step"] == 4
    # the decision is part of the state: going on stays where it is
    again = fit_run(prepared, tmp_path, **changes)
    assert again.step == 2
    assert metric_lines(tmp_path)[-1]["step"] == 4


def plant_nan(monkeypatch, *, at):
    """The loss of the step after `at` steps is not finite."""
    step = start.make_step

    def planting(*args, **kwargs):
        inner = step(*args, **kwargs)

        def planted(state, running, batch):
            bad = jax.numpy.where(state.step == at, jax.numpy.nan, 1.0)
            return inner(state, running, {**batch, "weight": batch["weight"] * bad})

        return planted

    monkeypatch.setattr(start, "make_step", planting)


def test_not_finite(prepared, tmp_path, monkeypatch):
    """Step 3 turns to NaN: the message has its rows, the state is that of step 2."""
    fit_run(prepared, tmp_path / "two", train__steps=2)
    plant_nan(monkeypatch, at=2)
    with pytest.raises(Diverged, match="not finite at step 3") as error:
        fit_run(prepared, tmp_path / "nan", train__steps=3)
    order = loop.training_order(prepared.config, prepared.parts.train)
    known = {r.row: r.id for r in prepared.catalogue.records}
    learnt = prepared.parts.train_records
    rows = [learnt[i].row for i in order[2]["index"].tolist()]
    ids = [known[row] for row in rows]
    assert f"the catalogue rows {rows}, with the ids {ids}" in str(error.value)
    assert ids != list(map(str, rows))
    assert metric_lines(tmp_path / "nan") == [{"step": 3, "not_finite": 1.0}]
    (_, two, _), (step, saved, _) = (
        final_state(prepared, tmp_path / name) for name in ("two", "nan")
    )
    assert step == saved.step == 3
    assert bitwise_equal(saved.params, two.params)
    assert bitwise_equal(saved.opt_state, two.opt_state)


def test_a_step_that_was_left_out_stays_known(prepared, tmp_path, monkeypatch):
    """Between two looks other steps follow; the same command then goes on past it."""
    plant_nan(monkeypatch, at=1)
    with pytest.raises(Diverged, match="not finite at step 2"):
        fit_run(prepared, tmp_path)
    assert final_state(prepared, tmp_path)[0] == 5
    fit_run(prepared, tmp_path)
    assert {"step": 2, "not_finite": 1.0} in metric_lines(tmp_path)
    told = left_out_steps(tmp_path)
    assert "were left out" in told
    assert told.endswith("each: 2.")
    assert left_out_steps(tmp_path / "another") == ""


@pytest.mark.parametrize("weighted", [0.0, 0.5])
def test_rows_of_a_batch_are_known_without_assembling_it(
    prepared, monkeypatch, weighted
):
    config = run_config(TEXT, data__weighted_sampling=weighted)
    examples = prepared.parts.train
    order = loop.training_order(config, examples)
    expected = [order[k]["index"] for k in range(12)]
    monkeypatch.delattr(batches, "assemble")
    for k in range(12):
        np.testing.assert_array_equal(rows_of_batch(config, examples, k), expected[k])


def test_a_misspelt_monitor_is_told_before_the_first_step(prepared, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'level3/accuracy'") as error:
        fit_run(prepared, tmp_path, train__monitor="level3/acuracy")
    assert "hierarchical/f1" in str(error.value)
    assert metric_lines(tmp_path) == []


def test_a_monitor_that_the_first_batch_cannot_show_is_known(
    prepared, tmp_path, monkeypatch, caplog
):
    """Its one product has neither a rival for retrieval nor a label of six digits."""
    rows = prepared.parts.val_rows
    truth, complete = rows.truth.copy(), rows.complete.copy()
    truth[0, 2], complete[0] = "", False
    rows = rows._replace(truth=truth, complete=complete)
    parts = prepared.parts._replace(val_rows=rows)
    one = prepared._replace(parts=parts)
    changes = {"train__steps": 1, "eval__batch_size": 1, "train__data_devices": 1}
    fit_run(one, tmp_path, train__monitor="digits6/accuracy", **changes)
    assert not caplog.records
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 1


def test_a_monitor_that_is_never_measured_is_told(
    prepared, tmp_path, monkeypatch, caplog
):
    measure = Validation._measure

    def unmeasured(self, *args):
        return measure(self, *args) | {"retrieval/text_to_image_r1": math.nan}

    monkeypatch.setattr(Validation, "_measure", unmeasured)
    fit_run(prepared, tmp_path, train__monitor="retrieval/text_to_image_r1")
    told = [x.getMessage() for x in caplog.records if "train.monitor" in x.getMessage()]
    assert len(told) == 2  # at each evaluation
    assert "can be measured by retrieval/text_to_image_r1" in told[0]
    assert not (tmp_path / "best.json").exists()


@pytest.mark.parametrize(
    ("steps", "epochs", "rows", "expected"),
    [(7, 3.0, 100, 7), (0, 1.0, 100, 7), (0, 0.5, 100, 4), (0, 0.001, 100, 1)],
)
def test_total_steps(steps, epochs, rows, expected):
    config = run_config(train__steps=steps, train__epochs=epochs)
    assert total_steps(config, rows) == expected  # of 16 examples each


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train__data_devices": 9}, "a mesh of 9 x 1 x 1 devices, but there are 8"),
        ({"data__batch_size": 12}, "data.batch_size is 12, no multiple of 8 devices"),
    ],
)
def test_meshes_that_do_not_fit(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        training_mesh(run_config(ALL_DEVICES, **change))


def test_the_log_shows_five_figures_of_validation(prepared, tmp_path, caplog):
    monitor = "level1/weighted_f1"
    with caplog.at_level("INFO", "hsjax"):
        fit_run(prepared, tmp_path, train__steps=5, train__monitor=monitor)
    (told,) = [x.getMessage() for x in caplog.records if "val/" in x.getMessage()]
    names = ["loss", "level3/accuracy", "level3/macro_f1", "hierarchical/f1", monitor]
    assert re.findall(r"  (\S+) [-\d.e]+", told) == [f"val/{name}" for name in names]
    assert len(metric_lines(tmp_path)[-1]) > 30  # the file has everything


def test_the_deepest_level_is_the_deepest_number():
    values = {f"val/level{k}/accuracy": k / 10 for k in (2, 10, 9)}
    assert headline(values, "loss") == {"val/level10/accuracy": 1.0}
    values = {"train/loss": 1.0, "input_wait": 0.1}
    assert headline(values, "loss") == values


def test_parameters_are_told_by_module_and_listed_in_a_file(tmp_path, caplog):
    shape = jax.ShapeDtypeStruct((3, 400), np.float32)
    params = {"head": {"a": shape, "b": {"kernel": shape}}, "text": {"bias": shape}}
    with caplog.at_level("INFO", "hsjax"):
        tell_parameters(params, tmp_path)
    (record,) = caplog.records
    assert record.getMessage() == "3,600 parameters: head 2,400, text 1,200"
    text = (tmp_path / "parameters.txt").read_text()
    assert "head/b/kernel" in text
    assert "Total: 3,600" in text


def test_too_few_steps_are_told():
    told = few_steps_told(run_config(train__steps=0, train__epochs=2.0), 80)
    assert told.startswith("only 10 steps in all, as there are 80 examples")
    assert not few_steps_told(run_config(train__steps=10), 80)  # as was asked for
    assert not few_steps_told(run_config(train__steps=0, train__epochs=40.0), 80)


def test_what_the_rules_freeze_and_what_they_miss_is_told(caplog):
    shape = jax.ShapeDtypeStruct((3, 400), np.float32)
    params = {"head": {"a": shape, "b": {"kernel": shape}}, "text": {"bias": shape}}

    def told(*rules):
        caplog.clear()
        with caplog.at_level("INFO", "hsjax"):
            tell_rules(run_config(optim__rules=rules).optim, params)
        return [(x.levelname, x.getMessage()) for x in caplog.records]

    rest = (".*", 1.0, True)
    assert told(*run_config().optim.rules) == []
    assert told(("head/b.*|text/.*", 0.0, True), rest) == [
        (
            "INFO",
            "optim.rules train 1,200 of 3,600 parameters; frozen: head 1,200, text"
            " 1,200",
        )
    ]
    ((level, line),) = told(rest, ("text/.*", 0.0, True))
    assert level == "WARNING"
    assert "'text/.*' decides for no parameter; earlier rules match first" in line
