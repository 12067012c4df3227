"""K-means: as good as scikit-learn's, whatever the block; known classes stay put."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from hsjax.evaluation.clusters import ari, discovery_accuracy
from hsjax.features import kmeans, row_blocks
from hsjax.features.kmeans import assign, k_means
from hsjax.features.seeding import _draw, seed_centres


def blobs(rows=600, classes=6, width=8, spread=1.0, apart=12.0, seed=0):
    """(N, D) float32 of Gaussian clusters, and their (N,) numbers."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(classes, width)) * apart / np.sqrt(2 * width)
    label = np.arange(rows) % classes
    x = centre[label] + rng.normal(size=(rows, width)) * spread / np.sqrt(width)
    return x.astype(np.float32), label


def brute(x, centres):
    """Squared distances (N, K) in double precision."""
    gaps = np.float64(x)[:, None] - np.float64(centres)[None]
    return (gaps**2).sum(axis=2)


def test_what_is_returned_belongs_together():
    x, label = blobs()
    found = k_means(x, 6, seed=1, block=128)
    assert ari(label, found.assignment) == 1
    squared = brute(x, found.centres)
    assert (squared.argmin(axis=1) == found.assignment).all()
    np.testing.assert_allclose(found.distance**2, squared.min(axis=1), atol=1e-5)
    assert found.inertia == pytest.approx(squared.min(axis=1).sum(), rel=1e-5)
    means = [x[found.assignment == k].mean(axis=0) for k in range(6)]
    np.testing.assert_allclose(found.centres, means, atol=1e-5)
    again = assign(found.centres, x, block=77)
    assert (again.cluster == found.assignment).all()
    np.testing.assert_allclose(again.distance, found.distance, atol=1e-5)
    second = np.sort(squared, axis=1)[:, 1]
    np.testing.assert_allclose(again.second**2, second, rtol=1e-4)
    assert np.isinf(assign(found.centres[:1], x).second).all()


@pytest.mark.parametrize("overlap", [1.0, 3.0])
def test_inertia_is_that_of_scikit_learn(overlap):
    """Within 1 % on blobs apart and on a single cloud, both with 5 restarts."""
    x, _ = blobs(rows=1000, classes=7, spread=overlap, apart=6 / overlap)
    theirs = KMeans(9, n_init=5, random_state=0).fit(x)
    ours = k_means(x, 9, restarts=5, block=256)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=0.01)
    assert 1 <= ours.iterations <= 300


def test_lloyd_from_the_same_seeds_is_scikit_learns():
    x, _ = blobs(rows=500, spread=3.0, apart=3.0)
    start = x[:6]
    theirs = KMeans(6, init=start, n_init=1, tol=1e-4).fit(x)
    ones, free = np.ones(500, np.float32), np.full(500, -1, np.int32)
    rows, mean = row_blocks.in_blocks(x, ones, free, block=64)
    with jax.numpy_dtype_promotion("strict"):
        run = kmeans._lloyd(rows, start - mean[None], np.int32(300), np.float32(1e-4))
    np.testing.assert_allclose(
        run.centres + mean[None], theirs.cluster_centers_, atol=1e-4
    )
    assert (np.asarray(run.assignment).reshape(-1)[:500] == theirs.labels_).all()
    assert run.inertia == pytest.approx(theirs.inertia_, rel=1e-5)


