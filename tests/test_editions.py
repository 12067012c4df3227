"""Answers in another edition: where mass goes, that none is lost, and the command."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, run_config, train_run

from hsjax.data.correlation import Correlation, Pair
from hsjax.data.correlation_tables import COLUMNS
from hsjax.data.quarantine import CatalogueError
from hsjax.data.rehearsal import share_of, write_rehearsal
from hsjax.evaluation.predictions import read_predictions
from hsjax.hierarchy import leaf_paths
from hsjax.inference.projection import Projection, node_members
from hsjax.taxonomy import Taxonomy
from hsjax.trained.projecting import project_run

OLD, NEW = "before", "after"


def tree_of(*paths, edition, **options):
    paths = [tuple(" > ".join(p[: i + 1]) for i in range(len(p))) for p in paths]
    return Taxonomy.from_paths(paths, edition=edition, separator=" > ", **options)


BEFORE = tree_of("ax", "ay", "b", "cu", "cv", "a", edition=OLD)  # `a` has a STOP child
AFTER = tree_of(*("axp", "axq", "ay", "az", "b", "dw", "a"), edition=NEW)
PAIRS = [
    Pair("a > y", "a > y", 0.6, "x"),
    Pair("a > y", "a > z", 0.4, "x"),
    Pair("c > u", "d > w", None, "x"),
    Pair("c > v", "d > w", 3.0, "x"),
    Pair("c > v", "b", 1.0, "x"),
]
TABLES = Correlation({(OLD, NEW): PAIRS})


def shares(matrix, source, target, row):
    """{path of a leaf: weight} of what a leaf goes to, STOP written out."""
    leaves = [
        target.codes[(p >= 0).sum() - 1][p[(p >= 0).sum() - 1]]
        for p in leaf_paths(target)
    ]
    values = matrix[[row]].toarray()[0]
    return {
        str(k): round(float(v), 6) for k, v in zip(leaves, values, strict=True) if v
    }


def test_where_each_leaf_goes():
    projection = Projection(TABLES, BEFORE, AFTER)
    of = {
        str(BEFORE.codes[(p >= 0).sum() - 1][p[(p >= 0).sum() - 1]]): i
        for i, p in enumerate(leaf_paths(BEFORE))
    }
    found = {
        code: shares(projection.matrix, BEFORE, AFTER, row) for code, row in of.items()
    }
    assert found == {
        "b": {"b": 1.0},
        "a > x": {"a > x > p": 0.5, "a > x > q": 0.5},  # it has children now
        "a > y": {"a > y": 0.6, "a > z": 0.4},
        "c > u": {"d > w": 1.0},
        "c > v": {"d > w": 0.75, "b": 0.25},
        "a > STOP": {"a > STOP": 1.0},
    }


@pytest.mark.parametrize("back", [False, True])
def test_mass_is_conserved_at_every_level(back):
    trees = (AFTER, BEFORE) if back else (BEFORE, AFTER)
    tables = Correlation({(OLD, NEW): [*PAIRS, Pair("a > x", "a > x", None, "x")]})
    if back:  # leaves that are new below a > x came from it, by their ancestor
        assert not tables.links("a > x > p", of=NEW, into=OLD)
    projection = Projection(tables, *trees)
    rng = np.random.default_rng(0)
    count = len(leaf_paths(trees[0]))
    probs = rng.dirichlet(np.full(count, 0.3), size=50)
    moved = projection.project(probs)
    assert moved.dtype == np.float64
    np.testing.assert_allclose(moved.sum(axis=1), 1.0, atol=1e-12)
    expected = np.zeros_like(moved)
    dense = projection.matrix.toarray()
    for row in range(len(probs)):
        for a in range(count):
            expected[row] += probs[row, a] * dense[a]
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    nodes = [moved @ members for members in node_members(trees[1])]
    np.testing.assert_allclose(nodes[0].sum(axis=1), 1.0, atol=1e-12)
    tree = trees[1]
    for level in range(1, tree.num_levels):
        above = np.zeros_like(nodes[level - 1])
        for i, parent in enumerate(tree.parents[level]):
            above[:, parent] += nodes[level][:, i]
        inner = ~tree.leaf[level - 1]
        np.testing.assert_allclose(
            above[:, inner], nodes[level - 1][:, inner], atol=1e-12
        )


def test_a_large_nomenclature_keeps_its_mass():
    codes = [
        f"{c:02d}{h:02d}{s:02d}"
        for c in range(1, 21)
        for h in range(10)
        for s in range(25)
    ]
    path = lambda code: (code[:2], code[:4], code)  # noqa: E731
    rng = np.random.default_rng(0)
    old = Taxonomy.from_paths(map(path, codes), edition="2017")
    new = Taxonomy.from_paths(map(path, codes[:-100]), edition="2022")
    pairs = [
        Pair(code, codes[j], float(rng.random() + 1e-3), "WCO")
        for code in [*codes[::7], *codes[-100:]]
        for j in set(rng.integers(0, 4900, 4).tolist())
    ]
    unique = list({(p.code, p.other): p for p in pairs}.values())
    projection = Projection(Correlation({("2017", "2022"): unique}), old, new)
    logits = rng.normal(0, 3, (64, 5000)).astype(np.float32)
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)  # float32, as a model answers
    moved = projection.project(probs)
    np.testing.assert_allclose(
        moved.sum(axis=1), probs.astype(np.float64).sum(axis=1), atol=1e-12
    )
    np.testing.assert_allclose(moved.sum(axis=1), 1.0, atol=1e-6)


def test_codes_that_nobody_knows_are_listed():
    with pytest.raises(CatalogueError, match=r"'c > v' of 'before' are in no.*'after'"):
        Projection(Correlation({(OLD, NEW): PAIRS[:3]}), BEFORE, AFTER)
    with pytest.raises(
        CatalogueError, match="no correlation leads from 'before' to ''"
    ):
        Projection(TABLES, BEFORE, tree_of("b", edition=""))


# -- a rehearsal on a catalogue, and the command

CHANGE = [
    ("Goods > Mugs", "Goods > Red mugs", "colour", "red|pink"),
    ("Goods > Mugs", "Goods > Other mugs", "", ""),
    ("Goods > Cups", "Goods > Other mugs", "", ""),
]
WORDS = {"Mugs": "mug", "Cups": "cup", "Plates": "plate"}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """A folder with the catalogue of a small change, its trees and its table."""
    folder = tmp_path_factory.mktemp("rehearsal")
    import pyarrow as pa

    rows = [
        {
            "title": f"{colour} {WORDS[kind]} {n}",
            "colour": colour,
            "level1": "Goods",
            "level2": kind,
            "group": str(n),
        }
        for n in range(40)
        for kind in WORDS
        for colour in ("red", "blue", "pink")
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "goods.parquet")
    change = folder / "change.csv"
    with change.open("w", newline="") as file:
        header = ("from_code", "to_code", "column", "values")
        csv.writer(file).writerows([header, *CHANGE])
    told = write_rehearsal(
        folder / "goods.parquet",
        change,
        folder,
        levels=("level1", "level2"),
        group="group",
    )
    assert told["products"] == 360
    assert told["products of classes that change"] == 240
    return folder


def settings(folder, **changes):
    keys = {
        **TEXT,
        "data.path": str(folder / "catalogue.parquet"),
        "data.columns.text": ("title",),
        "data.columns.label": ("label_mixed",),
        "data.columns.label_kind": "path",
        "data.columns.edition": "edition",
        "data.columns.group": "group",
        "data.columns.split": "split",
        "data.split.by": "column",
        "taxonomy.path": str(folder / "after.json"),
        "taxonomy.correlation": (str(folder / "correlation.csv"),),
    }
    return keys | changes


def test_the_rehearsal_knows_both_labels(rehearsal):
    rows = pq.read_table(rehearsal / "catalogue.parquet").to_pylist()
    test = pq.read_table(rehearsal / "test.parquet").to_pylist()
    assert test == [row for row in rows if row["split"] == "test"]
    for row in rows:
        red = row["colour"] in ("red", "pink")
        new = {"Mugs": "Red mugs" if red else "Other mugs", "Cups": "Other mugs"}
        assert row["label_before"] == f"Goods > {row['level2']}"
        assert row["label"] == f"Goods > {new.get(row['level2'], row['level2'])}"
        old = row["edition"] == OLD
        assert old == (
            row["split"] == "train" and share_of("edition", row["group"]) < 0.5
        )
        assert row["label_mixed"] == row["label_before" if old else "label"]
        assert row["label_left"] == ("" if old else row["label"])
        if old and row["level2"] == "Mugs":
            assert row["label_likeliest"] == "Goods > Red mugs"
    parts = {row["group"]: row["split"] for row in rows}
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert all(parts[row["group"]] == row["split"] for row in rows)
    with (rehearsal / "correlation.csv").open() as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    weights = {(r["from_code"], r["to_code"]): float(r["weight"]) for r in table}
    assert weights["Goods > Mugs", "Goods > Red mugs"] == pytest.approx(2 / 3, abs=1e-5)
    assert weights["Goods > Cups", "Goods > Other mugs"] == 1


def test_a_change_that_does_not_fit_is_refused_in_words(rehearsal, tmp_path):
    def write(*rows):
        path = tmp_path / "change.csv"
        with path.open("w", newline="") as file:
            header = ("from_code", "to_code", "column", "values")
            csv.writer(file).writerows([header, *rows])
        return write_rehearsal(
            rehearsal / "goods.parquet",
            path,
            tmp_path,
            levels=("level1", "level2"),
            group="group",
        )

    with pytest.raises(
        CatalogueError, match="'Goods > Mug' is no label.*'Goods > Mugs'"
    ):
        write(("Goods > Mug", "x", "", ""))
    with pytest.raises(CatalogueError, match="no rule of 'Goods > Mugs' fits row 2"):
        write(("Goods > Mugs", "Goods > x", "colour", "red"))
    with pytest.raises(CatalogueError, match="no column 'color'"):
        write(("Goods > Mugs", "Goods > x", "color", "red"))
    with pytest.raises(CatalogueError, match="row 1: a code is missing"):
        write(("Goods > Mugs", "", "", ""))


@pytest.fixture(scope="module")
def workdir(rehearsal):
    """A run that has learnt from labels of both editions."""
    keys = settings(rehearsal)
    folder = rehearsal / "run"
    train_run(run_config(keys, train__steps=150, optim__learning_rate=1e-2), folder)
    return folder


def test_what_was_divided_is_learnt_from_the_new_half(workdir):
    metrics = json.loads((workdir / "report.json").read_text())["metrics"]
    assert metrics["level2/accuracy"] > 0.95
    assert "set/accuracy" not in metrics  # the test part is of the new edition


def test_the_command_answers_in_the_old_edition(rehearsal, workdir, tmp_path, capsys):
    options = {
        "source": str(rehearsal / "catalogue.parquet"),
        "taxonomy": rehearsal / "before.json",
        "correlation": (str(rehearsal / "correlation.csv"),),
    }
    project_run(workdir, tmp_path / "old", label=("label_before",), **options)
    found = json.loads((tmp_path / "old" / "report.json").read_text())
    assert found["context"]["catalogue"]["usable rows"] == 360
    # blue mugs, 1 of 9, are of one class with cups now, which nothing can undo
    assert found["metrics"]["level2/accuracy"] == pytest.approx(8 / 9, abs=0.02)
    answers = read_predictions(tmp_path / "old" / "predictions.parquet")
    known = {"Goods", *(f"Goods > {kind}" for kind in WORDS)}
    assert set(answers.decoded["path"].ravel()) <= known
    level1 = answers.prob[:, 0]
    np.testing.assert_allclose(level1, 1.0, atol=1e-6)
    report = (tmp_path / "old" / "report.md").read_text()
    assert "leaves that were divided | 1" in report
    assert "before" in report
    both = (*options["correlation"], str(rehearsal / "back.csv"))
    project_run(
        workdir,
        tmp_path / "back",
        label=("label_before",),
        **options | {"correlation": both},
    )
    told = (tmp_path / "back" / "report.md").read_text()
    assert "codes that the tables name | 2" in told
    # without columns of their own, rows have labels of the edition that they name
    project_run(workdir, tmp_path / "mixed", **options)
    answers = read_predictions(tmp_path / "mixed" / "predictions.parquet")
    assert answers.admissible.shape == (360, 2)  # other mugs were mugs or cups
    report = (tmp_path / "mixed" / "report.md").read_text()
    assert "of them answered by one of the set" in report
    with pytest.raises(CatalogueError, match="is a workdir of a run"):
        project_run(workdir, workdir, **options)
    capsys.readouterr()
