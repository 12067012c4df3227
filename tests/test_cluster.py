"""Planted groups come back: filter, number of clusters, cascade, sample, mixtures."""

from types import SimpleNamespace

import numpy as np
import pytest

from hsjax.data.features import Features, text_key
from hsjax.data.store import FeatureStore, add_part, start_store
from hsjax.evaluation.clusters import ari, hungarian_accuracy
from hsjax.features import cluster, cluster_count
from hsjax.features.cluster import REST, divide, fit_filter
from hsjax.features.cluster_cascade import find_clusters
from hsjax.features.cluster_count import Tried, best_of
from hsjax.features.mixed import Mixed, joint_vectors
from hsjax.features.votes import voted

DIVIDE = {
    "counts": range(2, 8),
    "min_size": 10,
    "min_stability": 0.5,
    "resamples": 4,
    "linkage": "ward",
    "seed": 0,
}
SETTINGS = SimpleNamespace(
    sample=10_000,
    filter="distance",
    filter_clusters=6,
    filter_share=0.95,
    neighbours=15,
    dimensions=3,
    min_dist=0.0,
    linkage="ward",
    levels=2,
    clusters=(3, 3),
    choice="silhouette",
    max_clusters=6,
    min_size=15,
    min_stability=0.5,
    resamples=4,
)


def planted(sizes, *, spread=0.3, width=8, seed=0, scale=6.0):
    rng = np.random.default_rng(seed)
    centres = scale * rng.normal(size=(len(sizes), width))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = centres[labels] + spread * rng.normal(size=(len(labels), width))
    return x.astype(np.float32), labels


@pytest.mark.parametrize("choice", ["silhouette", "gap", "stability"])
def test_the_planted_number_of_clusters_is_found(choice):
    x, labels = planted([80, 60, 40, 30])
    found = divide(x, choice=choice, **DIVIDE)
    assert ari(labels, found.clusters) == 1.0
    assert np.bincount(found.clusters).tolist() == [80, 60, 40, 30]  # largest first
    assert (found.stability > 0.9).all()
    assert (found.silhouette > 0.7).all()
    counts = [t.count for t in found.tried]
    # the gap is compared with one cluster, and with one more than may be chosen
    assert counts == (list(range(1, 9)) if choice == "gap" else [*DIVIDE["counts"]])


def test_a_number_by_hand_is_taken():
    x, _ = planted([80, 60, 40, 30])
    found = divide(x, choice="gap", **{**DIVIDE, "counts": (2,)})
    assert found.clusters.max() == 1


def test_small_clusters_are_the_rest():
    x, labels = planted([60, 50, 4])
    found = divide(x, choice="silhouette", **{**DIVIDE, "counts": (3,)})
    assert (found.clusters[labels == 2] == REST).all()
    assert (found.clusters[labels < 2] != REST).all()
    assert len(found.stability) == 2


def test_what_cannot_be_divided_is_left_alone():
    x, _ = planted([15])
    found = divide(x, choice="silhouette", **DIVIDE)
    assert (found.clusters == REST).all()
    assert found.tried == ()


def test_the_best_number_that_comes_back_is_taken(monkeypatch):
    """A number that is better and does not come back is no reason to divide nothing."""
    x, labels = planted([80, 60, 40, 30])
    measured = cluster_count.trials

    def shaken(*args, **kwargs):
        tried, drawn = measured(*args, **kwargs)
        low = [t._replace(stability=0.3) if t.count in gone else t for t in tried]
        return tuple(low), drawn

    monkeypatch.setattr(cluster, "trials", shaken)
    gone = {4}
    found = divide(x, choice="silhouette", **DIVIDE)
    assert found.chosen.count != 4
    assert found.chosen.stability > 0.5
    assert found.clusters.max() + 1 > 1
    gone = set(DIVIDE["counts"])
    found = divide(x, choice="silhouette", **DIVIDE)
    assert (found.clusters == REST).all()
    assert found.chosen.count == 4, "why it was not is told by the best"


