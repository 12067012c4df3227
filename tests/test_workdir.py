"""Workdirs: what may change when a run goes on, what is kept, which step is best."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import (
    TEXT,
    final_state,
    fit_run,
    prepare_run,
    run_config,
    train_run,
    values_of,
)

from hsjax.data.synthetic import write_catalogue
from hsjax.tasks.registry import user_errors
from hsjax.taxonomy import Taxonomy
from hsjax.train.claim import CLAIM, claimed
from hsjax.train.devices import training_mesh
from hsjax.train.environment import environment
from hsjax.train.kept import keep_taxonomy, read_train_counts, write_train_counts
from hsjax.train.loop import fit
from hsjax.train.start import check_length
from hsjax.train.workdir import (
    WorkdirError,
    check_rows,
    config_hash,
    is_done,
    open_workdir,
    read_config,
    write_config,
)


@pytest.fixture(scope="module")
def prepared():
    return prepare_run(run_config(TEXT))


def steps_on_disk(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


HOLDS = """
import sys, time
from pathlib import Path
from hsjax.train.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_run_at_a_time_writes_a_workdir(tmp_path):
    pytest.importorskip("fcntl", reason="locks as Unix has them")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        told = f"process {holder.pid} on .* is at work there"
        with pytest.raises(WorkdirError, match=told), claimed(tmp_path):
            pass
    finally:
        holder.kill()  # which gives no chance to clean up
        holder.wait()
        holder.stdout.close()
    for _ in range(2):
        with claimed(tmp_path):
            assert (tmp_path / CLAIM).read_text().startswith(f"process {os.getpid()} ")


def test_best_and_latest_are_kept(prepared, tmp_path, monkeypatch):
    # 0.9 is no float32: the tie must not count as an improvement
    values_of(monkeypatch, [0.3, 0.9, 0.9, 0.5, 0.4])
    finished = fit_run(prepared, tmp_path, train__eval_every=2)
    assert steps_on_disk(tmp_path) == [4, 8, 10]
    assert finished.step == 4
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
    other = prepared.parts._replace(manifest="0" * 64)
    mesh = training_mesh(prepared.config)
    with pytest.raises(WorkdirError, match="trained on other rows or another split"):
        fit(prepared.config, tmp_path, prepared.model, other, mesh)


@pytest.fixture
def workdir(prepared, tmp_path):
    """A workdir with something to lose."""
    write_config(prepared.config, tmp_path)
    keep_taxonomy(prepared.catalogue.tree, tmp_path)
    (tmp_path / "checkpoints/5").mkdir(parents=True)
    return tmp_path


def test_another_experiment_is_refused(workdir):
    changes = {"optim__learning_rate": 0.5, "eval__decode": "greedy", "seed": 1}
    config = run_config(TEXT, **changes)
    with pytest.raises(WorkdirError) as error:
        open_workdir(config, workdir)
    lines = str(error.value).splitlines()
    assert "take a new workdir" in lines[0]
    assert lines[1:] == [
        "  eval.decode: 'path' -> 'greedy'",
        "  optim.learning_rate: 0.001 -> 0.5",
        "  seed: 0 -> 1",
    ]
    assert read_config(workdir).optim.learning_rate == 0.001


def test_lengths_intervals_workers_and_mesh_may_change(prepared, workdir):
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
        eval__bootstrap=7,
        eval__parts=("val",),
    )
    before = open_workdir(config, workdir)
    assert before.to_dict() == prepared.config.to_dict()
    assert read_config(workdir).to_dict() == prepared.config.to_dict()
    write_config(config, workdir)
    assert config_hash(read_config(workdir)) == config_hash(config)
    assert read_config(workdir).to_dict() == config.to_dict()


def test_a_workdir_without_results_is_free(prepared, tmp_path):
    """A first try that failed on a misspelt column does not lock the folder."""
    write_config(prepared.config, tmp_path)
    assert open_workdir(run_config(TEXT, data__columns__id="sku"), tmp_path) is None


