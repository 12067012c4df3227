"""What a catalogue is like: by hand, and the task on the synthetic one and on flaws."""

import csv
import re

import numpy as np
import pytest
from runs import run_config

from hsjax.data.records import CatalogueError, Record
from hsjax.evaluation.catalogue_facts import (
    class_counts,
    clean_shares,
    cleanliness,
    depths,
    frequent_words,
    imbalance,
    skew,
)
from hsjax.tasks import TASKS


def product(path, brand="", title="", shop=""):
    texts = {"brand": brand, "title": title}
    nothing = dict.fromkeys(("group", "date", "split", "image_key"), "")
    known = {"row": 1, "id": "a", "image": None, "complete": True, "extra": {}}
    return Record(**nothing, **known, path=path, texts=texts, platform=shop)


GOODS = [
    product(("a", "a > x"), "Nike", "red shoe"),
    product(("a", "a > x"), "nike", "Blue shoe"),
    product(("a", "a > y"), "acme", "red red hat"),
    product(("b",), "acme", ""),
    product((), "acme", "no label"),
]


def test_depth_and_imbalance_by_hand():
    assert depths(GOODS) == {0: 1, 1: 1, 2: 3}
    assert class_counts(GOODS, 0).tolist() == [3, 1]
    first, second = imbalance(GOODS, 0), imbalance(GOODS, 1)
    assert (first.rows, first.classes, first.largest, first.two) == (4, 2, 0.75, 1.0)
    assert first.rare == 2
    assert first.effective == pytest.approx(
        np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    )
    assert (second.rows, second.classes) == (3, 2)
    assert imbalance(GOODS, 5).classes == 0
    even = [product((name,)) for name in "abcd"]
    assert imbalance(even, 0).effective == pytest.approx(4)


def test_brands_and_words_by_hand():
    x = skew(GOODS, "brand")
    assert x.values == 2
    assert x.top == 1.0
    assert x.alone == 0.5, "nike is of one class, acme of two"
    assert (x.majority, x.base) == (0.75, 0.75)
    words = dict(frequent_words([g.texts["title"] for g in GOODS]))
    assert words["red"] == 0.5, "once a title, of those with one"
    assert words["shoe"] == 0.5


def test_a_plain_ground_is_clean_and_a_street_is_not():
    rng = np.random.default_rng(0)
    street = rng.integers(0, 256, (60, 40, 3)).astype(np.uint8)
    studio = street.copy()
    studio[:6], studio[-6:], studio[:, :5], studio[:, -5:] = 240, 240, 240, 240
    assert cleanliness(studio) == 1.0, "what is inside does not matter"
    assert cleanliness(street) < 0.2
    found = clean_shares({"s": [1.0, 0.1], "t": [0.9, 0.9, 0.9], "none": []})
    assert list(found) == ["t", "s"]
    assert found["s"] == (2, 0.5, pytest.approx(0.55))


def test_the_task_writes_a_page(tmp_path, capsys):
    TASKS["explore"](run_config(), tmp_path / "x")
    text = (tmp_path / "x/explore.md").read_text()
    assert text.strip() in capsys.readouterr().out
    for title in ("Rows", "Depth of", "Imbalance", "Text: title", "Text: brand"):
        assert f"## {title}" in text
    assert re.search(r"\| products \| 20\d \|", text)
    assert "Drawn by a law" in text
    assert (tmp_path / "x/explore.png").stat().st_size > 10_000


def test_flawed_rows_are_counted_and_ragged_depth_is_seen(tmp_path):
    path = tmp_path / "goods.csv"
    lines = [
        "id,title,brand,category,shop",
        "1,Red shoe,Acme,Men > Shoes,one",
        "2,,Acme,Men > Shoes > Boots,two",
        "3,Hat,,Hats,two",
        "4,Scarf,Bo,,one",
    ]
    path.write_text("\n".join(lines) + "\n")
    columns = {"data.columns.id": "id", "data.columns.label": ("category",)}
    columns |= {"data.columns.label_kind": "path", "data.columns.platform": "shop"}
    columns |= {"data.columns.image": "", "data.path": str(path)}
    TASKS["explore"](run_config(columns), tmp_path / "x")
    text = (tmp_path / "x/explore.md").read_text()
    assert "| shops | 2 |" in text
    assert "No row has a picture." in text
    assert "The mean is 2.00." in text
    with (tmp_path / "x/quarantine.csv").open() as file:
        assert any(row["row"] == "4" for row in csv.DictReader(file))
    gone = run_config({**columns, "data.path": str(tmp_path / "gone.csv")})
    with pytest.raises(CatalogueError, match="no such file"):
        TASKS["explore"](gone, tmp_path / "y")