def test_rows_without_clusters_stay_together_by_the_gap():
    x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    found = divide(x, choice="gap", **DIVIDE)
    assert found.chosen.count == 1
    assert (found.clusters == REST).all()
    assert np.isnan(found.chosen.silhouette)
    one, two = found.tried[:2]
    assert one.gap >= two.gap - two.gap_error
    # the other criteria have nothing to say of one cluster
    assert divide(x, choice="silhouette", **DIVIDE).chosen.count > 1


def test_of_equals_the_smallest_number_wins():
    tried = [Tried(k, 10, 0.5, g, 0.1, 0.9) for k, g in ((2, 1.0), (3, 1.05), (4, 2.0))]
    numbers = (2, 3, 4)
    assert best_of(tried, "silhouette", sound=numbers).count == 2
    assert best_of(tried, "gap", sound=numbers).count == 2  # 1.0 >= 1.05 - 0.1
    rising = [t._replace(gap_error=0.0) for t in tried]
    assert best_of(rising, "gap", sound=numbers).count == 4
    # 2 would be enough beside 3, but may not be chosen; 4 is compared with nothing
    assert best_of(tried, "gap", sound=(3, 4)).count == 4
    gone = [tried[0]._replace(gap_error=0.0), tried[2]]
    assert best_of(gone, "gap", sound=(2,)).count == 2, "4 is not 2 + 1"


@pytest.mark.parametrize("kind", ["distance", "silhouette"])
def test_the_filter_leaves_out_what_lies_apart(kind):
    x, _ = planted([100, 100])
    far = x[:10] + 3.0  # between and beside the groups
    everything = np.concatenate([x, far])
    sieve = fit_filter(everything, kind=kind, clusters=2, share=0.9, seed=0)
    kept, score = sieve(everything)
    assert not kept[-10:].any()
    assert kept[:200].mean() > 0.94
    assert score[-10:].max() < np.median(score)
    # rows that it has not seen go by the same centres and bounds
    alone = fit_filter(x, kind=kind, clusters=2, share=0.9, seed=0)
    assert alone(x)[0].mean() == pytest.approx(0.9, abs=0.02)
    assert not alone(far)[0].any()


def test_without_a_filter_all_stay():
    x, _ = planted([30, 30])
    kept, score = fit_filter(x, kind="none", clusters=2, share=0.5, seed=0)(x)
    assert kept.all()
    assert np.isnan(score).all()