MEASURED = {"eval__gallery_size": 7, "eval__decode": "greedy", "eval__batch_size": 32}


def report_on(config, workdir):
    document = {"context": {"config_hash": config_hash(config)}}
    (workdir / "report.json").write_text(json.dumps(document))


@pytest.mark.parametrize("key", MEASURED)
def test_what_is_monitored_is_bound_until_the_run_is_finished(prepared, workdir, key):
    changed = run_config(TEXT, **{key: MEASURED[key]})
    name = key.replace("__", ".")
    with pytest.raises(WorkdirError, match=name):
        open_workdir(changed, workdir)
    report_on(prepared.config, workdir)
    open_workdir(changed, workdir)
    # it will be monitored again
    longer = run_config(TEXT, train__steps=20, **{key: MEASURED[key]})
    with pytest.raises(WorkdirError, match=name):
        open_workdir(longer, workdir)
    write_config(run_config(TEXT, train__steps=20), workdir)
    with pytest.raises(WorkdirError, match=name):
        open_workdir(longer, workdir)


EPOCHS = {"train__steps": 0, "train__epochs": 5.0}  # of 100 rows, in batches of 16


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        (EPOCHS, {"train__steps": 31}, "32 steps, 31 are"),
        ({"train__steps": 33}, EPOCHS, "33 steps, 32 are"),
        ({"train__steps": 10}, {"train__steps": 5}, "10 steps, 5 are"),
        ({"train__steps": 32}, EPOCHS, ""),
    ],
)
def test_a_run_cannot_be_made_shorter(caplog, old, new, steps):
    old, new = run_config(**old), run_config(**new)
    if steps:
        with pytest.raises(WorkdirError, match=f"the run has {steps} asked for"):
            check_length(old, new, 100)
    else:
        check_length(old, new, 100)
    assert not caplog.records


@pytest.mark.parametrize(
    ("schedule", "warmup", "told"),
    [("cosine", 0.0, True), ("constant", 0.1, True), ("constant", 0.0, False)],
)
def test_a_longer_run_is_told_that_its_schedule_bends(caplog, schedule, warmup, told):
    optim = {"optim__schedule": schedule, "optim__warmup": warmup}
    old = run_config(**EPOCHS, **optim)
    check_length(old, run_config(train__steps=40, **optim), 100)
    assert ("40 steps instead of 32" in caplog.text) == told
    assert ("schedule of the longer run" in caplog.text) == told


def test_another_environment_is_told(prepared, workdir, caplog):
    open_workdir(prepared.config, workdir)
    assert not caplog.records
    document = json.loads((workdir / "config.json").read_text())
    packages = {"jaxlib", "flax", "optax", "numpy", "grain", "orbax-checkpoint"}
    assert packages | {"jax", "platform"} <= document["environment"].keys()
    document["environment"] |= {"optax": "0.0.1", "cores": 77}
    del document["environment"]["grain"]  # an older workdir does not say
    (workdir / "config.json").write_text(json.dumps(document))
    open_workdir(prepared.config, workdir)
    now = environment()
    assert f"optax 0.0.1 -> {now['optax']}, cores 77 -> {now['cores']}" in caplog.text
    assert "grain" not in caplog.text
    write_config(prepared.config, workdir)  # a second start is told as well
    document = json.loads((workdir / "config.json").read_text())
    assert document["environment"]["optax"] == "0.0.1"
    assert document["last_environment"]["optax"] == now["optax"]


def without(workdir, *keys):
    """As a version wrote it that did not know these keys."""
    path = workdir / "config.json"
    document = json.loads(path.read_text())
    for key in keys:
        *groups, name = key.split(".")
        values = document["config"]
        for part in groups:
            values = values[part]
        del values[name]
    path.write_text(json.dumps(document))