def test_block_size_and_a_second_run_change_nothing():
    x, _ = blobs(rows=500)
    whole = k_means(x, 6, seed=2, block=500)
    for block in (500, 64, 7, 4096):
        other = k_means(x, 6, seed=2, block=block)
        assert (other.assignment == whole.assignment).all()
        np.testing.assert_allclose(other.centres, whole.centres, atol=1e-5)
        assert other.inertia == pytest.approx(whole.inertia, rel=1e-5)
    first, second = (k_means(x, 6, seed=2, block=64) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    # where there are no clusters, the seed tells
    cloud = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    inertias = {k_means(cloud, 8, seed=seed).inertia for seed in range(3)}
    assert len(inertias) == 3
    best = k_means(cloud, 8, restarts=3).inertia
    assert best <= k_means(cloud, 8, restarts=1).inertia * 1.05


def test_seeds_of_many_rows_do_not_depend_on_the_block():
    """20,000 rows without structure, 30 x 5 draws: the same rows are drawn."""
    cloud = np.random.default_rng(0).normal(size=(20_000, 6)).astype(np.float32)
    drawn = [k_means(cloud, 30, iterations=0, block=b).centres for b in (8192, 999)]
    np.testing.assert_allclose(*drawn, atol=1e-5)


def test_rows_are_drawn_by_their_mass():
    """Shares of 4,000 draws over groups of rows, none of mass 0."""
    mass = jnp.zeros((3, 1000)).at[0, 3].set(1.0).at[1, 500].set(2.0).at[2, 999].set(5)
    rows = np.asarray(jax.jit(_draw, static_argnums=2)(jax.random.key(0), mass, 4000))
    found, count = np.unique(rows, return_counts=True)
    assert found.tolist() == [3, 1500, 2999]
    np.testing.assert_allclose(count / 4000, [1 / 8, 2 / 8, 5 / 8], atol=0.025)


def test_far_from_the_origin_is_as_good():
    """Float32 has 7 digits: without a shift, distances of 1 at 10,000 are noise."""
    x, label = blobs(rows=300)
    far = x + np.float32(10_000)
    found = k_means(far, 6)
    assert ari(label, found.assignment) == 1
    assert found.inertia == pytest.approx(k_means(x, 6).inertia, rel=1e-2)
    assert (assign(found.centres, far)[0] == found.assignment).all()


def test_padding_does_not_matter_and_weights_count_as_repeats():
    x, _ = blobs(rows=300, spread=3.0)
    weight = np.ones(310, np.float32)
    weight[300:] = 0
    padded = np.concatenate([x, np.full((10, 8), np.nan, np.float32)])
    plain, found = k_means(x, 5, block=310), k_means(padded, 5, weight=weight)
    assert (found.assignment[:300] == plain.assignment).all()
    assert (found.assignment[300:] == -1).all()
    assert not found.distance[300:].any()
    assert found.inertia == pytest.approx(plain.inertia, rel=1e-5)
    # one cluster: the weighted mean
    twice = np.where(np.arange(300) < 50, 2, 1).astype(np.float32)
    mean = np.average(x, axis=0, weights=twice)
    one = k_means(x, 1, weight=twice)
    np.testing.assert_allclose(one.centres[0], mean, atol=1e-5)
    assert one.inertia == pytest.approx((twice * brute(x, mean[None])[:, 0]).sum())


def test_an_empty_cluster_starts_again_at_the_farthest_row():
    """Two of three centres start where no row is nearest to them."""
    x, label = blobs(rows=90, classes=3)
    x[7] += 100  # the farthest row
    ones, free = np.ones(90, np.float32), np.full(90, -1, np.int32)
    rows, mean = row_blocks.in_blocks(x, ones, free, block=32)
    centres = np.stack([x[0], np.full(8, 1e4), np.full(8, -1e4)]).astype(np.float32)
    moved = kmeans._new_centres(rows, jnp.asarray(centres) - mean[None])
    moved = np.asarray(moved + mean[None])
    order = np.argsort(-brute(x, centres[:1])[:, 0])
    assert order[0] == 7
    np.testing.assert_allclose(moved[0], x.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(moved[1:], x[order[:2]], atol=1e-4)
    # pinned rows are no seeds: the farthest free one is taken
    pinned = np.where(np.arange(90) == 7, 0, -1).astype(np.int32)
    rows, mean = row_blocks.in_blocks(x, ones, pinned, block=32)
    moved = kmeans._new_centres(rows, jnp.asarray(centres) - mean[None])
    np.testing.assert_allclose(moved[1] + mean, x[order[1]], atol=1e-4)


def test_fewer_different_rows_than_clusters():
    x = np.repeat(np.float32([[0, 0], [5, 0], [0, 5]]), 4, axis=0)
    found = k_means(x, 5, block=5)
    assert len(np.unique(found.assignment)) == 3
    assert found.inertia == pytest.approx(0, abs=1e-9)
    every = k_means(x[::4], 3)
    assert sorted(every.assignment.tolist()) == [0, 1, 2]


def test_seeds_are_rows_far_from_each_other():
    """One in every blob, from all of 20 seeds; at random it would be 1.5 % of them."""
    x, label = blobs(apart=30.0)
    ones, free = np.ones(600, np.float32), np.full(600, -1, np.int32)
    rows, mean = row_blocks.in_blocks(x, ones, free, block=100)
    seeds = jax.jit(partial(seed_centres, clusters=6, known=0))
    for seed in range(20):
        centres = np.asarray(seeds(rows, jax.random.key(seed)) + mean[None])
        gaps = brute(centres, x)
        assert gaps.min(axis=1).max() < 1e-6, "each is a row"
        assert len(set(label[gaps.argmin(axis=1)])) == 6


def test_known_classes_stay_and_new_ones_are_found():
    x, label = blobs(rows=900, classes=8, apart=5.0)
    shown = np.where((label < 4) & (np.arange(900) % 3 == 0), label, -1)
    found = k_means(x, 8, labels=shown, seed=0, restarts=3)
    known = shown >= 0
    assert (found.assignment[known] == shown[known]).all()
    scores = discovery_accuracy(label[~known], found.assignment[~known], range(4))
    assert scores["accuracy_old"] > 0.95
    assert scores["accuracy_new"] > 0.95
    # of known classes the cluster is the class, without any pairing
    assert (found.assignment == label)[label < 4].mean() > 0.95
    means = [x[found.assignment == k].mean(axis=0) for k in range(8)]
    np.testing.assert_allclose(found.centres, means, atol=1e-4)


def test_pinned_rows_start_at_their_mean_and_never_leave():
    """A labelled row amid another class stays, and pulls its centre."""
    x, label = blobs(rows=120, classes=3, apart=20.0)
    shown = np.where(np.arange(120) < 30, label, -1)
    shown[0] = 1  # a wrong label, far from the others of class 1
    start = k_means(x, 3, labels=shown, iterations=0)
    for k in range(3):
        own = x[shown == k].mean(axis=0)
        np.testing.assert_allclose(start.centres[k], own, atol=1e-4)
    found = k_means(x, 3, labels=shown)
    assert found.assignment[0] == 1
    assert found.distance[0] > 10
    members = np.where(shown >= 0, shown, label)
    assert (found.assignment == members).all()
    np.testing.assert_allclose(
        found.centres[1], x[members == 1].mean(axis=0), atol=1e-4
    )


def test_what_cannot_be_clustered_is_refused():
    x, _ = blobs(rows=10)
    for clusters in (0, 11):
        with pytest.raises(ValueError, match=f"{clusters} clusters"):
            k_means(x, clusters)
    labels = np.full(10, -1)
    labels[:2] = (0, 2)
    with pytest.raises(ValueError, match="class 1 of 0..2 has no row"):
        k_means(x, 4, labels=labels)
    with pytest.raises(ValueError, match="3 classes"):
        k_means(x, 2, labels=np.arange(10) % 3)
    with pytest.raises(ValueError, match="0 other rows"):
        k_means(x, 4, labels=np.arange(10) % 3)
    with pytest.raises(ValueError, match="not finite"):
        k_means(np.where(np.arange(80).reshape(10, 8) == 9, np.inf, x), 2)
