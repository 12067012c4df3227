"""Rows of a table over their seeds and against a reference, on ready-made reports."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_metrics import points, random_tree_predictions

from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison_report import write_comparison
from hsjax.evaluation.comparison_rows import Row, compare_rows, seed_difference
from hsjax.evaluation.intervals import seed_interval
from hsjax.evaluation.paired import paired_difference
from hsjax.evaluation.predictions import write_predictions

TRUTH = random_tree_predictions(n=400)
ACCURACY, F1, LEAF = "level3/accuracy", "hierarchical/f1", "leaf/few_shot_macro_f1"
RETRIEVAL = "retrieval/text_to_image_r1"
METRICS = (ACCURACY, F1, LEAF, RETRIEVAL)
COUNTS = {str(code): 5 for code in np.unique(TRUTH.truth[:, 2]).tolist()}


def answers_right(share, seed):
    """The same products, a share of them right, which ones by chance."""
    right = np.random.default_rng(seed).random(len(TRUTH)) < share
    answer = np.where(right[:, None], TRUTH.truth, np.roll(TRUTH.truth, 1, axis=0))
    return replace(TRUTH, decoded={"path": answer})


def write_run(folder, predictions, counts=COUNTS):
    """What a run leaves behind, as far as a table reads it."""
    folder.mkdir(parents=True)
    write_predictions(predictions, folder / "predictions.parquet")
    metrics = points(predictions, train_counts=counts) | {RETRIEVAL: 0.5}
    metrics = {k: v if np.isfinite(v) else None for k, v in metrics.items()}
    report = {"metrics": metrics, "context": {"run": folder.name}}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "train_counts.json").write_text(json.dumps(counts))
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(rows, their predictions, what is found)."""
    root = tmp_path_factory.mktemp("rows")
    runs = {
        "base": [answers_right(0.6, seed) for seed in (0, 1, 2)],
        "twin": [answers_right(0.6, seed) for seed in (0, 1, 2)],
        "better": [answers_right(0.8, seed) for seed in (3, 4, 5)],
        "once": [answers_right(0.8, 6)],
        "lucky": [answers_right(share, 7) for share in (0.6, 0.6, 0.98)],
    }
    folders = {
        name: tuple(write_run(root / name / str(i), p) for i, p in enumerate(of))
        for name, of in runs.items()
    }
    other = replace(answers_right(0.8, 8), row=TRUTH.row + 1000)
    folders["other"] = (write_run(root / "other", other),)
    runs["other"], runs["planned"], folders["planned"] = [other], [], ()
    rows = [
        Row(name, of, max(len(of), 3), "" if name == "base" else "base")
        for name, of in folders.items()
    ]
    return rows, runs, compare_rows(rows, METRICS, count=200)


def test_means_are_those_of_the_reports(compared):
    _, runs, found = compared
    for name, of in runs.items():
        values = [points(p)[ACCURACY] for p in of]
        figure = found.figures[name][ACCURACY]
        assert figure.runs == len(values)
        assert figure.mean == pytest.approx(seed_interval(values), nan_ok=True)


def test_differences_are_paired_by_product_and_judged_by_seeds_too(compared):
    _, runs, found = compared
    names = [ACCURACY, F1]
    expected = paired_difference(runs["better"], runs["base"], names, count=200)
    for name in names:
        figure = found.figures["better"][name]
        assert figure.paired == pytest.approx(expected[name])
        values = [[points(p)[name] for p in runs[k]] for k in ("better", "base")]
        assert figure.seeds == pytest.approx(seed_difference(*values))
    verdicts = {n: f[ACCURACY].verdict for n, f in found.figures.items()}
    assert verdicts["base"] == verdicts["planned"] == verdicts["other"] == ""
    assert found.figures["twin"][ACCURACY].paired == pytest.approx((0, 0, 0))
    assert verdicts["twin"] == "no"
    assert verdicts["better"] == "yes"
    assert verdicts["once"] == "yes, by rows alone"
    lucky = found.figures["lucky"][ACCURACY]
    assert lucky.paired.low > 0, "by the products alone it would seem better"
    assert lucky.verdict == "no"


