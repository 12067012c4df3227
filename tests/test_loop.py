"""The training loop: when it compiles, stops, refuses, and what it tells."""

import json
import re

import jax
import numpy as np
import pytest
from runs import TEXT, fit_run, metric_lines, parameters, prepare_run, run_config
from test_workdir import values_of
from tiny import bitwise_equal

from hsjax.sharding import parameter_names
from hsjax.taxonomy import Taxonomy
from hsjax.train import loop
from hsjax.train.loop import Diverged
from hsjax.train.start import total_steps, training_mesh
from hsjax.train.warmstart import warm_start
from hsjax.train.workdir import ConfigError


@pytest.fixture(scope="module")
def prepared():
    return prepare_run(run_config(TEXT))


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
    assert made.step._cache_size() == 1
    assert made.validation.answer._cache_size() == 1


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
    order = loop.training_order(prepared.config, prepared.task.train)
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


def test_not_finite(prepared, tmp_path, monkeypatch):
    """Step 3 turns to NaN: the message has its rows, the state is that of step 2."""
    step = loop.make_step

    def planting(*args, **kwargs):
        inner = step(*args, **kwargs)

        def planted(state, running, batch):
            bad = jax.numpy.where(state.step == 2, jax.numpy.nan, 1.0)
            return inner(state, running, {**batch, "weight": batch["weight"] * bad})

        return planted

    two = fit_run(prepared, tmp_path / "two", train__steps=2)
    monkeypatch.setattr(loop, "make_step", planting)
    with pytest.raises(Diverged, match="not finite at step 3") as error:
        fit_run(prepared, tmp_path / "nan", train__steps=3)
    order = loop.training_order(prepared.config, prepared.task.train)
    rows = prepared.task.train_row[order[2]["index"]].tolist()
    assert f"the catalogue rows {rows}" in str(error.value)
    assert metric_lines(tmp_path / "nan") == []
    saved = fit_run(prepared, tmp_path / "nan", train__steps=3)
    assert saved.step == 3
    assert bitwise_equal(saved.state.params, two.state.params)
    assert bitwise_equal(saved.state.opt_state, two.state.opt_state)


def test_a_misspelt_monitor_is_told_before_the_first_step(prepared, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'level3/accuracy'") as error:
        fit_run(prepared, tmp_path, train__monitor="level3/acuracy")
    assert "hierarchical/f1" in str(error.value)
    assert metric_lines(tmp_path) == []


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
        ({"train__data_devices": 9}, "a mesh of 9 x 1 devices, but there are 8"),
        ({"data__batch_size": 12}, "data.batch_size is 12, no multiple of 8 devices"),
    ],
)
def test_meshes_that_do_not_fit(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        training_mesh(run_config(**change))


LOAD = ((".*", "load"),)


def test_warm_start_on_the_same_tree_is_bitwise_the_source(run, prepared):
    source, tree = parameters(run[1].state), prepared.catalogue.tree
    fresh = jax.tree.map(np.zeros_like, source)
    rules = ((r"head/shared.*", "fresh"), *LOAD)
    kept = []
    started = warm_start(source, tree, tree, rules=rules, keep=kept.append)(fresh)
    names = parameter_names(source)
    leaves = [jax.tree.leaves(t) for t in (source, fresh, started)]
    for name, old, new, found in zip(names, *leaves, strict=True):
        expected = new if name.startswith("head/shared") else old
        assert found.dtype == old.dtype
        assert np.array_equal(found, expected), name
    assert kept == [name for name in names if name.startswith("head/shared")]
    assert kept


def test_warm_start_on_an_edited_tree_moves_classes_by_code(run, prepared):
    """One chapter less, one subheading more: columns follow their code."""
    old = prepared.catalogue.tree
    source = parameters(run[1].state)
    gone = old.codes[0][0]
    codes = [c for c in old.codes[2].tolist() if not c.startswith(gone)]
    codes = [*codes, codes[0][:4] + "99"]
    new = Taxonomy.from_paths([(c[:2], c[:4], c) for c in codes])
    made = {
        level: {
            "kernel": np.full((width + above, size), 7.0, np.float32),
            "bias": np.full(size, 7.0, np.float32),
        }
        for level, width, above, size in zip(
            ("level1", "level2", "level3"),
            [source["head"]["level1"]["kernel"].shape[0]] * 3,
            (0, *new.sizes[:-1]),
            new.sizes,
            strict=True,
        )
    }
    fresh = {**source, "head": {**source["head"], **made}}
    started = warm_start(source, old, new, rules=LOAD, keep=print)(fresh)
    width = source["head"]["level1"]["kernel"].shape[0]
    for level in range(3):
        name = f"level{level + 1}"
        found, known = started["head"][name], source["head"][name]
        there = {c: i for i, c in enumerate(old.codes[level].tolist())}
        above = {c: i for i, c in enumerate(old.codes[level - 1].tolist())}
        for i, code in enumerate(new.codes[level].tolist()):
            if code not in there:
                assert code == codes[-1]
                assert (found["bias"][i], found["kernel"][0, i]) == (7.0, 7.0)
                continue
            j = there[code]
            assert found["bias"][i] == known["bias"][j]
            assert np.array_equal(
                found["kernel"][:width, i], known["kernel"][:width, j]
            )
            for row, parent in enumerate(new.codes[level - 1] if level else ()):
                assert (
                    found["kernel"][width + row, i]
                    == known["kernel"][width + above[parent], j]
                )


def test_warm_start_says_what_does_not_fit(run, prepared):
    source, tree = parameters(run[1].state), prepared.catalogue.tree
    wider = {**source, "text": {**source["text"], "position": np.zeros((9, 16))}}
    with pytest.raises(ConfigError, match=r"text/position is \(8, 16\) in init_from"):
        warm_start(source, tree, tree, rules=LOAD)(wider)
    more = {**source, "gate": np.zeros(3)}
    with pytest.raises(ConfigError, match="init_from has no parameter 'gate'"):
        warm_start(source, tree, tree, rules=LOAD)(more)
