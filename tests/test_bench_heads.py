"""`bench heads`: both sides learn the same rows, and times are what they are said."""

import numpy as np
import pytest
from encoders import path_of
from runs import run_config

from hsjax.bench_heads import bench_heads, scores_of, stacked
from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import load_records
from hsjax.data.store import add_part, start_store
from hsjax.evaluation.collect import node_codes
from hsjax.train.workdir import ConfigError

SIZE = 24


@pytest.fixture(scope="module")
def config(shop, tmp_path_factory):
    """Titles as vectors that tell the label."""
    folder = tmp_path_factory.mktemp("store") / "title"
    config = run_config({**path_of(shop), "model.modalities": ("title",)}).unlock()
    config.update_from_flattened_dict(
        {
            "objective.contrastive": 0.0,
            "data.columns.text": ("title",),
            "train.steps": 60,
            "optim.learning_rate": 1e-2,
            "data.features.title": str(folder),
        }
    )
    plain = config.copy_and_resolve_references()
    plain.data.features.title = ""
    records = load_records(plain.data, quarantine=Quarantine())
    rng, seen = np.random.default_rng(0), {}
    meaning = {}
    for r in records:
        vector = meaning.setdefault(r.path[-1], rng.normal(size=SIZE))
        if key := text_key(r.texts["title"]):
            seen.setdefault(key, vector + 0.3 * rng.normal(size=SIZE))
    start_store(folder, {"shape": [SIZE]})
    add_part(folder, list(seen), np.stack(list(seen.values())).astype(np.float32))
    return config.lock()


def test_both_sides_learn_and_the_ratio_is_that_of_their_times(config):
    pytest.importorskip("hiclass")
    found = bench_heads(config, rows=0, rounds=1)
    catalogue = read_catalogue(config)
    assert found["training_rows"] == len(catalogue.rows("train"))
    assert found["features"] == SIZE
    fit = found["fit"]
    assert found["ratio"] == pytest.approx(fit["peer_seconds"] / fit["ours_seconds"])
    assert found["ours"] == pytest.approx(1 / fit["ours_seconds"])
    for side in ("ours", "peer"):
        assert found["scores"][side]["hierarchical_f1"] > 0.6
        assert 0 < found["scores"][side]["path_accuracy"] <= 1


def test_fewer_rows_are_the_same_for_both(config):
    found = bench_heads(config, rows=50, rounds=1)
    assert found["training_rows"] == 50


def test_labels_and_vectors_are_the_catalogue_s(config):
    catalogue = read_catalogue(config)
    rows = catalogue.rows("test")
    truth = node_codes(catalogue.tree, catalogue.labels[rows])
    for row, codes in zip(rows, truth, strict=True):
        path = catalogue.records[row].path
        assert tuple(c for c in codes if c) == path
    assert stacked(config, catalogue, rows).shape == (len(rows), SIZE)
    assert scores_of(truth, truth) == {"hierarchical_f1": 1.0, "path_accuracy": 1.0}
    nothing = np.full_like(truth, "")
    assert scores_of(truth, nothing)["hierarchical_f1"] == 0


def test_raw_modalities_are_refused(config):
    raw = config.copy_and_resolve_references().unlock()
    raw.data.features.title = ""
    with pytest.raises(ConfigError, match="and title is raw: name its store"):
        bench_heads(raw.lock(), rows=0, rounds=1)