def test_what_a_file_cannot_tell_is_not_compared(compared):
    _, _, found = compared
    better = found.figures["better"]
    assert better[LEAF].paired is not None
    assert better[RETRIEVAL].mean.value == 0.5
    assert better[RETRIEVAL].paired is None
    (note,) = found.notes
    assert note.startswith("other is not compared with base: the runs cover different")


def test_bands_of_rarity_are_compared_only_where_they_mean_the_same(tmp_path):
    few = {code: 1 for code in COUNTS}
    rows = [
        Row("a", (write_run(tmp_path / "a", answers_right(0.5, 0)),), 1),
        Row("b", (write_run(tmp_path / "b", answers_right(0.6, 0), few),), 1, "a"),
    ]
    found = compare_rows(rows, [ACCURACY, LEAF], count=20).figures["b"]
    assert found[ACCURACY].paired is not None
    assert found[LEAF].paired is None


def test_welch_is_that_of_scipy():
    a, b = [0.8, 0.83, 0.81, 0.84], [0.7, 0.75, 0.72]
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    found = seed_difference(a, b)
    assert found.value == pytest.approx(np.mean(a) - np.mean(b))
    assert found[1:] == pytest.approx((expected.low, expected.high))
    assert seed_difference(a, b[:2]) is None
    assert seed_difference([0.5] * 3, [0.25] * 3) == (0.25, 0.25, 0.25)


