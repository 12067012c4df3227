"""Tables of discoveries: rows over seeds, seed by seed, and whether seeds agree."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import ROOT
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from hsjax.evaluation.intervals import seed_interval
from hsjax.sweep import tables as sweep_tables
from hsjax.sweep.discovery_table import seed_agreement
from hsjax.sweep.lists import read_runs
from hsjax.sweep.tables import make_table
from hsjax.train.workdir import ConfigError

CONFIG = "configs/fashion/recategorize.py"
SEEDS, ROWS = [0, 1, 2, 3], 120
LINES = [
    {"name": "ours", "config": CONFIG, "seed": SEEDS, "reference": "raw"},
    {"name": "twin", "config": CONFIG, "seed": SEEDS, "reference": "raw"},
    {"name": "raw", "config": CONFIG, "seed": SEEDS},
    {"name": "few", "config": CONFIG, "seed": [0, 1], "reference": "raw"},
    {"name": "other", "config": "configs/base.py"},
]
LEVEL = {"ours": 0.6, "twin": 0.5, "raw": 0.5, "few": 0.6}


def figures(row, seed):
    """Made up: seeds move all rows alike, ours is better in each, twin is not."""
    rng = np.random.default_rng(seed)
    value = LEVEL[row] + 0.1 * rng.random() + 0.001 * (seed % 2) * (row != "raw")
    own = {"purity": 0.7, "majority_share": 0.3, "purity_chance": 0.31, "nmi": value}
    own |= {"ari": value / 2, "hungarian_accuracy": value, "clusters": 9 + seed % 2}
    own |= {"rows": ROWS, "nmi_chance": 0.4, "ari_chance": 0.1}
    own |= {"hungarian_accuracy_chance": 0.2}
    free = {f"free/{k}": v for k, v in own.items()} | {"free/rows": 80 + seed}
    return own | free | {"free/accuracy_new": None, "kept/coverage": 0.9}


def clusters(seed):
    """Two nodes of which one is divided, by another half each time."""
    rng = np.random.default_rng(seed)
    divided = np.arange(ROWS) < 60
    half = np.where(rng.random(ROWS) < 0.5, "1", "2.1")
    spread = np.where(divided, half, "")
    cluster = np.where(rng.random(ROWS) < 0.9, spread, "")
    node = np.where(divided, "Shoes > A", "Shoes > B")
    order = rng.permutation(ROWS)
    columns = {"row": np.arange(ROWS) + 1, "node": node, "cluster": cluster}
    columns |= {"spread": spread}
    return {name: x[order].tolist() for name, x in columns.items()}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("found")
    path = root / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    for line in LINES[:-1]:
        for seed in line["seed"]:
            folder = root / line["name"] / f"seed{seed}"
            folder.mkdir(parents=True)
            report = {"metrics": figures(line["name"], seed), "context": {"nodes": {}}}
            (folder / "report.json").write_text(json.dumps(report))
            pq.write_table(pa.table(clusters(seed)), folder / "clusters.parquet")
    return path, root


@pytest.fixture
def table(sweep, monkeypatch):
    path, root = sweep
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        sweep_tables,
        "is_done_below",
        lambda root, run: (root / run.name / "report.json").exists(),
    )

    def make(**fields):
        fields = {"rows": ["ours", "twin", "raw", "few"]} | fields
        (path.parent / "t.json").write_text(json.dumps(fields))
        text = make_table(path, read_runs(path), root, "t")
        assert text == (root / "t.md").read_text()
        assert (root / "t.png").read_bytes()[:4] == b"\x89PNG"
        with (root / "t.csv").open() as file:
            return text, list(csv.DictReader(file))

    return make


def test_rows_have_means_over_seeds_and_are_compared_seed_by_seed(table):
    text, lines = table(title="Found")
    assert text.startswith("# Found")
    free, everything = text.split("\n## ")[1:3]
    assert free.startswith("Products whose class no method is told")
    assert "| row | runs done | purity | commonest class | purity by chance |" in free
    assert "kept |" in everything
    nmi = [figures("ours", seed)["nmi"] for seed in SEEDS]
    mean, low, high = (f"{100 * x:.1f}" for x in seed_interval(nmi))
    assert f"| {mean} [{low}, {high}] |" in everything
    assert "9.50" in everything, "clusters are a number, not a share"
    of = {(x["row"], x["metric"]): x for x in lines}
    pairs = [figures("ours", s)["nmi"] - figures("raw", s)["nmi"] for s in SEEDS]
    line = of["ours", "free/nmi"]
    assert float(line["difference"]) == pytest.approx(np.mean(pairs))
    half = stats.t.ppf(0.975, 3) * np.std(pairs, ddof=1) / 2
    assert float(line["seeds_low"]) == pytest.approx(np.mean(pairs) - half)
    assert line["significant"] == "yes"
    assert of["twin", "nmi"]["significant"] == "no"
    assert of["few", "nmi"]["difference"] == ""
    assert "few is not compared with raw: fewer than 3 seeds" in text


def test_seeds_that_find_the_same_are_told(table, sweep):
    text, lines = table()
    path, root = sweep
    folders = [root / "ours" / f"seed{seed}" for seed in SEEDS]
    found = seed_agreement(folders)
    by_row = [
        dict(zip(c["row"], c["spread"], strict=True)) for c in map(clusters, SEEDS)
    ]
    spreads = [[own[row] for row in range(1, ROWS + 1)] for own in by_row]
    pairs = [(a, b) for i, a in enumerate(spreads) for b in spreads[:i]]
    whole = [adjusted_rand_score(*pair) for pair in pairs]
    within = [adjusted_rand_score(a[:60], b[:60]) for a, b in pairs]
    assert found["seeds/ari"] == pytest.approx(np.mean(whole))
    assert found["seeds/lowest"] == pytest.approx(min(whole))
    assert found["seeds/within_nodes"] == pytest.approx(np.mean(within))
    assert found["seeds/ari"] > 0.2 > found["seeds/within_nodes"]
    assert 0.3 < found["seeds/common"] < 0.5
    of = {(x["row"], x["metric"]): x["mean"] for x in lines}
    assert float(of["ours", "seeds/ari"]) == pytest.approx(found["seeds/ari"])
    assert "## Do the seeds find the same?" in text
    assert f"| ours | {100 * found['seeds/ari']:.1f} |" in text


def test_metrics_may_be_named(table):
    text, _ = table(metrics={"ari": "ARI", "free/ari": "ARI, free"})
    assert "| row | runs done | ARI, free |" in text
    assert "NMI |" not in text
    table(metrics=["clusters"])  # is drawn, where nothing else is asked for
    with pytest.raises(ConfigError, match="no report has 'arri'"):
        table(metrics=["arri"])


def test_what_discoveries_have_not_is_refused(table, sweep):
    with pytest.raises(ConfigError, match="discoveries have no levels"):
        table(levels=[3], metrics={"accuracy": "A"})
    with pytest.raises(ConfigError, match="some rows are discoveries and some are not"):
        table(rows=["ours", "other"])


def test_rows_on_different_products_are_told(table, sweep):
    path = sweep[1] / "twin/seed1/report.json"
    before = path.read_text()
    report = json.loads(before)
    report["metrics"]["free/rows"] = 3
    path.write_text(json.dumps(report))
    text, _ = table()
    assert "twin and raw were scored on different products" in text
    assert "ours and raw were" not in text
    path.write_text(before)
