"""Labels that are sound one by one and look wrong beside the others."""

import csv

import pytest
from runs import TEXT, run_config

from hsjax.data.label_flaws import (
    EarlyEnd,
    LookAlike,
    early_ends,
    look_alikes,
    spelled,
    suspicious_labels,
)
from hsjax.data.prepare import read_catalogue

PATHS = {
    **TEXT,
    "data.columns.text": ("title",),
    "data.columns.label": ("label",),
    "data.columns.label_kind": "path",
}
LEVELS = {
    "data.columns.label": ("label1", "label2", "label3"),
    "data.columns.label_kind": "levels",
}
TOTES, DEEP = "Women > Bags > Totes", "Women > Bags > Totes > Special > Deep"


def shop(folder, *counted, changes=(), header=("title", "label")):
    """(config, catalogue) of so many rows of each label, in this order."""
    labels = [label for label, n in counted for _ in range(n)]
    cells = [label if isinstance(label, tuple) else (label,) for label in labels]
    rows = [(f"thing {n}", *fields) for n, fields in enumerate(cells)]
    with (folder / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    path = str(folder / "shop.csv")
    config = run_config({**PATHS, **dict(changes)}, data__path=path)
    return config, read_catalogue(config)


def told(config, catalogue):
    return suspicious_labels(config, catalogue.records, catalogue.tree)


def alike(catalogue):
    return look_alikes(catalogue.records, " > ")


def test_a_row_that_goes_deeper_is_named_with_those_that_end(tmp_path):
    rows = [(TOTES, 22), (DEEP, 1), (TOTES, 28), ("Men > Hats", 11)]
    rows += [("Men > Hats > Caps", 1), ("Men > Socks", 10), ("Men > Socks > Red", 1)]
    config, catalogue = shop(tmp_path, *rows)
    assert early_ends(catalogue.records, catalogue.tree) == [
        EarlyEnd(TOTES, 50, 1, 23, DEEP),
        EarlyEnd("Men > Hats", 11, 1, 63, "Men > Hats > Caps"),
    ]
    (text,) = told(config, catalogue)
    assert f"- 50 rows of `{TOTES}` end where 1 row goes deeper (row 23: " in text
    assert "data.columns.blank_level=stop" in text


def test_several_deeper_rows_are_counted_and_long_lists_cut(tmp_path):
    rows = [(f"Men > {x}", 21) for x in "ABCDE"]
    rows += [(f"Men > {x} > Red", 2) for x in "ABCDE"]
    text = told(*shop(tmp_path, *rows))[0]
    assert "21 rows of `Men > A` end where 2 rows go deeper (first row 106: " in text
    assert text.endswith("\n- and 2 more")
    assert text.count("\n- ") == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"data.columns.blank_level": "stop"},  # they are complete
        {"taxonomy.min_products": 2},  # the deep row is cut
        {"taxonomy.path": "tree.txt"},  # the file says that there is more below
    ],
)
def test_labels_that_end_for_a_reason_are_none_to_look_at(tmp_path, changes):
    (tmp_path / "tree.txt").write_text(f"{DEEP}\n")
    if "taxonomy.path" in changes:
        changes = {"taxonomy.path": str(tmp_path / "tree.txt")}
    assert told(*shop(tmp_path, (TOTES, 30), (DEEP, 1), changes=changes)) == []


def test_level_columns_are_looked_at_and_codes_are_not(tmp_path):
    header = ("title", "label1", "label2", "label3")
    rows = [(("Men", "Hats", ""), 30), (("Men", "Hats", "Caps"), 1)]
    rows += [(("men", "Hats", ""), 1)]
    ends, pairs = told(*shop(tmp_path, *rows, changes=LEVELS, header=header))
    assert "30 rows of `Men > Hats` end where 1 row goes deeper (row 31: " in ends
    assert "`men > Hats` (1 row, first row 32) -> `Men > Hats` (31 rows)" in pairs
    codes = {"data.columns.label_kind": "code"}
    assert told(*shop(tmp_path, ("6406", 30), ("640610", 1), changes=codes)) == []


def test_spellings_of_one_label_are_pairs(tmp_path):
    pans, bags = "Home > Kitchen > Pans", "Women > Bags"
    rows = [(pans, 9), ("home > kitchen > pans", 1), (bags, 7), ("Women / Bags", 2)]
    _, catalogue = shop(tmp_path, *rows, ("Women > Bag", 3), ("women|bags", 3))
    assert alike(catalogue) == [
        LookAlike("women|bags", 3, 23, bags, 7),
        LookAlike("Women / Bags", 2, 18, bags, 7),
        LookAlike("home > kitchen > pans", 1, 10, pans, 9),
    ]


def test_a_node_is_a_pair_where_no_whole_label_tells_of_it(tmp_path):
    rows = [("Home > Pans", 5), ("home > Pots > Big", 2), ("Home > Pots > Red", 4)]
    assert alike(shop(tmp_path, *rows)[1]) == [LookAlike("home", 2, 6, "Home", 9)]
    assert alike(shop(tmp_path, *rows, ("home > Pots", 1))[1]) == [
        LookAlike("home > Pots", 3, 6, "Home > Pots", 4)
    ]


def test_what_only_looks_nearly_alike_is_no_pair():
    for one, other in [("C#", "C"), ("Size > -", "Size"), ("4.5", "45"), ("क", "कि")]:
        assert spelled(one, " > ") != spelled(other, " > ")
    assert spelled("T–Shirts  (Men)", " > ") == spelled("t shirts men", " > ")