def test_the_table_says_what_is_not_significant(compared, tmp_path):
    rows, _, found = compared
    headings = {ACCURACY: "accuracy", F1: "hF1", LEAF: "rare", RETRIEVAL: "R@1"}
    text = write_comparison(found, tmp_path / "t1.a", title="Ours", headings=headings)
    assert (tmp_path / "t1.a.md").read_text() == text
    assert text.startswith("# Ours\n\n| row | runs done | accuracy | hF1 |")
    assert "| planned | 0 of 3 |" in text
    assert "| once | 1 of 3 |" in text
    told = text.partition("Not significant: ")[2]
    assert "twin − base in level3/accuracy" in told
    assert "lucky − base in level3/accuracy" in told
    assert "better − base" not in told
    assert "not corrected" in told
    assert "nan" not in text
    with (tmp_path / "t1.a.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows) * len(METRICS)
    (line,) = (x for x in lines if (x["row"], x["metric"]) == ("better", ACCURACY))
    figure = found.figures["better"][ACCURACY]
    assert float(line["mean"]) == figure.mean.value
    assert float(line["difference"]) == figure.paired.value
    assert float(line["seeds_low"]) == figure.seeds.low
    assert line["significant"] == "yes"
    assert (tmp_path / "t1.a.png").read_bytes()[:4] == b"\x89PNG"


def test_bounds_of_shares_end_at_0_and_100_in_tables(tmp_path):
    """Student's t knows of no ends; what is compared keeps its own bounds."""
    shares = {"high": (0.999, 0.995, 0.97), "low": (0.001, 0.004, 0.03)}

    def run(name, seed, share):
        right = np.random.default_rng(seed).random((len(TRUTH), 1)) < share
        answer = np.where(right, TRUTH.truth, "9 > 9 > 9")
        of = replace(TRUTH, decoded={"path": answer})
        return write_run(tmp_path / name / f"seed{seed}", of)

    rows = [
        Row(name, tuple(run(name, *x) for x in enumerate(of)), 3)
        for name, of in shares.items()
    ]
    distance = "severity/tree_distance"
    found = compare_rows(rows, [ACCURACY, distance])
    raw = {name: found.figures[name][ACCURACY].mean for name in shares}
    assert raw["high"].high > 1
    assert raw["low"].low < 0
    headings = {ACCURACY: "a", distance: "d"}
    text = write_comparison(found, tmp_path / "t", title="t", headings=headings)
    cells = {name: f"{100 * raw[name].value:.1f} [" for name in shares}
    assert f"{cells['high']}{100 * raw['high'].low:.1f}, 100.0] |" in text
    assert f"{cells['low']}0.0, {100 * raw['low'].high:.1f}] |" in text
    assert "those of shares cut at 0 and 100 %" in text
    severity = found.figures["high"][distance].mean
    assert f"{severity.low:.2f}, {severity.high:.2f}] |" in text, "no share"
    with (tmp_path / "t.csv").open() as file:
        lines = {(x["row"], x["metric"]): x for x in csv.DictReader(file)}
    assert float(lines["high", ACCURACY]["high"]) == 1
    assert float(lines["low", ACCURACY]["low"]) == 0
    assert float(lines["high", distance]["high"]) == severity.high


def test_a_table_without_a_reference_has_no_differences(compared, tmp_path):
    rows, _, _ = compared
    alone = compare_rows([rows[0]], [ACCURACY])
    text = write_comparison(alone, tmp_path / "t", title="t", headings={ACCURACY: "a"})
    assert "Differences" not in text
    assert "significant" not in text
    with pytest.raises(CatalogueError, match="its reference 'base' is no row"):
        compare_rows(rows[1:2], [ACCURACY])
    with pytest.raises(CatalogueError, match=r"report\.json cannot be read"):
        compare_rows([Row("gone", (tmp_path / "gone",), 1)], [ACCURACY])


def drawn(root, name, shares, shift=100, below=""):
    """A run per seed, each on products of its own; or an evaluation below it."""
    folders = []
    for seed, share in enumerate(shares):
        own = answers_right(share, 10 * seed + len(name))
        own = replace(own, row=TRUTH.row + shift * seed)
        folders.append(write_run(root / name / f"seed{seed}" / below, own))
    return tuple(folders)


@pytest.mark.parametrize("below", ["", "elsewhere"])
def test_seeds_with_products_of_their_own_are_paired_by_seed(tmp_path, below):
    """Each seed's draw is as hard for both, which the difference does not feel."""
    easy, better = (0.9, 0.7, 0.5), (0.98, 0.78, 0.58)
    rows = [
        Row("base", drawn(tmp_path, "base", easy, below=below), 3),
        Row("better", drawn(tmp_path, "better", better, below=below), 3, "base"),
    ]
    found = compare_rows(rows, (ACCURACY, RETRIEVAL), count=50)
    figure = found.figures["better"][ACCURACY]
    values = [
        [json.loads((f / "report.json").read_text())["metrics"][ACCURACY] for f in r[1]]
        for r in rows
    ]
    assert figure.paired == seed_interval(np.subtract(*reversed(values)).tolist())
    assert figure.paired == figure.seeds
    assert figure.paired.low > 0  # where the means over the seeds overlap widely
    assert seed_difference(*reversed(values)).low < 0
    assert "each seed has products of its own" in found.notes[0]


def test_other_products_of_one_seed_are_not_compared(tmp_path):
    rows = [
        Row("base", drawn(tmp_path, "base", (0.5, 0.6, 0.7)), 3),
        Row("other", drawn(tmp_path, "other", (0.5, 0.6, 0.7), shift=7), 3, "base"),
    ]
    found = compare_rows(rows, (ACCURACY,), count=50)
    assert found.figures["other"][ACCURACY].paired is None
    assert "is not compared with base" in found.notes[0]


def test_reports_without_answers_are_paired_by_seed(tmp_path):
    folders = {}
    for name, better in (("a", 0.0), ("b", 0.1)):
        folders[name] = tuple(tmp_path / name / f"seed{i}" for i in range(3))
        for i, folder in enumerate(folders[name]):
            folder.mkdir(parents=True)
            report = {"metrics": {"ari": 0.3 + 0.1 * i + better}, "context": {}}
            (folder / "report.json").write_text(json.dumps(report))
    rows = [Row("a", folders["a"], 3), Row("b", folders["b"], 3, "a")]
    figure = compare_rows(rows, ("ari",)).figures["b"]["ari"]
    assert figure.paired == pytest.approx((0.1, 0.1, 0.1))
    assert figure.verdict == "yes"
