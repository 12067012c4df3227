"""Generated vectors of the benchmark, and that it finds what was planted."""

import numpy as np
from runs import run_config

from hsjax.bench_discover import GROUPS, PARTS, bench_discover, planted

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


def test_a_small_turn_finds_the_groups():
    settings = run_config(SMALL).recategorize
    found = bench_discover(settings, rows=1500, width=8)
    assert found["cascade"]["clusters"] == GROUPS
    assert found["cascade"]["ari"] > 0.9
    ours, peer = (found[side]["inertia"] for side in ("k_means", "scikit_learn"))
    assert ours < 1.2 * peer
    assert found["times_faster"] > 0
