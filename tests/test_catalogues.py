"""Shops of other shapes: labels that end early, text alone, pictures alone."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from runs import TEXT, metric_lines, report, run_config, train_run

import hsjax
from hsjax.data.records import Quarantine, load_records
from hsjax.data.synthetic import write_catalogue

LEVELS = {
    **TEXT,
    "data.columns.id": "id",
    "data.columns.label": ("level1", "level2", "level3"),
    "data.columns.label_kind": "levels",
    "data.columns.blank_level": "stop",
    "train.steps": 60,
    "train.eval_every": 30,
    "optim.learning_rate": 1e-2,
}
# title -> level columns; boots end at level 2 and cards at level 1, or go on below
SHELVES = {
    "leather boot": ("Shoes", "Boots", ""),
    "safety boot": ("Shoes", "Boots", "Work"),
    "running shoe": ("Shoes", "Sport", "Running"),
    "tennis shoe": ("Shoes", "Sport", "Tennis"),
    "cotton shirt": ("Clothes", "Shirts", "Cotton"),
    "gift card": ("Cards", "", ""),
    "birthday card": ("Cards", "Paper", ""),
}


@pytest.fixture(scope="module")
def ragged(tmp_path_factory):
    """(workdir, config) of a run on level columns with blanks."""
    folder = tmp_path_factory.mktemp("ragged")
    with (folder / "shop.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "title", "brand", "level1", "level2", "level3"])
        for n in range(210):
            title, levels = list(SHELVES.items())[n % len(SHELVES)]
            rows.writerow([f"p{n}", f"{title} {n}", "acme", *levels])
    config = run_config(LEVELS, data__path=str(folder / "shop.csv"))
    train_run(config, folder / "run")
    return folder / "run", config


def test_labels_that_end_early_are_learnt_as_stop(ragged):
    workdir, config = ragged
    run = hsjax.load(workdir)
    assert [int(s.sum()) for s in run.tree.stop] == [0, 1, 1]
    assert "Shoes > Boots" in run.tree.codes[1].tolist()
    records = load_records(config.data, quarantine=Quarantine())
    answers = run.predict(records)
    assert answers.main == "path"
    assert answers.valid["path"].all()
    right = (answers.decoded["path"] == answers.truth).all(axis=1)
    assert right.mean() > 0.95
    deep = (answers.decoded["path"] != "").sum(axis=1)
    assert {1, 2, 3} == set(deep.tolist())
    # where nothing was answered nothing is claimed
    assert np.array_equal(answers.prob > 0, answers.decoded["path"] != "")
    metrics = report(workdir)["metrics"]
    assert metrics["level1/accuracy"] > 0.9
    assert metrics["count/level3_rows"] < metrics["count/level2_rows"]
    assert not any(name.startswith("digits") for name in metrics)
    assert "STOP" not in "".join(answers.decoded["path"].ravel().tolist())


def test_records_without_labels_are_answered(ragged):
    workdir, config = ragged
    run = hsjax.load(workdir)
    labelled = load_records(config.data, quarantine=Quarantine())[:20]
    bare = config.data.copy_and_resolve_references().unlock()
    bare.columns.label = ()
    records = load_records(bare, quarantine=Quarantine(), labelled=False)[:20]
    assert all(r.path == () for r in records)
    with_labels, without = run.predict(labelled), run.predict(records)
    assert (without.truth == "").all()
    assert np.array_equal(with_labels.log_prob, without.log_prob)


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["title", "image"])
def test_one_modality_alone(modality, tmp_path):
    write_catalogue(tmp_path / "shop.parquet", run_config().data)
    changes = {
        "model.modalities": (modality,),
        "objective.contrastive": 0.0,
        "data.path": str(tmp_path / "shop.parquet"),
        "data.columns.label": ("hs_code",),
        "data.columns.image": "image",
    }
    train_run(run_config(changes), tmp_path / "run")
    metrics = report(tmp_path / "run")["metrics"]
    assert "retrieval/text_to_image_r1" not in metrics
    assert metric_lines(tmp_path / "run")[-1]["step"] == 10
    assert (tmp_path / "run/tokenizer.json").exists() == (modality == "title")
    loaded = hsjax.load(tmp_path / "run")
    assert set(loaded.spec.modalities) == {modality}
    records = load_records(loaded.config.data, quarantine=Quarantine())[:30]
    gone = {
        "title": [replace(r, texts=dict.fromkeys(r.texts, "")) for r in records],
        "image": [replace(r, image=None) for r in records],
    }
    whole = loaded.predict(records).log_prob
    assert len(np.unique(whole)) > 10
    for name, rows in gone.items():
        found = loaded.predict(rows).log_prob
        if name == modality:  # nothing is left to tell the rows apart
            assert len(np.unique(found)) == 1
        else:
            assert np.array_equal(found, whole)
