"""Workdirs: what may change when a run goes on, what is kept, which step is best."""

import json
import re

import numpy as np
import pytest
from runs import TEXT, fit_run, prepare_run, run_config

from hsjax.taxonomy import Taxonomy
from hsjax.train.loop import fit
from hsjax.train.start import training_mesh
from hsjax.train.validation import Validation
from hsjax.train.workdir import (
    WorkdirError,
    config_hash,
    is_done,
    keep_taxonomy,
    open_workdir,
    read_config,
)


@pytest.fixture(scope="module")
def prepared():
    return prepare_run(run_config(TEXT))


def values_of(monkeypatch, values):
    """Lets validation find these monitored values, one after the other."""
    left = iter(values)
    monkeypatch.setattr(Validation, "monitored", lambda self, metrics: next(left))
    monkeypatch.setattr(Validation, "warm_up", lambda self, state: None)


def steps_on_disk(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


def test_best_and_latest_are_kept(prepared, tmp_path, monkeypatch):
    # 0.9 is no float32: the tie must not count as an improvement
    values_of(monkeypatch, [0.3, 0.9, 0.9, 0.5, 0.4])
    finished = fit_run(prepared, tmp_path, train__eval_every=2)
    assert steps_on_disk(tmp_path) == [4, 8, 10]
    assert finished.step == 4
    assert int(finished.state.step) == 4
    best = json.loads((tmp_path / "best.json").read_text())
    assert best == {"step": 4, "monitor": "hierarchical/f1", "value": 0.9}


def test_killed_between_checkpoint_and_best_json(prepared, tmp_path, monkeypatch):
    values_of(monkeypatch, [0.3, 0.9, 0.5])
    fit_run(prepared, tmp_path, train__eval_every=4)
    told = (tmp_path / "best.json").read_text()
    assert json.loads(told)["step"] == 8
    stale = {"step": 4, "monitor": "hierarchical/f1", "value": 0.3}
    (tmp_path / "best.json").write_text(json.dumps(stale))
    assert fit_run(prepared, tmp_path, train__eval_every=4).step == 8
    assert (tmp_path / "best.json").read_text() == told


def test_a_run_can_be_made_longer(prepared, tmp_path):
    fit_run(prepared, tmp_path, train__steps=4, train__eval_every=2)
    finished = fit_run(prepared, tmp_path, train__steps=6, train__eval_every=3)
    assert max(steps_on_disk(tmp_path)) == 6
    assert finished.step in (2, 3, 4, 6)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [2, 2, 4, 4, 5, 6, 6]


def test_other_rows_are_refused(prepared, tmp_path):
    fit_run(prepared, tmp_path, train__steps=2)
    other = prepared.task._replace(manifest="0" * 64)
    mesh = training_mesh(prepared.config)
    with pytest.raises(WorkdirError, match="trained on other rows or another split"):
        fit(prepared.config, tmp_path, prepared.model, other, mesh)


@pytest.fixture
def workdir(prepared, tmp_path):
    """A workdir with something to lose."""
    open_workdir(prepared.config, tmp_path)
    keep_taxonomy(prepared.catalogue.tree, tmp_path)
    (tmp_path / "checkpoints/5").mkdir(parents=True)
    return tmp_path


def test_another_experiment_is_refused(workdir):
    config = run_config(TEXT, optim__learning_rate=0.5, train__steps=5)
    with pytest.raises(WorkdirError) as error:
        open_workdir(config, workdir)
    lines = str(error.value).splitlines()
    assert "take a new workdir" in lines[0]
    assert lines[1:] == [
        "  optim.learning_rate: 0.001 -> 0.5",
        "  train.steps: 10 -> 5",
    ]
    assert read_config(workdir).optim.learning_rate == 0.001


def test_lengths_intervals_workers_and_mesh_may_change(workdir):
    config = run_config(
        TEXT,
        train__steps=20,
        train__log_every=1,
        train__eval_every=2,
        train__checkpoint_every=3,
        train__data_devices=2,
        data__workers=1,
        data__threads=1,
        data__prefetch=2,
        eval__topk=3,
    )
    open_workdir(config, workdir)
    assert config_hash(read_config(workdir)) == config_hash(config)
    assert read_config(workdir).to_dict() == config.to_dict()


def test_a_workdir_without_results_is_free(prepared, tmp_path):
    """A first try that failed on a misspelt column does not lock the folder."""
    open_workdir(prepared.config, tmp_path)
    other = run_config(TEXT, data__columns__id="sku")
    open_workdir(other, tmp_path)
    assert read_config(tmp_path).data.columns.id == "sku"


def test_another_tree_is_refused(workdir):
    tree = Taxonomy.from_paths([("39", "3924", "392410"), ("42", "4202", "420211")])
    with pytest.raises(WorkdirError, match="another tree"):
        keep_taxonomy(tree, workdir)
    assert Taxonomy.load(workdir / "taxonomy.json") != tree


def test_a_folder_that_is_no_workdir(tmp_path):
    with pytest.raises(WorkdirError, match=re.escape("has no config.json")):
        read_config(tmp_path)


def test_done_means_a_report_of_this_very_config(workdir):
    config = read_config(workdir)
    assert not is_done(config, workdir)
    document = {"context": {"config_hash": config_hash(config)}}
    (workdir / "report.json").write_text(json.dumps(document))
    assert is_done(config, workdir)
    assert not is_done(run_config(TEXT, train__steps=20), workdir)


def test_the_best_value_keeps_the_precision_of_the_state(prepared, tmp_path):
    finished = fit_run(prepared, tmp_path, train__monitor="loss", train__steps=2)
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["monitor"] == "loss"
    assert best["value"] > 0
    assert np.float32(-best["value"]) == np.asarray(finished.state.best)
