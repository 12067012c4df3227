"""A run knows the one that it started from, and notices when that is trained anew."""

import json
import shutil

import pytest
from runs import TEXT, run_config, sentence, train_run

from hsjax.train.config import config_hash, plain
from hsjax.train.source import described_source, is_finished
from hsjax.train.workdir import is_done, open_workdir, other_settings
from hsjax.trained.opening import resolved

SHORT = {**TEXT, "train.steps": 4, "train.eval_every": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(source, a run that started from it), both finished."""
    folder = tmp_path_factory.mktemp("trained")
    train_run(run_config(SHORT), folder / "source")
    train_run(after(folder / "source"), folder / "run")
    return folder / "source", folder / "run"


@pytest.fixture
def both(trained, tmp_path):
    """Copies, at another place than they were begun: the source has moved."""
    for folder in trained:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "source", tmp_path / "run"


def after(source, **changes):
    return run_config(SHORT, init_from=str(source), seed=1, **changes)


def done(config, run):
    return is_done(resolved(config, run)[0], run)


def edited(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def trained_anew(source):
    """As if it had been: its best step is another, to the last digit."""
    edited(source / "best.json", lambda best: best.update(step=1, value=0.25))


def test_a_run_keeps_what_its_source_was(trained):
    source, run = trained
    kept = json.loads((run / "config.json").read_text())["source"]
    best = json.loads((source / "best.json").read_text())
    assert kept == described_source(after(source))
    assert {k: kept[k] for k in best} == best
    assert kept["rows"] == json.loads((source / "config.json").read_text())["manifest"]
    assert json.loads((source / "config.json").read_text())["source"] is None
    assert "is done" in train_run(after(source), run)


def test_a_source_that_is_trained_anew_is_noticed(both):
    source, run = both
    step = json.loads((source / "best.json").read_text())["step"]
    assert done(after(source), run)
    trained_anew(source)
    assert not done(after(source), run)
    for steps in (4, 6):  # finished, and to be made longer
        told = sentence(after(source, **{"train.steps": steps}), run)
        last = told.splitlines()[-1]
        assert last.startswith(f"  init_from: {source} is no longer what this run")
        assert f"(its best step {step} -> 1, value " in last
        assert last.endswith(f"remove {run} to start from it as it is now")
    assert (
        "its best step" in other_settings(resolved(after(source))[0], run)[-1]
    )  # for tables


def test_another_seed_is_another_source_although_it_is_as_good(both):
    source, run = both
    edited(source / "config.json", lambda x: x["config"].update(seed=7))
    assert "(its config changed)" in sentence(after(source), run)


def test_what_no_parameter_hangs_on_makes_no_other_source(both):
    source, run = both

    def scored_otherwise(document):
        config = document["config"]
        config["eval"] |= {"bootstrap": 7, "parts": ["val"]}
        config["train"] |= {"log_every": 1}

    edited(source / "config.json", scored_otherwise)
    assert done(after(source), run)


def test_a_run_of_an_older_version_stays_done(both):
    source, run = both
    edited(run / "config.json", lambda document: document.pop("source"))
    # they knew the place alone
    config, _ = resolved(after(source), run)
    before = json.loads((run / "config.json").read_text())
    before["config"] = plain(config)
    before["hash"] = config_hash(config)
    (run / "config.json").write_text(json.dumps(before))
    document = json.loads((run / "report.json").read_text())
    document["context"]["config_hash"] = config_hash(config)
    (run / "report.json").write_text(json.dumps(document))
    trained_anew(source)
    assert done(config, run)


def test_a_source_may_move_or_go(trained, both, monkeypatch):
    (old, _), (source, run) = trained, both
    assert str(old) != str(source)
    assert done(after(source), run)
    assert open_workdir(resolved(after(source))[0], run) is not None
    # the same folder by another name
    monkeypatch.chdir(source.parent)
    assert done(after("source"), run)
    edited(run / "config.json", lambda document: document.pop("source"))
    assert not done(after(source), run), "nobody knows that it is the same"
    assert "init_from: '" in sentence(after(source), run)
    shutil.rmtree(source)
    assert done(after(old), run)


def test_a_run_goes_on_without_its_source(both, tmp_path):
    source, run = both
    edited(run / "config.json", lambda x: x["config"].update(init_from=str(source)))
    shutil.rmtree(source)
    told = train_run(after(source, **{"train.steps": 6}), run)
    assert "# Report" in told
    assert json.loads((run / "config.json").read_text())["source"]["step"]


def test_what_is_no_run_is_told_and_what_is_not_finished(both, tmp_path, caplog):
    source, _ = both
    told = sentence(after(tmp_path / "nowhere"), tmp_path / "new")
    assert f"init_from={tmp_path}/nowhere is no workdir of a run" in told
    assert is_finished(source)
    (source / "report.json").unlink()
    assert not is_finished(source)
    with caplog.at_level("WARNING", "hsjax"):
        train_run(after(source), tmp_path / "new")
    assert f"init_from={source} has no report yet" in caplog.text