def test_a_key_that_an_old_workdir_lacks_is_named(prepared, workdir):
    without(workdir, "model.head.feed", "eval.topk")
    config = read_config(workdir)
    assert config.model.head.width == 16
    for read, key in (
        (lambda: config.model.head.feed, "model.head.feed"),
        (lambda: config.eval.topk, "eval.topk"),
        (lambda: config.copy_and_resolve_references().eval.topk, "topk"),
    ):
        with pytest.raises(AttributeError, match=key):
            read()
    with pytest.raises(SystemExit) as stop, user_errors():
        _ = config.model.head.feed
    path = workdir / "config.json"
    assert f"hsjax: {path} lacks the key model.head.feed: another" in stop.value.code
    assert not hasattr(config, "__array__")
    with pytest.raises(WorkdirError, match=r"model\.head\.feed: absent -> 'prob"):
        open_workdir(prepared.config, workdir)


def test_another_tree_is_refused(workdir):
    tree = Taxonomy.from_paths([("39", "3924", "392410"), ("42", "4202", "420211")])
    with pytest.raises(WorkdirError, match="another tree"):
        keep_taxonomy(tree, workdir)
    assert Taxonomy.load(workdir / "taxonomy.json") != tree


def test_counts_of_the_training_rows_are_kept(workdir):
    assert read_train_counts(workdir) is None  # of an older version
    counts = {"39": 3, "Caf\u00e9 > Tee": 2}
    write_train_counts(counts, workdir)
    assert read_train_counts(workdir) == counts


def test_a_folder_that_is_no_workdir(tmp_path):
    with pytest.raises(WorkdirError, match=re.escape("has no config.json")):
        read_config(tmp_path)


def test_done_means_a_report_of_this_very_config(workdir):
    config = read_config(workdir)
    assert not is_done(config, workdir)
    report_on(config, workdir)
    assert is_done(config, workdir)
    assert not is_done(run_config(TEXT, train__steps=20), workdir)


def test_rows_of_a_run_without_a_report_are_known(prepared, workdir):
    write_config(prepared.config, workdir, manifest="these")
    check_rows(workdir, "these")
    with pytest.raises(WorkdirError, match="other rows or another split"):
        check_rows(workdir, "others")


def test_a_changed_catalogue_is_refused_although_the_run_is_done(tmp_path):
    shop, workdir = tmp_path / "shop.parquet", tmp_path / "run"
    columns = {"data.columns.label": ("hs_code",), "data.columns.id": "id"}
    changes = {**TEXT, **columns, "data.path": str(shop), "task": "baseline"}
    config = run_config(changes)
    write_catalogue(shop, config.data)
    train_run(config, workdir)
    assert "is done" in train_run(config, workdir)
    os.utime(shop, ns=(1, 1))  # unpacked again, say: what is in it is the same
    assert "is done" in train_run(config, workdir)
    document = json.loads((workdir / "config.json").read_text())
    document["files"]["data.path"].pop()  # as before there was a digest
    (workdir / "config.json").write_text(json.dumps(document))
    assert "is done" not in train_run(config, workdir)
    assert "is done" in train_run(config, workdir)
    before = {p.name: p.read_bytes() for p in workdir.iterdir()}
    table = pq.read_table(shop)
    pq.write_table(table.slice(0, len(table) - 1), shop)
    for _ in range(2):
        with pytest.raises(WorkdirError, match="the catalogue has changed since"):
            train_run(config, workdir)
    assert {p.name: p.read_bytes() for p in workdir.iterdir()} == before


def test_the_best_value_keeps_the_precision_of_the_state(prepared, tmp_path):
    fit_run(prepared, tmp_path, train__monitor="loss", train__steps=2)
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["monitor"] == "loss"
    assert best["value"] > 0
    _, state, _ = final_state(prepared, tmp_path)
    assert np.float32(-best["value"]) == np.asarray(state.best)
