"""Figures of a clustering: by hand, against scikit-learn, and what gives them away."""

from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics

from hsjax.evaluation.cluster_stability import (
    best_jaccard,
    stability,
    stability_within,
)
from hsjax.evaluation.cluster_tables import FIGURES
from hsjax.evaluation.clusters import (
    ari,
    cluster_purity,
    cluster_scores,
    contingency,
    discovery_accuracy,
    hungarian_accuracy,
    nmi,
)

# 10 rows: cluster 4 is {a a a b}, cluster 7 {b b c}, cluster 9 {c}; two are left out
LABELS = np.array([*"aaabbbcc", "c", "a"])
CLUSTERS = np.array([4, 4, 4, 4, 7, 7, 7, 9, -1, -1])


def test_scores_by_hand():
    scores = cluster_scores(LABELS, CLUSTERS)
    assert scores["rows"] == 10
    assert scores["coverage"] == 0.8
    assert (scores["classes"], scores["clusters"]) == (3, 3)
    assert scores["purity"] == 6 / 8
    assert scores["majority_share"] == 3 / 8  # of the clustered rows
    assert scores["hungarian_accuracy"] == 6 / 8
    table, classes, ids = contingency(LABELS, CLUSTERS)
    assert table.tolist() == [[3, 0, 0], [1, 2, 0], [0, 1, 1]]
    assert (classes.tolist(), ids.tolist()) == (["a", "b", "c"], [4, 7, 9])
    each = cluster_purity(LABELS, CLUSTERS)
    assert each.size.tolist() == [4, 3, 1]
    assert each.purity.tolist() == [3 / 4, 2 / 3, 1]
    assert each.label.tolist() == ["a", "b", "c"]
    # sum n (n - 1) / 2: cells 3 + 1, classes 3 + 3 + 1, clusters 6 + 3, all 28
    chance = 7 * 9 / 28
    assert scores["ari"] == pytest.approx((4 - chance) / (8 - chance))


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_scikit_learn_and_to_every_pairing(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=60)
    clusters = np.where(rng.random(60) < 0.6, labels, rng.integers(5, size=60)) * 3
    pair = (labels, clusters)
    table = metrics.cluster.contingency_matrix(*pair)
    scores = cluster_scores(*pair)
    assert scores["coverage"] == 1
    assert scores["purity"] == pytest.approx(table.max(axis=0).sum() / 60)
    assert scores["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(*pair))
    assert scores["ari"] == pytest.approx(metrics.adjusted_rand_score(*pair))
    wide = table if table.shape[0] <= table.shape[1] else table.T
    ways = permutations(range(wide.shape[1]), len(wide))
    best = max(sum(row[k] for row, k in zip(wide, way, strict=True)) for way in ways)
    assert scores["hungarian_accuracy"] == pytest.approx(best / 60)


def test_purity_rises_with_clusters_and_chance_says_so():
    """A cluster for every row is pure, and worth nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=90)
    single = cluster_scores(labels, np.arange(90))
    assert single["purity"] == single["purity_chance"] == 1
    assert single["ari"] == pytest.approx(0, abs=1e-9)
    assert single["hungarian_accuracy"] == 3 / 90
    one = cluster_scores(labels, np.zeros(90, int))
    assert one["purity"] == one["majority_share"]
    assert one["purity_chance"] == pytest.approx(one["purity"])
    assert one["nmi_chance"] == one["ari_chance"] == 0
    some = cluster_scores(labels, rng.integers(10, size=90), draws=400)
    assert some["purity"] == pytest.approx(some["purity_chance"], abs=0.06)
    assert some["purity_chance"] > some["majority_share"] + 0.1


def test_chance_is_the_mean_over_shuffled_rows():
    rng = np.random.default_rng(1)
    labels, clusters = rng.integers(4, size=50), rng.integers(6, size=50)
    shuffled = [rng.permutation(labels) for _ in range(400)]
    scores = cluster_scores(labels, clusters, draws=400)
    for name, figure in FIGURES.items():
        values = [figure(contingency(x, clusters).table) for x in shuffled]
        assert scores[f"{name}_chance"] == pytest.approx(np.mean(values), abs=0.01)
    assert scores["ari_chance"] == pytest.approx(0, abs=0.01)
    assert cluster_scores(labels, clusters, draws=400) == scores
    other = cluster_scores(labels, clusters, draws=400, seed=1)
    assert other["purity_chance"] != scores["purity_chance"]


def test_chance_knows_the_parts_that_were_known_before():
    """Classes that a known part gives away are no merit of clusters within it."""
    rng = np.random.default_rng(2)
    within = np.repeat(["shoes", "sandals"], [90, 30])
    labels = np.where(within == "shoes", rng.integers(3, size=120), 7)
    clusters = np.where(within == "shoes", rng.integers(3, size=120), 5)
    scores = cluster_scores(labels, clusters, within=within, draws=200)
    for name in FIGURES:  # clusters were drawn, and chance is worth as much
        assert scores[name] == pytest.approx(scores[f"{name}_chance"], abs=0.06)
    blind = cluster_scores(labels, clusters, draws=200)
    assert blind["nmi_chance"] < scores["nmi_chance"] - 0.3
    assert blind["ari_chance"] < scores["ari_chance"] - 0.1
    shuffled = labels.copy()
    values = []
    for _ in range(200):
        for part in ("shoes", "sandals"):
            rows = np.flatnonzero(within == part)
            shuffled[rows] = rng.permutation(labels[rows])
        values.append(nmi(shuffled, clusters))
    assert scores["nmi_chance"] == pytest.approx(np.mean(values), abs=0.01)


def test_rows_without_class_or_cluster():
    ids = np.array([0, 0, 1, -1, 1])
    scores = cluster_scores(ids, np.array([5, 5, 6, 6, -1]))
    assert (scores["rows"], scores["coverage"]) == (4, 0.75)
    assert scores["purity"] == scores["ari"] == scores["nmi"] == 1
    nothing = cluster_scores(ids, np.full(5, -1))
    assert nothing["coverage"] == nothing["clusters"] == 0
    figures = ("purity", "purity_chance", "majority_share", "nmi", "ari")
    assert np.isnan([nothing[x] for x in (*figures, "hungarian_accuracy")]).all()
    assert not len(cluster_purity(ids, np.full(5, -1)).cluster)
    assert np.isnan(cluster_scores(ids[:0], ids[:0])["coverage"])
    assert np.isnan([f(ids[3:4], ids[:1]) for f in (nmi, ari, hungarian_accuracy)][0])


def test_old_and_new_classes_share_one_pairing():
    """Cluster 0 is the best for old class a and for new class c: it stands for one."""
    labels = np.array([*"aaabb", *"cccccc"])
    clusters = np.array([*(0, 0, 0, 1, 1), *(0, 0, 0, 0, 0, 2)])
    scores = discovery_accuracy(labels, clusters, known=["a", "b"])
    # c takes 0 (5 rows) and b takes 1 (2): for a there is 2, in which it has no row
    assert scores["accuracy_all"] == pytest.approx(7 / 11)
    assert scores["accuracy_old"] == pytest.approx(2 / 5)
    assert scores["accuracy_new"] == pytest.approx(5 / 6)
    parts = slice(0, 5), slice(5, None)
    apart = [hungarian_accuracy(labels[part], clusters[part]) for part in parts]
    assert apart == [1, 5 / 6], "paired apart, cluster 0 would count twice"
    assert {scores[f"coverage_{x}"] for x in ("all", "old", "new")} == {1}


def test_discovery_of_fewer_clusters_than_classes_and_of_left_out_rows():
    labels, clusters = np.array([0, 0, 1, 1, 2, 2]), np.array([3, 3, 3, 3, -1, 8])
    scores = discovery_accuracy(labels, clusters, known={0, 1, 99})
    assert scores["accuracy_all"] == pytest.approx(3 / 5)
    assert scores["accuracy_old"] == 0.5, "one of the two has no cluster"
    assert scores["accuracy_new"] == 1
    assert scores["coverage_new"] == 0.5
    assert scores["coverage_all"] == pytest.approx(5 / 6)
    nothing_old = discovery_accuracy(labels, clusters, known=[])
    assert np.isnan(nothing_old["accuracy_old"])
    assert np.isnan(nothing_old["coverage_old"])
    longer = discovery_accuracy(np.array(["a", "b"]), clusters[:2], known=["ab"])
    assert np.isnan(longer["accuracy_old"]), "no name is cut to fit"


def test_stability_is_over_common_rows():
    one = np.array([0, 0, 1, 1, 2, 2])
    renamed = np.array([7, 7, 5, 5, 6, 6])
    assert stability([one, renamed]) == (1, 1, 1)
    absent = np.array([7, 7, 5, 5, -1, -1])
    other = np.array([0, 1, 0, 1, 0, 1])
    found = stability([one, absent, other])
    pairs = [1.0, metrics.adjusted_rand_score(one, other)]
    pairs += [metrics.adjusted_rand_score(absent[:4], other[:4])]
    assert found.ari == pytest.approx(np.mean(pairs))
    assert found.lowest == pytest.approx(min(pairs))
    assert found.common == pytest.approx((4 / 6 + 1 + 4 / 6) / 3)
    apart = stability([np.array([0, -1]), np.array([-1, 0])])
    assert np.isnan(apart.ari)
    assert apart.common == 0
    with pytest.raises(ValueError, match="two or more"):
        stability([one])


def test_jaccard_by_hand():
    mine = np.array([0, 0, 0, 1, 1, -1, -1])
    found = np.array([5, 5, 6, 6, -1, 5, 6])
    # cluster 0 and 5 share 2 of 4; 1 and 6 share 1 of 4; cluster 2 has no row
    assert best_jaccard(mine, found, np.array([0, 1]))[:2].tolist() == [0.5, 0.25]
    assert best_jaccard(mine, np.full(7, -1), np.array([0, 1])).tolist() == [0, 0]
    assert np.isnan(best_jaccard(mine, found, np.array([0, 1, 2]))[2])


def test_stability_within_parts_leaves_out_what_no_seed_divides():
    """What is the same because it was given says nothing of the clusters."""
    parts = np.repeat(["whole", "cut", "once"], [60, 20, 10])
    rng = np.random.default_rng(0)
    whole = np.zeros(60, int)
    cuts = [rng.integers(1, 3, size=20) for _ in range(2)]
    once = [np.full(10, 4), np.repeat([4, 5], 5)]
    runs = [np.concatenate([whole, c, o]) for c, o in zip(cuts, once, strict=True)]
    assert stability(runs).ari > 0.8
    found = stability_within(runs, parts)
    alone = metrics.adjusted_rand_score(*cuts)
    assert found == pytest.approx((20 * alone + 10 * 0) / 30)
    assert np.isnan(stability_within([whole, whole], parts[:60]))
