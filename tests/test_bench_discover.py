"""Generated vectors of the benchmark, and that it finds what was planted."""

import sys

import numpy as np
import pytest
from runs import run_config

from hsjax.benchmarks.discover import (
    GROUPS,
    PARTS,
    _forget_peak,
    _peak,
    bench_discover,
    planted,
)
from hsjax.timing import is_noisy
from hsjax.train.workdir import ConfigError

SMALL = {
    "recategorize.sample": 600,
    "recategorize.levels": 1,
    "recategorize.clusters": (GROUPS,),
    "recategorize.neighbours": 10,
    "recategorize.dimensions": 3,
    "recategorize.resamples": 0,
    "recategorize.min_size": 10,
    "recategorize.components": 8,
}


def test_groups_are_apart_and_their_parts_touch():
    x, labels = planted(2000, 8)
    assert x.dtype == np.float32
    assert len(np.unique(labels)) == GROUPS * PARTS
    centres = np.stack([x[labels == i].mean(axis=0) for i in range(GROUPS * PARTS)])
    steps = np.linalg.norm(np.diff(centres.reshape(GROUPS, PARTS, -1), axis=1), axis=2)
    np.testing.assert_allclose(steps, 4.0, atol=1.0)


def test_a_small_turn_finds_the_groups_and_k_means_is_beside_its_peer():
    settings = run_config(SMALL).recategorize
    found = bench_discover(settings, rows=1500, width=8, rounds=3)
    assert found["cascade"]["clusters"] == GROUPS
    assert found["cascade"]["ari"] > 0.9
    beside = found["k_means"]
    assert found["peer_is"] == "scikit-learn's K-means"
    assert beside["ours_inertia"] < 1.2 * beside["peer_inertia"]
    ratio = beside["peer_seconds"] / beside["ours_seconds"]
    assert beside["times_faster"] == pytest.approx(ratio, rel=0.5)
    load = {"load": 0.0, "load_after": 0.0, "cores": 2}
    assert is_noisy(found | load) in (True, False)  # rounds have a spread
    if sys.platform == "linux":
        assert 0.1 < beside["ours_peak_gib"] < 20


def test_fewer_rows_than_clusters_are_refused():
    with pytest.raises(ConfigError, match="--items is 49, and 50 clusters are planted"):
        bench_discover(run_config(SMALL).recategorize, rows=49, width=8, rounds=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_a_peak_is_of_what_ran_last():
    _forget_peak()
    before = _peak()
    large = np.ones(60_000_000)
    assert _peak() > before + 0.4
    del large
    _forget_peak()
    assert _peak() < before + 0.2
