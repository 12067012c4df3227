"""The predictions file: its columns, and that it reads back as it was written."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hsjax.data.records import CatalogueError
from hsjax.evaluation.metrics import score
from hsjax.evaluation.predictions import (
    Predictions,
    deepest,
    node_names,
    read_predictions,
    write_predictions,
)


@pytest.fixture
def predictions() -> Predictions:
    """Three rows: right, stopped early, and unknown below level 1."""
    truth = np.array([["A", "A > B"], ["C", "C > D"], ["A", ""]])
    path = np.array([["A", "A > B"], ["C", ""], ["A", "A > B"]])
    flat = np.array([["A", "A > B"], ["A", "A > B"], ["C", "C > D"]])
    return Predictions(
        row=np.array([1, 4, 9]),
        id=np.array(["x", "y#2", "ü"]),
        group=np.array([0, 0, 5]),
        truth=truth,
        complete=np.array([True, True, False]),
        outside=np.array([False, False, True]),
        decoded={"path": path, "flat": flat},
        valid={"path": np.ones(3, bool), "flat": np.array([True, False, True])},
        prob=np.array([[0.9, 0.8], [0.7, 0.0], [0.6, 0.5]], np.float32),
        log_prob=np.log(np.array([0.8, 0.7, 0.5], np.float32)),
        topk_codes=np.array([["A > B", "C"], ["C", ""], ["A > B", "C > D"]]),
        topk_probs=np.array([[0.8, 0.1], [0.7, 0.0], [0.5, 0.2]], np.float32),
        level_topk=np.array([[["A", "C"], ["A > B", ""]]] * 3),
        present={"title": np.array([True, True, False]), "image": np.ones(3, bool)},
        embeddings={"text": np.ones((3, 2), np.float32)},
        stage=np.array(["", "text", "both"]),
        main="path",
        separator=" > ",
    )


def test_sets_come_back_as_they_were(predictions, tmp_path):
    path, sets = tmp_path / "predictions.parquet", np.full((3, 2), "", object)
    sets[1] = "A > B", "C"
    write_predictions(dataclasses.replace(predictions, admissible=sets), path)
    assert pq.read_table(path)["admissible"].to_pylist() == [[], ["A > B", "C"], []]
    assert (read_predictions(path).admissible == sets).all()
    write_predictions(dataclasses.replace(predictions, admissible=sets[:, :0]), path)
    assert "admissible" not in pq.read_table(path).column_names
    assert read_predictions(path).admissible is None


def test_columns(predictions, tmp_path):
    write_predictions(predictions, tmp_path / "predictions.parquet")
    table = pq.read_table(tmp_path / "predictions.parquet")
    promised = ["row", "id", "group", "label", "pred"]
    promised += [
        f"{name}_level{k}" for name in ("label", "pred", "prob") for k in (1, 2)
    ]
    promised += [
        "log_prob",
        "topk_codes",
        "topk_probs",
        "has_title",
        "has_image",
        "stage",
    ]
    assert table.column_names[: len(promised)] == promised
    assert table["label"].to_pylist() == ["A > B", "C > D", "A"]
    assert table["pred"].to_pylist() == ["A > B", "C", "A > B"]
    assert table["topk_codes"].to_pylist()[1] == ["C"]  # no padding in the file
    assert not list(tmp_path.glob("*.partial"))


def test_round_trip(predictions, tmp_path):
    write_predictions(predictions, tmp_path / "p.parquet")
    found = read_predictions(tmp_path / "p.parquet")
    for field in dataclasses.fields(Predictions):
        wanted, got = (getattr(p, field.name) for p in (predictions, found))
        if field.name == "embeddings":
            assert got == {}
        elif isinstance(wanted, dict):
            assert list(wanted) == list(got)
            for name in wanted:
                np.testing.assert_array_equal(wanted[name], got[name])
        else:
            np.testing.assert_array_equal(wanted, got, field.name)
    wanted, got = (score(p, bootstrap=20) for p in (predictions, found))
    assert got == pytest.approx(wanted, nan_ok=True)


def test_no_rows_round_trip(predictions, tmp_path):
    write_predictions(predictions.select([]), tmp_path / "p.parquet")
    found = read_predictions(tmp_path / "p.parquet")
    assert len(found) == 0
    assert found.level_topk.shape == (0, 2, 2)


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(CatalogueError, match="no predictions to read"):
        read_predictions(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("row,label")
    with pytest.raises(CatalogueError, match="no predictions to read"):
        read_predictions(tmp_path / "text.parquet")
    pq.write_table(pa.table({"row": [1]}), tmp_path / "other.parquet")
    with pytest.raises(CatalogueError, match="not a predictions file"):
        read_predictions(tmp_path / "other.parquet")


def test_a_path_ends_at_its_last_node_wherever_it_stands():
    """Of one path, of K of a row, and of levels answered apart, which leave gaps."""
    rng = np.random.default_rng(0)
    codes = rng.choice(np.array(["", "A", "B"], object), (5, 3, 4))
    found = deepest(codes)
    assert found.shape == (5, 3)
    for row in np.ndindex(5, 3):
        nodes = [code for code in codes[row] if code]
        assert found[row] == (nodes[-1] if nodes else "")
        assert deepest(codes[row]) == found[row]


def test_wrong_shapes_are_refused(predictions):
    with pytest.raises(ValueError, match="main decode 'greedy'"):
        dataclasses.replace(predictions, main="greedy")
    with pytest.raises((ValueError, TypeError), match="group"):
        dataclasses.replace(predictions, group=np.array([0, 1]))


def test_select_and_names(predictions):
    assert predictions.select([2, 0]).id.tolist() == ["ü", "x"]
    assert len(predictions.select(predictions.complete)) == 2
    assert deepest(predictions.decoded["path"]).tolist() == ["A > B", "C", "A > B"]
    names = node_names(predictions.truth, " > ").tolist()
    assert names == [["A", "B"], ["C", "D"], ["A", ""]]
    assert node_names(np.array(["0101"]), "").tolist() == ["0101"]
