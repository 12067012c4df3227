"""Metrics against hand-computed cases, slow loops, scikit-learn and hiclass."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison import compare_runs
from hsjax.evaluation.comparison_tables import comparison_table
from hsjax.evaluation.errors import (
    error_sections,
    suspected_label_errors,
    worst_classes,
)
from hsjax.evaluation.intervals import (
    Interval,
    bootstrap,
    resamples,
    seed_interval,
)
from hsjax.evaluation.measures import class_averages
from hsjax.evaluation.metrics import score
from hsjax.evaluation.paired import over_seeds, paired_difference
from hsjax.evaluation.plots import plot_confusion, plot_curves, plot_reliability
from hsjax.evaluation.predictions import Predictions, write_predictions
from hsjax.evaluation.reliability import calibration_error
from hsjax.evaluation.retrieval import recall_at
from hsjax.evaluation.tables import table, write_report
from hsjax.taxonomy import Taxonomy


def codes(paths, depth, separator=" > "):
    """(N, L) node codes of paths such as 'Men > Shoes'."""
    table = np.full((len(paths), depth), "", object)
    for row, path in enumerate(paths):
        parts = path.split(separator) if path else []
        for level in range(len(parts)):
            table[row, level] = separator.join(parts[: level + 1])
    return table


def make_predictions(truth, answer, *, depth=3, **changes):
    """Predictions of paths (strings) or of (N, L) node codes."""
    truth = codes(truth, depth) if isinstance(truth, list) else truth
    answer = codes(answer, depth) if isinstance(answer, list) else answer
    n, levels = truth.shape
    prob = np.where(answer != "", 0.9, 0.0).astype(np.float32)
    columns = {
        "row": np.arange(1, n + 1),
        "id": np.array([f"p{i}" for i in range(n)], object),
        "group": np.arange(n),
        "truth": truth,
        "complete": np.ones(n, bool),
        "outside": np.zeros(n, bool),
        "decoded": {"path": answer},
        "valid": {"path": np.ones(n, bool)},
        "prob": prob,
        "log_prob": np.full(n, np.log(0.9), np.float32),
        "topk_codes": np.array([[max(row, key=len)] for row in answer], object),
        "topk_probs": np.full((n, 1), 0.9, np.float32),
        "level_topk": answer[:, :, None],
        "present": {"title": np.ones(n, bool), "image": np.ones(n, bool)},
        "embeddings": {},
        "stage": np.full(n, "", object),
        "main": "path",
        "separator": " > ",
    }
    return Predictions(**(columns | changes))


def random_tree_predictions(n=300, seed=0, **changes):
    """Full-depth paths of a 3-level tree; two rows in three are right."""
    rng = np.random.default_rng(seed)
    leaf = rng.geometric(0.08, n).clip(max=30)
    wrong = rng.random(n) < 1 / 3
    answer = np.where(wrong, rng.integers(1, 31, n), leaf)
    paths = [[f"{i % 3} > {i % 6} > {i}" for i in ids] for ids in (leaf, answer)]
    prob = np.sort(rng.random((n, 3)), axis=1)[:, ::-1].astype(np.float32)
    columns = {"prob": prob, "group": rng.integers(0, n // 2, n)} | changes
    return make_predictions(*paths, **columns)


def points(predictions, **options):
    return score(predictions, bootstrap=0, **options)


def test_hand_computed_paths():
    truth = ["A > B > C", "A > B > C", "A > B > D", "E > F > G"]
    answer = ["A > B > C", "A > B > D", "A > B > D", "A > B > C"]
    found = points(make_predictions(truth, answer))
    assert found["level1/accuracy"] == 0.75
    assert found["level3/accuracy"] == 0.5
    assert found["path/accuracy"] == 0.5
    assert found["hierarchical/f1"] == pytest.approx((3 + 2 + 3 + 0) / 12)
    assert found["severity/tree_distance"] == (2 + 6) / 2
    assert found["severity/lca_height"] == (1 + 3) / 2
    # C: 1 hit, 2 rows, 2 answers; D: 1 hit, 1 row, 2 answers; G: never found
    assert found["level3/macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert found["level3/weighted_f1"] == pytest.approx((2 / 2 + 2 / 3 + 0) / 4)
    assert np.isnan(found["level3/macro_f1_min5"])  # no class has five rows
    assert found["count/rows"] == 4
    assert found["count/level3_classes"] == 3


def test_same_name_is_not_the_same_node():
    found = points(
        make_predictions(["Men > Shoes"] * 2, ["Women > Shoes"] * 2, depth=2)
    )
    assert found["level2/accuracy"] == 0
    assert found["level2/macro_f1"] == 0
    assert found["level2/name_accuracy"] == 1
    assert found["level2/name_macro_f1"] == 1
    assert found["hierarchical/f1"] == 0


def test_swapped_path_shares_no_node():
    found = points(make_predictions(["A > B"], ["B > A"], depth=2))
    assert found["hierarchical/precision"] == 0
    assert found["hierarchical/recall"] == 0
    assert found["severity/tree_distance"] == 4


def test_ragged_truth_skips_missing_levels():
    """A product ends at B: going on to C is a mistake, but none of level 3."""
    found = points(make_predictions(["A > B", "A > B > C"], ["A > B > C"] * 2))
    assert found["level2/accuracy"] == 1
    assert found["level3/accuracy"] == 1
    assert found["count/level3_rows"] == 1
    assert found["level3/macro_precision"] == 1
    assert found["hierarchical/precision"] == pytest.approx(5 / 6)
    assert found["hierarchical/recall"] == 1
    assert found["path/accuracy"] == 0.5
    assert found["decode/path/path_accuracy"] == 0.5
    assert found["severity/tree_distance"] == 1
    assert found["severity/lca_height"] == 1


def test_padded_scores_count_what_ended_above():
    """B7: the easy rows that end at level 2 lift the padded level 3, not the real."""
    truth = ["A > B", "A > B", "A > C", "A > D > E", "A > D > F"]
    answer = ["A > B", "A > B", "A > B", "A > D > E", "A > D > E"]
    found = points(make_predictions(truth, answer))
    assert found["level3/accuracy"] == 1 / 2
    assert found["level3/padded_accuracy"] == 3 / 5
    # B: 2 of 3 answers, C: never, E: 1 of 2 answers, F: never
    f1 = {"B": 4 / 5, "C": 0, "E": 2 / 3, "F": 0}
    assert found["level3/padded_macro_f1"] == pytest.approx(sum(f1.values()) / 4)
    weighted = (2 * f1["B"] + f1["E"]) / 5
    assert found["level3/padded_weighted_f1"] == pytest.approx(weighted)
    assert "level2/padded_accuracy" not in found, "every label reaches level 2"
    unknown = points(make_predictions(truth, answer, complete=np.zeros(5, bool)))
    assert "level3/padded_accuracy" not in unknown, "what ends is not known"


def test_unknown_below_is_not_scored():
    truth, answer = ["A > B", "A > B"], ["A > B > C", "A > X > Y"]
    predictions = make_predictions(truth, answer, complete=np.zeros(2, bool))
    found = points(predictions)
    assert found["hierarchical/precision"] == 0.75
    assert found["hierarchical/recall"] == 0.75
    assert found["path/accuracy"] == 0.5
    assert found["decode/path/path_accuracy"] == 0.5
    assert found["severity/tree_distance"] == 2
    assert np.isnan(found["level3/accuracy"])
    assert np.isnan(found["level3/ece"])


def test_early_stop_is_wrong_below():
    found = points(make_predictions(["A > B > C"] * 2, ["A > B > C", "A"]))
    assert found["level1/accuracy"] == 1
    assert found["level2/accuracy"] == 0.5
    assert found["level3/accuracy"] == 0.5
    assert found["hierarchical/precision"] == 1
    assert found["hierarchical/recall"] == pytest.approx(4 / 6)
    assert found["severity/lca_height"] == 2
    assert found["level3/ece"] == pytest.approx(0.1)  # only the row that answered


def test_label_outside_the_tree_is_wrong_below():
    predictions = make_predictions(
        ["A > new > one"], ["A > B > C"], outside=np.array([True])
    )
    found = points(predictions)
    assert found["labels/outside_tree"] == 1
    assert [found[f"level{k}/accuracy"] for k in (1, 2, 3)] == [1, 0, 0]
    assert found["level3/macro_f1"] == 0


def test_rows_without_a_label_do_not_count():
    found = points(make_predictions(["A > B", ""], ["A > B", "C > D"], depth=2))
    assert found["count/rows"] == 1
    assert found["path/accuracy"] == 1
    assert found["hierarchical/precision"] == 1
    assert points(make_predictions([""], ["A"]))["count/rows"] == 0


def test_decodes_side_by_side():
    truth = codes(["A > B", "C > D"], 2)
    greedy, mixed = codes(["A > B", "A > B"], 2), truth.copy()
    mixed[1, 0] = "A"
    predictions = make_predictions(
        truth,
        greedy,
        decoded={"greedy": greedy, "independent": mixed},
        valid={"greedy": np.ones(2, bool), "independent": np.array([True, False])},
        main="greedy",
    )
    found = points(predictions)
    assert found["decode/greedy/path_accuracy"] == 0.5
    assert found["decode/independent/path_accuracy"] == 0.5, "A > D is no path"
    assert found["decode/independent/hierarchical_f1"] == 0.75
    assert found["invalid_paths/greedy"] == 0
    assert found["invalid_paths/independent"] == 0.5
    assert found["hierarchical/f1"] == found["decode/greedy/hierarchical_f1"]


def test_top_k_and_digit_aliases():
    truth = np.array([["01", "0101", "010121"], ["02", "0201", "020110"]], object)
    ranked = np.full((2, 3, 5), "", object)
    ranked[:, 2] = ["99", "98", "010121", "97", "020110"]
    found = points(make_predictions(truth, truth, separator="", level_topk=ranked))
    assert found["level3/top3_accuracy"] == 0.5
    assert found["level3/top5_accuracy"] == 1
    assert found["digits6/top3_accuracy"] == 0.5
    assert found["digits4/accuracy"] == found["level2/accuracy"] == 1
    assert "digits2/macro_f1" in found
    # a node that was added with a code of its own is of the level all the same
    added = np.array([["01", "0101", "0101.n1"], ["02", "0201", "020110"]], object)
    found = points(make_predictions(added, added, separator=""))
    assert found["digits6/accuracy"] == found["level3/accuracy"] == 1


@pytest.mark.parametrize("level", [1, 2, 3])
def test_averages_equal_scikit_learn(level):
    predictions = random_tree_predictions()
    found = points(predictions)
    truth = predictions.truth[:, level - 1].astype(str)
    answer = predictions.decoded["path"][:, level - 1].astype(str)
    options = {"labels": np.unique(truth), "zero_division": 0}
    for average in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            truth, answer, average=average, **options
        )
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert found[f"level{level}/{average}_{name}"] == pytest.approx(value)
    accuracy = accuracy_score(truth, answer)
    assert found[f"level{level}/accuracy"] == pytest.approx(accuracy)
    per_class = precision_recall_fscore_support(truth, answer, **options)
    steady = per_class[2][per_class[3] >= 5].mean()
    assert found[f"level{level}/macro_f1_min5"] == pytest.approx(steady)


def test_hierarchical_scores_equal_hiclass():
    metrics = pytest.importorskip("hiclass.metrics")
    predictions = random_tree_predictions()
    truth, answer = predictions.truth.tolist(), predictions.decoded["path"].tolist()
    found = points(predictions)
    for name in ("precision", "recall", "f1"):
        expected = getattr(metrics, name)(truth, answer)
        assert found[f"hierarchical/{name}"] == pytest.approx(expected)


def test_calibration_error_by_hand_and_by_weights():
    confidence = np.array([0.9, 0.8, 0.2, 0.1])
    correct = np.array([True, False, True, False])
    two = calibration_error(confidence, correct, np.ones((4, 1)), bins=2)
    assert two == pytest.approx([(abs(1.7 - 1) + abs(0.3 - 1)) / 4])
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(40).round(1), rng.random(40) < 0.6
    weights = rng.integers(0, 4, (40, 1)).astype(float)
    rows = np.repeat(np.arange(40), weights[:, 0].astype(int))
    repeated = calibration_error(
        confidence[rows], correct[rows], np.ones((len(rows), 1))
    )
    assert calibration_error(confidence, correct, weights) == pytest.approx(repeated)


def test_bootstrap_equals_a_slow_loop():
    """A weight of two is a row given twice, for every metric of the dictionary."""
    predictions = random_tree_predictions(n=60)
    (weights,) = resamples(predictions.group, count=40, seed=3)
    draws = []
    for column in weights.T.astype(int):
        repeated = predictions.select(np.repeat(np.arange(60), column))
        draws.append(points(repeated))
    found = score(predictions, bootstrap=40, seed=3)
    # the classes of macro_f1_min5 are chosen once, by the file as it is
    bounded = [name for name in found if f"{name}_low" in found]
    names = [name for name in bounded if not name.endswith("min5")]
    assert len(names) > 30
    for name in names:
        values = [draw[name] for draw in draws if np.isfinite(draw[name])]
        low, high = np.percentile(values, (2.5, 97.5)) if values else (np.nan, np.nan)
        if values and ("macro_" in name or name.endswith("ece")):
            excess = np.mean(values) - found[name]  # what resampling adds
            low, high = np.clip([low - excess, high - excess], 0, 1)
        assert found[f"{name}_low"] == pytest.approx(low, nan_ok=True), name
        assert found[f"{name}_high"] == pytest.approx(high, nan_ok=True), name


def test_resamples_are_of_groups_and_do_not_depend_on_row_order():
    group = np.array([7, 7, 3, 3, 3, 9])
    weights = np.concatenate(list(resamples(group, count=50, seed=1)), axis=1)
    assert weights.shape == (6, 50)
    assert (weights[0] == weights[1]).all()
    assert (weights[2] == weights[4]).all()
    assert (weights[[0, 2, 5]].sum(axis=0) == 3).all()
    (other,) = resamples(group[::-1], count=50, seed=1)
    np.testing.assert_array_equal(other[::-1], weights)


def test_interval_covers_the_truth_about_95_times_in_100():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(100):
        right = rng.random(150) < 0.7
        answer = np.where(right, "A", "B")[:, None].astype(object)
        truth = np.full((150, 1), "A", object)
        found = score(make_predictions(truth, answer), bootstrap=200, seed=trial)
        low, high = found["level1/accuracy_low"], found["level1/accuracy_high"]
        covered += low <= 0.7 <= high
    assert 88 <= covered <= 100


def test_score_is_deterministic():
    predictions = random_tree_predictions()
    assert score(predictions, bootstrap=50) == pytest.approx(
        score(predictions, bootstrap=50), abs=0, nan_ok=True
    )


def test_few_and_many_training_rows():
    predictions = make_predictions(["A", "B", "C"], ["A", "B", "A"], depth=1)
    found = points(predictions, train_counts={"A": 500, "B": 50})
    assert found["leaf/many_shot_accuracy"] == 1
    assert found["leaf/medium_shot_accuracy"] == 1
    assert found["leaf/few_shot_accuracy"] == 0


def test_macro_figures_of_rare_and_frequent_classes_equal_scikit_learn():
    predictions = random_tree_predictions()
    truth = np.array([path[-1] for path in predictions.truth])
    answer = np.array([path[-1] for path in predictions.decoded["path"]])
    codes, rows = np.unique(truth, return_counts=True)
    train_counts = {str(c): 7 * int(n) for c, n in zip(codes, rows, strict=True)}
    found = points(predictions, train_counts=train_counts)
    seen = 7 * rows
    bands = {"few": seen < 20, "many": seen > 100}
    bands["medium"] = ~(bands["few"] | bands["many"])
    for name, kept in bands.items():
        assert kept.any()
        labels = codes[kept].tolist()
        options = {"labels": labels, "average": "macro", "zero_division": 0}
        _, recall, f1, _ = precision_recall_fscore_support(truth, answer, **options)
        assert found[f"leaf/{name}_shot_macro_recall"] == pytest.approx(recall)
        assert found[f"leaf/{name}_shot_macro_f1"] == pytest.approx(f1)


def test_retrieval_ranks_and_ties():
    items = np.eye(12)
    np.testing.assert_array_equal(recall_at(items, items), np.ones((12, 3)))
    same = np.ones((12, 12)) / np.sqrt(12)  # a collapsed model is at chance
    np.testing.assert_allclose(recall_at(same, same)[0], [1 / 12, 5 / 12, 10 / 12])
    shifted = recall_at(items + 0.9 * np.roll(items, -1, axis=1) * 2, items)
    np.testing.assert_array_equal(shifted[0], [0, 1, 1])


def test_retrieval_takes_one_product_per_group_with_both_modalities():
    vectors = np.eye(6, dtype=np.float32)
    swapped = vectors[[1, 0, 2, 3, 4, 5]]
    predictions = make_predictions(
        ["A"] * 6,
        ["A"] * 6,
        depth=1,
        group=np.array([0, 1, 2, 2, 3, 4]),
        present={"title": np.ones(6, bool), "image": np.arange(6) < 5},
        embeddings={"text": vectors, "image": swapped},
    )
    found = points(predictions)  # rows 0, 1, 2, 4; rows 0 and 1 find each other
    assert found["retrieval/text_to_image_r1"] == 0.5
    assert found["retrieval/image_to_text_r1"] == 0.5
    assert found["retrieval/text_to_image_r5"] == 1
    alone = points(predictions.select([0]))  # nothing to be told apart
    assert np.isnan(alone["retrieval/text_to_image_r1"])
    assert np.isnan(alone["retrieval/image_to_text_r10"])


def test_paired_difference_of_seeds_joins_by_row():
    a = [random_tree_predictions(seed=0)] * 2
    shuffled = a[0].select(np.random.default_rng(1).permutation(300))
    names = ["level3/macro_f1", "hierarchical/f1", "severity/tree_distance"]
    for interval in paired_difference(a, shuffled, names, count=50).values():
        assert interval == pytest.approx((0, 0, 0), abs=1e-12)
    worse = a[0].decoded["path"].copy()
    worse[:60] = codes(["0 > 0 > 30"], 3)
    b = make_predictions(a[0].truth, worse, group=a[0].group)
    found = paired_difference(a, [b], names, count=50)
    first, second = points(a[0]), points(b)
    for name, interval in found.items():
        assert interval.value == pytest.approx(first[name] - second[name])
        assert interval.low <= interval.value <= interval.high
    assert found["level3/macro_f1"].low > 0
    assert "| level3/macro_f1 |" in comparison_table(found, a="one", b="two")


def test_several_seeds_become_means_with_an_interval(tmp_path, capsys):
    runs = [random_tree_predictions(seed=seed) for seed in (0, 1, 2)]
    runs = [replace(runs[0], decoded=run.decoded) for run in runs]
    name = "level3/accuracy"
    accuracy = [points(run)[name] for run in runs]
    found = over_seeds(runs, [name])[name]
    assert found == pytest.approx(seed_interval(accuracy))
    assert found.low < found.value < found.high
    folders = []
    for seed, run in enumerate(runs):
        folders.append(str(tmp_path / f"seed{seed}" / "test"))
        Path(folders[-1]).mkdir(parents=True)
        write_predictions(run, Path(folders[-1]) / "predictions.parquet")
    compare_runs(folders, [], tmp_path / "mean", [name])
    told = capsys.readouterr().out
    assert "(test + test + test: 3 runs). Brackets hold 95 % t-intervals" in told
    groups = len(set(runs[0].group.tolist()))
    assert f"300 rows with a label in {groups} groups" in told
    assert "macro_f1_min5" not in told
    with pytest.raises(CatalogueError, match="the same folders"):
        compare_runs(folders, folders, tmp_path / "same", [name])
    compare_runs(folders[:1] * 2, folders[1:], tmp_path / "twins", [name])
    assert "answer every row the same" in capsys.readouterr().out
    fewer = runs[1].select(np.arange(1, len(runs[1])))
    with pytest.raises(CatalogueError, match="different rows"):
        over_seeds([runs[0], fewer], [name])
    # both folders are called `test`: the sides stay two
    compare_runs(folders[:1], folders[1:], tmp_path / "versus", [name])
    document = json.loads((tmp_path / "versus" / "comparison.json").read_text())
    assert len(document["seeds"]) == 2
    first, others = (side[name]["value"] for side in document["seeds"].values())
    assert document[name]["value"] == pytest.approx(first - others)
    assert document["rows"] == [300] * 3


def test_two_runs_have_their_range_and_one_has_no_bounds(tmp_path, capsys):
    runs, names = [], ["level3/accuracy", "level3/macro_f1_min5"]
    for folder, seed in (("a", 0), ("b", 1), ("c", 0)):
        other = random_tree_predictions(seed=seed).decoded
        runs.append(replace(random_tree_predictions(), decoded=other))
        (tmp_path / folder).mkdir()
        write_predictions(runs[-1], tmp_path / folder / "predictions.parquet")
    a, b, c = (str(tmp_path / folder) for folder in "abc")
    compare_runs([a, b], [c], tmp_path / "two", names)
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "two/comparison.json").read_text())
    low, high = sorted(points(run)["level3/accuracy"] for run in runs[:2])
    bounds = found["seeds"]["a + b"]["level3/accuracy"]
    value = (low + high) / 2
    assert bounds == pytest.approx({"value": value, "low": low, "high": high})
    assert f"({100 * low:.1f} to {100 * high:.1f})" in told
    assert "(a + b: 2 runs). Two runs are too few for an interval" in told
    assert "t-interval" not in told
    assert "macro_f1_min5: mean F1 of classes with 5 rows or more" in told
    compare_runs([a], [c], tmp_path / "one", names)
    means, _ = capsys.readouterr().out.split("| metric | a − c")
    assert not re.search(r"[\[(]|seeds|interval", means)


def test_paired_difference_refuses_other_rows_and_labels():
    a = make_predictions(["A", "B"], ["A", "B"], depth=1)
    with pytest.raises(CatalogueError, match="different rows: 1 are only in the first"):
        paired_difference(a, a.select([0]), ["level1/accuracy"])
    b = make_predictions(["A", "C"], ["A", "B"], depth=1)
    with pytest.raises(CatalogueError, match="different labels .* row 2"):
        paired_difference(a, b, ["level1/accuracy"])
    with pytest.raises(KeyError, match="level9"):
        paired_difference(a, a, ["level9/accuracy"])


def test_seed_interval():
    assert seed_interval([0.8, 0.82, 0.84]) == pytest.approx(
        (0.82, 0.77032, 0.86968), 1e-5
    )
    value, low, high = seed_interval([0.5])
    assert value == 0.5
    assert np.isnan(low)
    assert np.isnan(high)


def test_suspected_label_errors_and_worst_classes():
    truth = ["A > B"] * 6 + ["A"]
    answer = ["A > B", *["A > C"] * 5, "A > C"]
    complete = np.array([True] * 6 + [False])
    # what is less probable than the label contradicts nothing
    second = np.array([["A > B", "A > C"], *[["A > C", "A > B"]] * 6], object)
    probs = np.full((7, 2), (0.9, 0.1), np.float32)
    probs[3] = (0.95, 0.05)
    predictions = make_predictions(
        truth, answer, depth=2, complete=complete, topk_codes=second, topk_probs=probs
    )
    suspects = suspected_label_errors(predictions)
    assert [s.row for s in suspects] == [4, 2, 3, 5, 6]  # not 7: unknown below A
    assert {s.answer for s in suspects} == {"A > C"}
    text = error_sections(predictions, {})["Suspected label errors"]
    assert text.startswith("Searched: the 7 labelled rows of this report, no others.")
    assert "In 5 of them" in text
    assert len(re.findall("0.9[05]0", text)) == 5
    right = error_sections(predictions.select([0]), {})
    assert right["Suspected label errors"].endswith(
        "In 0 of them the most probable path contradicts the label, in 0 with a"
        " probability of 0.5 or more. Either the label is wrong there, or the model."
    )
    assert right["Worst confusions"] == "No row is wrong."
    assert right["Worst classes"] == "No class has 5 rows or more."
    (worst,) = worst_classes(predictions)
    assert worst.code == "A > B"
    assert worst.recall == pytest.approx(1 / 6)
    assert worst.mistaken_for == "A > C"


def test_report_shows_dashes_and_never_nan(tmp_path):
    predictions = make_predictions(["A > B"] * 3, ["A > B"] * 3)
    metrics = score(predictions, bootstrap=20)
    assert np.isnan(metrics["level3/accuracy"])
    context = {
        "run": "demo",
        "config_hash": "0123456789abcdef",
        "compiled_after_warmup": 0,
        "quarantine": {("no text | no image", "dropped"): 12345},
        "names": {"A > B": "trousers"},
        "val_loss": np.float32("nan"),
    }
    write_report(tmp_path, predictions, metrics, context=context)
    text = (tmp_path / "report.md").read_text()
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert "12,345" in text
    assert "no text \\| no image" in text
    head, *_, technical = text.split("\n## ")
    assert "hash" not in head
    assert "compiled" not in head
    assert "| config hash | 0123456789ab |" in technical
    assert "| programs compiled after warm-up (0 is as it should be) | 0 |" in technical
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["context"]["config_hash"] == "0123456789abcdef"
    assert document["metrics"]["level3/accuracy"] is None
    assert document["metrics"]["level2/accuracy"] == 1
    assert document["context"]["val_loss"] is None
    assert document["context"]["decode"] == "path"


def test_a_table_of_nothing_but_dashes_is_a_sentence(tmp_path):
    predictions = make_predictions(["A > B"] * 3, ["A > B"] * 3)
    write_report(tmp_path, predictions, score(predictions, bootstrap=0), context={})
    text = (tmp_path / "report.md").read_text()
    sections = dict(part.split("\n\n", 1) for part in text.split("\n## ")[1:])
    assert sections["Retrieval"].startswith("Not measured: it takes a model of")
    assert sections["Quarantine"].strip() == "No row has a flaw."
    assert sections["Frequency in training"].startswith("Not measured: the training")
    assert "| level 1 |" in sections["Calibration"]
    assert "Technical details" not in sections


def test_tables_are_markdown():
    assert table(["a", "b"], []).splitlines()[-1] == "| – | – |"
    assert table(["a", "b"], [["x", None], ["y", np.nan]], empty="None.") == "None."
    assert table(["a", "b"], [["x", None], ["y", 1]], empty="None.") != "None."
    ranges = table(["a"], [["91.2 (90.1 to 92.0)"], ["3.0 [1.0, 2.0]"]])
    assert ranges.splitlines()[1] == "| ---: |"
    text = comparison_table({"x": Interval(np.nan, np.nan, np.nan)})
    assert "nan" not in text


def test_plots_are_written(tmp_path):
    predictions = random_tree_predictions()
    rows = [{"step": s, "train/classification": 5 / s} for s in range(1, 50)]
    rows += [{"step": 25, "val/loss": 1.0, "val/level3/accuracy": 0.5, "x": None}]
    plot_curves(rows, tmp_path / "curves.png")
    plot_curves([], tmp_path / "empty.png")
    # a level that no row of validation has
    plot_curves([{"step": 1, "val/level3/accuracy": None}], tmp_path / "none.png")
    plot_reliability(predictions, tmp_path / "reliability.png")
    plot_confusion(predictions, tmp_path / "confusion.png")
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self))
    return figures


def test_the_confusion_shows_the_finest_level_and_most_mistakes(tmp_path, drawn):
    codes = [f"c{i}" for i in range(5)]
    truth = np.array([["a", c] for c in codes for _ in range(4)], object)
    answer = truth.copy()
    answer[1:3, 1], answer[-1, 1] = "c3", "c0"  # c0 twice for c3, c4 once for c0
    predictions = make_predictions(truth, answer, separator="")
    plot_confusion(predictions, tmp_path / "x.png", limit=2)
    (axes, _) = drawn[0].axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["c0", "c3", "other"]
    assert axes.get_title().startswith("level 2")
    assert "2 of 5 classes" in axes.get_title()
    np.testing.assert_allclose(axes.images[0].get_array()[0], [50, 50, 0])


def test_the_gap_is_that_of_a_loss_which_knows_no_batch_size(tmp_path, drawn):
    """InfoNCE grows with the negatives: no area between its two curves."""
    parts = {"train": {"step": 5}, "val": {"step": 5}}
    for name, value in (("loss", 5.0), ("classification", 2.0), ("contrastive", 3.0)):
        for part, row in parts.items():
            row[f"{part}/{name}"] = value + (part == "val")
    rows = [{**row, "step": s} for s in (5, 10) for row in parts.values()]
    plot_curves(rows, tmp_path / "x.png")
    panels = {axes.get_title(): axes for axes in drawn[0].axes}
    classes, contrastive, _ = panels.values()
    assert [*panels][0] == "classification loss"
    assert [*panels][1].startswith("contrastive loss, other negatives")
    (area,) = classes.collections
    assert area.get_label() == "gap: validation above training"
    assert area.get_paths()[0].get_extents().extents.tolist() == [5, 2, 10, 3]
    assert not contrastive.collections
    assert {"train", "validation"} <= {x.get_label() for x in contrastive.lines}


def test_curves_hide_nothing_and_say_no_more_than_they_show(tmp_path, drawn):
    rows = [{"step": s, "train/classification": 3.0 - s} for s in (0, 1, 2, 3)]
    names = ("level1/accuracy", "level2/accuracy", "hierarchical/f1")
    for step, loss in ((0, 2.0), (2, 0.5), (3, 1.0)):
        shares = {f"val/{name}": 0.5 for name in names}
        rows.append({"step": step, "val/classification": loss, **shares})
    plot_curves(rows, tmp_path / "x.png")
    losses, validation = drawn[0].axes
    (area,) = losses.collections
    corners = area.get_paths()[0].get_extents().extents
    # the curves meet at 7/3; before, there is no area
    np.testing.assert_allclose(corners, [7 / 3, 0, 3, 1])
    assert validation.get_title() == "validation"
    lines = [x for x in validation.lines if not x.get_label().startswith("best")]
    assert len(lines) == 3
    assert len({x.get_linestyle() for x in lines}) == 3
    widths = [x.get_linewidth() for x in lines]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]
    for axes in (losses, validation):
        ticks = axes.xaxis.get_major_locator().tick_values(0, 3)
        assert np.array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize(("rows", "bins"), [(12, 1), (100, 5), (600, 15)])
def test_bins_hold_rows_enough_and_no_point_is_cut(tmp_path, drawn, rows, bins):
    rng = np.random.default_rng(0)
    prob = rng.random((rows, 3)).astype(np.float32)
    predictions = random_tree_predictions(rows, prob=prob)
    plot_reliability(predictions, tmp_path / "x.png")
    for level, axes in enumerate(drawn[0].axes):
        (line,) = [x for x in axes.lines if x.get_label() == "measured"]
        assert len(line.get_xdata()) == bins
        assert axes.get_xlim() == axes.get_ylim() == (-0.02, 1.02)
        ece = points(predictions)[f"level{level + 1}/ece"]  # of 15 bins, as reported
        assert axes.get_title() == f"level {level + 1}: ECE {100 * ece:.1f} %"


def test_the_classes_of_macro_f1_min5_are_fixed_by_the_file():
    """A class of 4 rows does not enter where a resample draws it more often."""
    truth = np.array(["A"] * 6 + ["B"] * 4, object)
    answer = np.array(["A"] * 10, object)
    weights = np.array([[1.0] * 10, [1.0] * 6 + [3.0] * 4, [0.0] * 6 + [1.0] * 4]).T
    found = class_averages(truth, answer)(weights)["macro_f1_min5"]
    assert found[:2] == pytest.approx([2 * 6 / (6 + 10), 2 * 6 / (6 + 18)])
    assert np.isnan(found[2])  # no row of the one class that counts was drawn


def test_what_is_compared_by_default_is_the_deepest_level_with_a_row(tmp_path):
    """One odd label makes a tree deeper than what the test part has."""
    run = random_tree_predictions(seed=0)
    truth = run.truth.copy()
    truth[:, 2] = ""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "predictions.parquet"
        write_predictions(replace(run, truth=truth), path)
    compare_runs([str(tmp_path / "a")], [str(tmp_path / "b")], tmp_path / "out", [])
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    assert found["level2/accuracy"]["value"] == 0
    assert "level3/accuracy" not in found


def test_runs_of_fewer_levels_are_compared_on_those_that_all_have(tmp_path, capsys):
    deep = random_tree_predictions(seed=0)
    other = random_tree_predictions(seed=1)
    shallow = replace(
        deep,
        truth=deep.truth[:, :2],
        complete=deep.truth[:, 1] != "",
        decoded={name: codes[:, :2] for name, codes in other.decoded.items()},
        prob=other.prob[:, :2],
        level_topk=other.level_topk[:, :2],
    )
    for folder, run in (("deep", deep), ("shallow", shallow)):
        (tmp_path / folder).mkdir()
        write_predictions(run, tmp_path / folder / "predictions.parquet")
    sides = [str(tmp_path / "deep")], [str(tmp_path / "shallow")]
    compare_runs(*sides, tmp_path / "out", [])
    assert "have 2 and 3 levels; compared are the first 2" in capsys.readouterr().out
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    name = "level2/accuracy"
    expected = points(deep)[name] - points(shallow)[name]
    assert found[name]["value"] == pytest.approx(expected)
    assert "level3/accuracy" not in found
    with pytest.raises(CatalogueError, match="'leaf/accuracy' is of whole paths"):
        compare_runs(*sides, tmp_path / "x", ["leaf/accuracy"])
    with pytest.raises(CatalogueError, match="'level3/accuracy'"):
        compare_runs(*sides, tmp_path / "x", ["level3/accuracy"])
    paths = {tuple(path) for path in deep.truth.tolist()}
    for file, levels in (("refined", 3), ("old", 2)):
        tree = Taxonomy.from_paths({p[:levels] for p in paths}, separator=" > ")
        tree.save(tmp_path / f"{file}.json")
    with pytest.raises(CatalogueError, match="has 3 levels, and a side answers in 2"):
        compare_runs(*sides, tmp_path / "x", tree=tmp_path / "refined.json")
    compare_runs(*sides, tmp_path / "x", tree=tmp_path / "old.json")
    cut = json.loads((tmp_path / "x/comparison.json").read_text())
    assert cut[name]["value"] == pytest.approx(expected)


def test_a_set_is_answered_by_one_of_its_nodes_or_below():
    sets = np.full((4, 2), "", object)
    sets[0] = "A > x", "A > y"  # answered A > y
    sets[1, 0] = "B"  # answered A > x
    sets[3] = "A", "B > z"  # answered A > x, which lies below A
    truth = np.array([["A", ""], ["", ""], ["A", "A > x"], ["", ""]], object)
    answer = np.array([["A", "A > y"], *[["A", "A > x"]] * 3], object)
    found = make_predictions(truth, answer, admissible=sets)
    measured = score(found, bootstrap=10)
    assert measured["set/accuracy"] == pytest.approx(2 / 3)
    assert measured["count/set_rows"] == 3
    assert measured["set/accuracy_low"] <= 2 / 3 <= measured["set/accuracy_high"]
    assert measured["count/rows"] == 2  # the others share no node
    assert "set/accuracy" not in score(found.select([2]), bootstrap=0)


@pytest.mark.parametrize("rows", [30, 100, 400])
def test_the_interval_of_a_calibration_error_has_it_within(rows):
    """Resampling alone makes an ECE larger: plain percentiles lie above a small one."""
    rng = np.random.default_rng(rows)
    stated = rng.uniform(0.5, 1, rows)
    right = rng.uniform(size=rows) < stated

    def measure(weights):
        error = calibration_error(stated, right, weights)
        return {"level1/ece": error, "as it comes": error}

    found = bootstrap(measure, np.arange(rows))
    known, plain = found["level1/ece"], found["as it comes"]
    assert 0 <= known.low <= known.value <= known.high
    assert known.high < plain.high
    assert known.value == plain.value
