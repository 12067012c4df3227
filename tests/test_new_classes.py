"""What new classes hold, beside what products really are: of the right rows."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_metrics import make_predictions

from hsjax.data.quarantine import CatalogueError
from hsjax.evaluation.predictions import write_predictions
from hsjax.recategorize.new_classes import first_new, score_new_classes
from hsjax.taxonomy import Taxonomy

# (what it is, what is answered); Totes are no new class, and most of the products
PRODUCTS = [
    *[("boot", "Shoes > Closed > high")] * 8,
    *[("boot", "Shoes > Closed > low")] * 1,
    *[("boot", "Shoes > Closed")] * 3,
    *[("loafer", "Shoes > Closed > low")] * 5,
    *[("loafer", "Shoes > Closed > high")] * 2,
    *[("clog", "Shoes > Closed > low")] * 1,
    *[("tote", "Bags > Totes")] * 80,
    *[("", "Shoes > Closed > high")] * 4,
]
PURITY = (8 + 5) / 17
COVERAGE = 16 / 19  # of boots and loafers: clogs are the commonest of no new class
RECALL = 13 / 19


def paths(answer):
    parts = answer.split(" > ")
    codes = [" > ".join(parts[: n + 1]) for n in range(len(parts))]
    return codes + [""] * (3 - len(parts))


@pytest.fixture
def answered(tmp_path):
    """Folders and files by the names of the command's flags."""
    codes = np.array([paths(answer) for _, answer in PRODUCTS], object)
    rows = np.random.default_rng(0).permutation(len(codes))  # as they are answered
    whole = make_predictions(codes, codes)
    write_predictions(whole.select(rows), tmp_path / "predictions.parquet")
    labels = ["Shoes > Closed", "Bags > Totes"]
    Taxonomy.from_paths([paths(x)[:2] for x in labels]).save(tmp_path / "old.json")
    write(tmp_path / "shop.csv", enumerate(PRODUCTS))
    return {"predictions": tmp_path, "old": tmp_path / "old.json",
            "source": tmp_path / "shop.csv", "column": "kind",
            "output": tmp_path / "out"}  # fmt: skip


def write(path, rows):
    with path.open("w", newline="") as file:
        lines = [(f"title {i}", f"p{i}", kind) for i, (kind, _) in rows]
        csv.writer(file).writerows([("title", "sku", "kind"), *lines])


def test_scores_are_of_the_classes_that_new_ones_stand_for(answered):
    text = score_new_classes(**answered)
    found = json.loads((answered["output"] / "new_classes.json").read_text())
    metrics = found["metrics"]
    assert metrics["purity"] == pytest.approx(PURITY)
    assert metrics["coverage"] == pytest.approx(COVERAGE)
    assert metrics["recall"] == pytest.approx(RECALL)
    assert metrics["products_of_new"] == 19
    assert "Of the 19 products whose value is the commonest of a new class, 84.2 %" in (
        text
    )
    line = next(x for x in text.splitlines() if x.startswith("| Shoes > Closed > high"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == ["10", "80.0", "boot", "66.7"]  # 8 of 12 boots
    assert text == (answered["output"] / "new_classes.md").read_text()


def test_rows_of_another_catalogue_are_refused(answered):
    path = answered["source"]
    write(path, [*enumerate(PRODUCTS)][::-1])
    with pytest.raises(CatalogueError, match="row 1: no column of ids has 'p0', which"):
        score_new_classes(**answered)
    with pytest.raises(CatalogueError, match="the column 'sku' lacks 'p0'"):
        score_new_classes(**answered, id="sku")
    write(path, enumerate(PRODUCTS[:90]))
    with pytest.raises(CatalogueError, match="has no row 9[1-9]"):
        score_new_classes(**answered)
    assert not answered["output"].exists()


def test_a_column_that_is_not_there_is_told(answered):
    with pytest.raises(CatalogueError, match=r"\(--column\). Did you mean 'kind'"):
        score_new_classes(**answered | {"column": "kinds"})
    with pytest.raises(CatalogueError, match=r"\(--id\). Did you mean 'sku'"):
        score_new_classes(**answered, id="skuu")


def test_ids_that_were_numbered_or_are_row_numbers(answered):
    folder = answered["predictions"]
    codes = np.array([paths(answer) for _, answer in PRODUCTS], object)
    numbered = ["p0" if i == 0 else f"p0#{i + 1}" for i in range(len(codes))]
    rows = [str(i + 1) for i in range(len(codes))]
    for ids, column in ((numbered, ["p0"] * len(codes)), (rows, None)):
        found = make_predictions(codes, codes, id=np.array(ids, object))
        write_predictions(found, folder / "predictions.parquet")
        columns = {"kind": [kind for kind, _ in PRODUCTS]}
        columns |= {"image": [b"\xff\xd8"] * len(codes)}
        columns |= {"sku": column} if column else {}
        pq.write_table(pa.table(columns), folder / "shop.parquet")
        text = score_new_classes(**answered | {"source": folder / "shop.parquet"})
        assert "84.2 %" in text


def test_a_tree_that_has_every_class_is_refused(answered):
    labels = {answer for _, answer in PRODUCTS}
    Taxonomy.from_paths([[x for x in paths(a) if x] for a in labels]).save(
        answered["old"]
    )
    with pytest.raises(CatalogueError, match=r"is a node of .*old.json: give the tree"):
        score_new_classes(**answered)


def test_new_nodes_that_no_known_product_is_in(answered):
    write(answered["source"], ((i, ("", "")) for i in range(len(PRODUCTS))))
    score_new_classes(**answered)
    found = json.loads((answered["output"] / "new_classes.json").read_text())
    assert found["metrics"]["coverage"] is None  # NaN would be no JSON
    assert found["metrics"]["products_of_new"] == 0


def test_the_first_new_node_of_a_path():
    tree = Taxonomy.from_paths([("A", "A > x")], separator=" > ")
    codes = np.array(
        [["A", "A > x", ""], ["A", "A > x", "A > x > n"], ["A", "A > y", "A > y > z"],
         ["B", "", ""]]
    )  # fmt: skip
    assert first_new(codes, tree).tolist() == ["", "A > x > n", "A > y", "B"]
