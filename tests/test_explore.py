"""What a catalogue is like: by hand, and the task on the synthetic one and on flaws."""

import csv
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import run_config

from hsjax.data.drawing import encode_png
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
from hsjax.tasks.registry import TASKS


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
    # each nike says a of the other; each acme says the other's class, which is wrong
    assert (x.majority, x.base) == (0.5, 0.75)
    words = dict(frequent_words([g.texts["title"] for g in GOODS]))
    assert words["red"] == 0.5, "once a title, of those with one"
    assert words["shoe"] == 0.5


def branded(brands, classes):
    pairs = zip(brands, classes, strict=True)
    return [product((str(c),), str(b)) for b, c in pairs]


def test_brands_that_say_nothing_are_no_skew():
    rng = np.random.default_rng(0)
    classes = rng.choice(["a", "b", "c"], 600, p=[0.45, 0.3, 0.25])
    rare, few = rng.integers(0, 200, 600), rng.integers(0, 3, 600)
    for brands in (rare, few, np.zeros(600, int)):
        x = skew(branded(brands, classes), "brand")
        assert x.base == (classes == "a").mean()
        assert x.majority <= x.base + 0.01
    assert x.majority == x.base, "one brand for all"
    told = skew(
        branded([f"{c}{i % 9}" for i, c in enumerate(classes)], classes), "brand"
    )
    assert (told.alone, told.majority) == (1.0, 1.0)


def test_a_text_of_one_row_says_nothing():
    x = skew(branded(range(8), "aaabbcde"), "brand")
    assert np.isnan(x.alone), "no value that occurs twice"
    assert (x.majority, x.base) == (3 / 8, 3 / 8)
    x = skew(branded("xxyyz", "aaabb"), "brand")
    assert x.alone == 0.5, "of x and y; z is left out"
    assert x.majority == 2 / 5, "x alone: z names a, as the commonest of all"
    even = branded("vvvv", "aabc") + branded("w" * 5, "bbbbb")
    # an a leaves a, b, c, a tie that b, the commonest of all, decides
    assert skew(even, "brand").majority == 5 / 9
    bare = skew([product((), "x"), product((), "x")], "brand")
    assert (bare.values, bare.top) == (1, 1.0)
    assert np.isnan([bare.alone, bare.majority, bare.base]).all()


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


def explored(folder, **columns):
    """The page on a file of `folder`."""
    changes = {f"data.columns.{key}": value for key, value in columns.items()}
    (path,) = folder.glob("goods.*")
    config = run_config({"data.path": str(path), "data.columns.text": ("title",)})
    config = config.copy_and_resolve_references().unlock()
    config.update_from_flattened_dict(changes)
    TASKS["explore"](config.lock(), folder / "x")
    assert (folder / "x/explore.png").stat().st_size > 10_000
    return (folder / "x/explore.md").read_text()


def section(text, title):
    return text.split(f"## {title}\n\n")[1].split("\n## ")[0]


def notes(folder):
    with (folder / "x/quarantine.csv").open() as file:
        return {
            (row["row"], row["reason"]): row["action"] for row in csv.DictReader(file)
        }


PATHS = {"label": ("category",), "label_kind": "path", "platform": "shop"}


def test_flawed_rows_are_counted_and_ragged_depth_is_seen(tmp_path):
    lines = [
        "id,title,brand,category,shop",
        "1,Red shoe,Acme,Men > Shoes,one",
        "2,,Acme,Men > Shoes > Boots,two",
        "3,Hat,,Hats,two",
        "4,Scarf,Bo,,one",
        "5,Hat,,Men > Hats,one",
        "6,Cap,,Men >  > Caps,one",
    ]
    (tmp_path / "goods.csv").write_text("\n".join(lines) + "\n")
    text = explored(tmp_path, id="id", **PATHS)
    assert "| products | 6 |" in text
    assert "| with a label | 4 |" in text
    assert "| shops | 2 |" in text
    assert "No row has a picture." in text
    assert "- pictures: data.columns.image names no column" in text
    assert "The mean is 2.00." in text
    found = notes(tmp_path)
    assert found["4", "no label"] == "kept"
    assert found["5", "same text and picture, other label: row 3"] == "kept"
    assert [reason[:9] for row, reason in found if row == "6"] == ["malformed"]
    gone = run_config({"data.path": str(tmp_path / "gone.csv")})
    with pytest.raises(CatalogueError, match="no such file"):
        TASKS["explore"](gone, tmp_path / "y")


def test_what_needs_no_label_is_told_without(tmp_path):
    rows = [f"Shoe {i},Acme,s{i % 2}," for i in range(9)]
    lines = ["title,brand,shop,category", *rows]
    (tmp_path / "goods.csv").write_text("\n".join(lines) + "\n")
    unnamed = explored(tmp_path, text=("title", "brand"), platform="shop")
    absent = explored(tmp_path, label=("categroy",), platform="shpo")
    empty = explored(tmp_path, **PATHS)
    for text in (unnamed, absent, empty):
        assert "| products | 9 |" in text
        assert "| with a label | 0 |" in text
        assert "| different texts | 9 |" in section(text, "Text: title")
        assert "level 1" not in text
        assert "## Depth" not in text
    assert "| different texts | 1 |" in section(unnamed, "Text: brand")
    assert "labels: data.columns.label names no column" in section(unnamed, "Left out")
    assert "shops" not in section(unnamed, "Left out")
    assert "no column 'categroy'" in section(absent, "Left out")
    assert "shops: " in section(absent, "Left out")
    assert "no row has a sound label" in section(empty, "Left out")
    with pytest.raises(CatalogueError, match="no column 'titel'"):
        explored(tmp_path, text=("titel",))


def write_pictures(path, labels):
    """Goods with a plain picture each."""
    plain = encode_png(np.full((12, 12, 3), 200, np.uint8))
    columns = {"title": [f"t{i}" for i in range(len(labels))], "category": labels}
    pq.write_table(pa.table({**columns, "image": [plain] * len(labels)}), path)


def test_classes_of_a_level_are_of_that_level(tmp_path):
    ragged = ["Hats"] * 30 + ["Men > Shoes"] * 21 + ["Men > Belts > Wide"] * 5
    write_pictures(tmp_path / "goods.parquet", ragged)
    of = {"label": ("category",), "label_kind": "path", "image": "image"}
    told = section(explored(tmp_path, **of), "Pictures")
    shops, classes = told.split("Classes of level 2")
    assert "| all | 56 |" in shops
    assert "| Men > Shoes | 21 |" in classes
    assert "Hats" not in classes, "a label that ends at level 1"
    write_pictures(tmp_path / "goods.parquet", ["Hats"] * 30)
    told = section(explored(tmp_path, **of), "Pictures")
    assert "| Hats | 30 |" in told.split("Classes of level 1")[1]
    write_pictures(tmp_path / "goods.parquet", [None] * 30)
    assert "lasses of level" not in section(explored(tmp_path, **of), "Pictures")