def nested():
    """Three groups apart, each of three parts that touch, as in a real catalogue.

    Groups that do not hang together lie anywhere on a map of UMAP.
    """
    rng = np.random.default_rng(1)
    outer, along = 30 * rng.normal(size=(3, 10)), np.eye(10)[0]
    labels = np.repeat(np.arange(9), 80)
    x = outer[labels // 3] + 5 * (labels % 3)[:, None] * along
    return (x + rng.normal(size=x.shape)).astype(np.float32), labels


@pytest.mark.slow
def test_a_cascade_finds_groups_and_their_parts():
    x, labels = nested()
    found = find_clusters(lambda rows: x[rows], len(x), SETTINGS, seed=0)
    inside = found.keys != ""
    keys = found.keys[inside]
    numbers = np.unique(keys, return_inverse=True)[1]
    top = np.unique([key.split(".")[0] for key in keys], return_inverse=True)[1]
    assert hungarian_accuracy(labels[inside], numbers) > 0.8
    assert ari(labels[inside] // 3, top) > 0.9
    assert 0.9 <= inside.mean() < 1
    assert (found.spread != "").all()
    parents = [node.parent for node in found.nodes]
    assert all(p == "" or p in [n.key for n in found.nodes] for p in parents)
    assert found.points.shape == (found.kept.sum(), 2)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_clusters():
    x, _ = nested()
    runs = [find_clusters(lambda r: x[r], len(x), SETTINGS, seed=3) for _ in range(2)]
    assert runs[0].keys.tolist() == runs[1].keys.tolist()
    np.testing.assert_array_equal(runs[0].points, runs[1].points)


def test_rows_outside_the_sample_are_filtered_and_go_to_their_neighbours():
    x, labels = nested()
    far = np.arange(0, len(x), 9)  # beside all groups, in the sample and outside
    x[far] += 10 * np.random.default_rng(0).normal(size=(len(far), x.shape[1]))
    changes = {"sample": 300, "levels": 1, "filter_clusters": 3, "filter_share": 0.8}
    settings = SimpleNamespace(**{**vars(SETTINGS), **changes})
    found = find_clusters(lambda rows: x[rows], len(x), settings, seed=0)
    assert len(found.rows) == len(found.points) < 300
    assert found.kept[found.rows].all()
    outside = np.setdiff1d(np.arange(len(x)), found.rows)
    fits = outside[found.kept[outside]]
    assert 0.7 < found.kept.mean() < 0.9
    assert found.kept[far].mean() < 0.2
    assert (found.keys[~found.kept] == "").all()
    assert (found.keys[fits] != "").all()
    names = np.unique(found.keys, return_inverse=True)[1]
    assert ari(labels[fits] // 3, names[fits]) > 0.9
    assert np.isfinite(found.score).all()


def test_votes_are_cast_level_by_level():
    """Cluster 1 has most of the neighbours, though each of its parts has fewer."""

    def vectors(rows):
        return np.zeros((len(rows), 2))

    x = np.zeros((15, 2), np.float32)
    keys = np.array(["1.1"] * 5 + ["1.2"] * 4 + ["2"] * 6)
    found = voted(x, keys, vectors, np.arange(3))
    assert found.tolist() == ["1.1"] * 3
    keys = np.array(["1.1"] * 3 + ["1"] * 5 + [""] * 7)
    found = voted(x, keys, vectors, np.arange(1))
    assert found.tolist() == ["1"], "most of those for 1 are for none of its parts"
    keys = np.array(["10"] * 7 + ["2"] * 7 + [""])
    found = voted(x, keys, vectors, np.arange(1))
    assert found.tolist() == ["2"], "of equals the larger one"
    assert voted(x[:0], keys[:0], vectors, np.arange(2)).tolist() == ["", ""]


def store_of(folder, vectors, keys, shape):
    start_store(folder, {"shape": shape})
    add_part(folder, keys, vectors.astype(np.float32))
    return FeatureStore(folder)


def test_a_mixture_has_each_modality_at_unit_length(tmp_path):
    rng = np.random.default_rng(0)
    keys = [text_key(str(i)) for i in range(40)]
    text = store_of(tmp_path / "t", 100 * rng.normal(size=(40, 6)), keys, [6])
    cells = rng.normal(size=(40, 4, 3))
    image = store_of(tmp_path / "i", cells, keys, [4, 3])
    absent = np.array(image.rows(keys))
    absent[0] = -1
    features = {
        "title": Features(text, text.rows(keys)),
        "image": Features(image, absent),
    }
    mixed = Mixed(features, components=5, arrays={}, seed=0)
    x = mixed(np.arange(40))
    assert x.shape == (40, 10)
    assert not x[0, 5:].any()  # no picture
    assert mixed.present.tolist() == list(range(40))
    # cells stand one behind the other: where they are counts
    flat = cells.reshape(40, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    fitted = mixed.reductions["image"]
    np.testing.assert_allclose(
        x[1:, 5:], fitted.transform(flat[1:].astype(np.float32)), atol=1e-4
    )


def test_a_modality_of_one_product_is_left_out(tmp_path):
    rng = np.random.default_rng(0)
    keys = [text_key(str(i)) for i in range(9)]
    text = store_of(tmp_path / "t", rng.normal(size=(9, 3)), keys, [3])
    rows = text.rows(keys)
    alone = np.where(np.arange(9) == 4, rows, -1)
    one = {"title": Features(text, alone)}
    mixed = Mixed(one, components=2, arrays={}, seed=0)
    assert not mixed.reductions
    assert not len(mixed.present)
    both = one | {"brand": Features(text, np.where(np.arange(9) < 5, rows, -1))}
    mixed = Mixed(both, components=2, arrays={}, seed=0)
    assert [*mixed.reductions] == ["brand"]
    assert mixed.present.tolist() == [0, 1, 2, 3, 4]


def test_joint_vectors_are_of_the_modalities_that_count():
    found = {"text": np.ones((2, 3)), "image": 2 * np.ones((2, 3))}
    one, both = (joint_vectors(found, m) for m in (("image",), ("title", "image")))
    np.testing.assert_array_equal(one, found["image"])
    np.testing.assert_array_equal(both, 3 * found["text"])
