"""Diffs of a tree: what each operation does, what stays as it was, what is refused."""

import json

import numpy as np
import pytest

from hsjax.recategorize.change import apply_diff, moved_code, moved_path
from hsjax.recategorize.diff import Diff, Operation, read_diff, write_diff
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, split_path

PATHS = [
    ("Shoes", "Shoes > Boots", "Shoes > Boots > Ankle"),
    ("Shoes", "Shoes > Boots", "Shoes > Boots > Knee"),
    ("Shoes", "Shoes > Sandals"),
    ("Shoes", "Shoes > Slippers"),
    ("Bags", "Bags > Totes"),
    ("Bags",),
]


@pytest.fixture
def tree():
    return Taxonomy.from_paths(PATHS, separator=" > ")


def diff(*operations, **told):
    return Diff("", operations, **told)


def codes(tree):
    return [level.tolist() for level in tree.codes]


def test_a_leaf_that_is_split_keeps_its_id_and_new_nodes_come_last(tree):
    into = (("Shoes > Sandals > flat", "flat"), ("Shoes > Sandals > high", "high"))
    new = apply_diff(diff(Operation("split", "Shoes > Sandals", 2, into)), tree)
    for level, old in enumerate(codes(tree)):
        assert codes(new)[level][: len(old)] == old
    assert codes(new)[2][-2:] == [code for code, _ in into]
    labels, outside = new.encode(("Shoes", "Shoes > Sandals", "Shoes > Sandals > high"))
    assert not outside
    assert new.valid(labels[None]).all()
    place = codes(new)[1].index("Shoes > Sandals")
    assert not new.leaf[1][place]
    assert new.edition == tree.edition


def test_a_level_below_the_deepest_is_made(tree):
    into = (("Shoes > Boots > Ankle > a", "a"), ("Shoes > Boots > Ankle > b", "b"))
    new = apply_diff(diff(Operation("split", "Shoes > Boots > Ankle", 3, into)), tree)
    assert new.num_levels == 4
    assert codes(new)[3] == [code for code, _ in into]


def test_an_inner_node_is_added_to_and_keeps_its_stop(tree):
    add = Operation("add", "Bags", 1, (("Bags > Clutches", "Clutches"),))
    new = apply_diff(diff(add), tree)
    assert "Bags > Clutches" in codes(new)[1]
    assert new.encode(("Bags",))[0].tolist() == tree.encode(("Bags",))[0].tolist()


def test_a_name_changes_and_the_code_does_not(tree):
    new = apply_diff(
        diff(Operation("rename", "Bags > Totes", 2, name="Shoppers")), tree
    )
    assert codes(new) == codes(tree)
    place = codes(tree)[1].index("Bags > Totes")
    assert new.names[1][place] == "Shoppers"
    assert tree.names[1][place] == "Totes"


def test_merged_nodes_are_one_and_their_products_move(tree):
    both = ("Shoes > Sandals", "Shoes > Slippers")
    merge = Operation("merge", both[0], 2, name="Open shoes", codes=both)
    new = apply_diff(diff(merge, edition="2027"), tree)
    assert both[1] not in codes(new)[1]
    assert new.names[1][codes(new)[1].index(both[0])] == "Open shoes"
    assert new.edition == "2027"
    assert moved_path(diff(merge), ("Shoes", both[1])) == ("Shoes", both[0])
    assert moved_path(diff(merge), ("Bags", "Bags > Totes")) == ("Bags", "Bags > Totes")
    for path in PATHS:
        labels, outside = new.encode(moved_path(diff(merge), path))
        assert not outside
        assert new.valid(labels[None]).all()


def test_children_of_merged_nodes_are_below_the_one_that_is_left(tree):
    stops = tree.with_stops([(0, codes(tree)[0].index("Shoes"))])
    merge = Operation("merge", "Shoes", 1, codes=("Shoes", "Bags"))
    new = apply_diff(diff(merge), stops)
    assert codes(new)[0] == ["Shoes"]
    assert set(np.unique(new.parents[1])) == {0}
    assert new.stop[1].sum() == 1  # of two, one is left
    # one STOP child below the one that goes becomes that of the one that stays
    other = apply_diff(diff(merge), tree)
    assert other.codes[1][other.stop[1]].tolist() == ["Shoes > STOP"]
    # and a label is read back: its code is its path
    moved = moved_path(diff(merge), ("Bags", "Bags > Totes"), separator=" > ")
    assert moved == ("Shoes", "Shoes > Totes") == split_path(moved[-1])
    assert other.encode(moved)[1] is False
    assert moved_code(diff(merge), "Bags > Totes", separator=" > ") == moved[-1]
    assert moved_code(diff(merge), "Bags") == "Shoes"


def test_what_has_one_path_after_a_merge_is_one_node():
    paths = [("A", "A > x"), ("A", "A > y"), ("B", "B > x", "B > x > 1"), ("C",)]
    tree = Taxonomy.from_paths(paths, separator=" > ")
    merge = Operation("merge", "A", 1, codes=("B", "A"))
    new = apply_diff(diff(merge), tree)
    assert codes(new) == [["A", "C"], ["A > x", "A > y"], ["A > x > 1"]]
    moved = moved_path(diff(merge), paths[2], separator=" > ")
    assert moved == ("A", "A > x", "A > x > 1")
    assert new.encode(moved)[1] is False


def test_codes_that_are_no_paths_stay_below_a_merged_node():
    tree = Taxonomy.from_paths([("64", "6404"), ("65", "6501", "650100")])
    merge = Operation("merge", "64", 1, codes=("64", "65"))
    new = apply_diff(diff(merge), tree)
    assert codes(new) == [["64"], ["6404", "6501"], ["650100"]]
    moved = moved_path(diff(merge), ("65", "6501", "650100"))
    assert moved == ("64", "6501", "650100")
    assert new.encode(moved)[1] is False


def test_operations_build_on_each_other(tree):
    x, y = "Shoes > Sandals > X", "Shoes > Sandals > Y"
    split = Operation("split", "Shoes > Sandals", 2, ((x, "X"), (y, "Y")))
    again = Operation("split", x, 3, ((f"{x} > 1", "one"), (f"{x} > 2", "two")))
    both = (f"{x} > 1", f"{x} > 2")
    merge = Operation("merge", both[0], 4, name="both", codes=both)
    whole = diff(split, again, merge)
    new = apply_diff(whole, tree)
    assert codes(new)[3] == [both[0]]
    assert new.names[3].tolist() == ["both"]
    assert moved_code(whole, both[1], separator=" > ") == both[0]
    above = diff(split, again, Operation("merge", y, 3, codes=(x, y)))
    assert moved_code(above, both[1], separator=" > ") == f"{y} > 2"
    assert codes(apply_diff(above, tree))[3] == [f"{y} > 1", f"{y} > 2"]


@pytest.mark.parametrize(
    ("code", "name"),
    [("clogs", "clogs"), ("Shoes > clogs", "clogs"), ("Bags > a>b", "a>b"),
     ("Bags > a > b", "b"), ("Bags >  a", "a"), ("Bags > ", "a"), ("Shoes", "x")],
)  # fmt: skip
def test_a_code_that_would_not_be_read_back_is_refused(tree, code, name):
    with pytest.raises(TaxonomyError, match="operation 1") as error:
        apply_diff(diff(Operation("add", "Bags", 1, ((code, name),))), tree)
    assert repr(code) in str(error.value)


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (Operation("split", "Shoes > Sandel", 2), "Did you mean 'Shoes > Sandals'"),
        (Operation("split", "Shoes > Boots", 2, (("a", "a"), ("b", "b"))), "children"),
        (Operation("split", "Shoes > Sandals", 2, (("a", "a"),)), "two nodes or more"),
        (Operation("add", "Shoes", 1, ()), "names no new node"),
        (Operation("add", "Shoes", 1, (("Bags > Totes", "x"),)), "already"),
        (
            Operation("add", "Shoes", 1, (("Shoes > n", "Boots"),)),
            "a child called 'Boots'",
        ),
        (Operation("add", "Shoes", 1, (("n", " "),)), "a code and a name"),
        (Operation("add", "Shoes", 1, (("n", "STOP"),)), "taken"),
        (Operation("add", "Shoes", 7, (("n", "n"),)), "there is no level 7"),
        (Operation("rename", "Shoes", 1, name=" "), "new name is empty"),
        (Operation("merge", "Shoes", 1, codes=("Shoes",)), "two codes or more"),
        (
            Operation(
                "merge", "Bags > Totes", 2, codes=("Bags > Totes", "Shoes > Boots")
            ),
            "different parents",
        ),
    ],
)
def test_what_is_impossible_is_said(tree, operation, told):
    with pytest.raises(TaxonomyError, match="operation 1") as error:
        apply_diff(diff(operation), tree)
    assert told in str(error.value)


def test_a_diff_of_another_tree_is_refused(tree):
    other = diff()._replace(base="0" * 64)
    with pytest.raises(TaxonomyError, match="made for the tree 00000000"):
        apply_diff(other, tree)
    assert apply_diff(diff()._replace(base=tree.hash), tree) == tree


def test_a_diff_comes_back_from_its_file(tree, tmp_path):
    a, b = "Shoes > Sandals > Ä", "Shoes > Sandals > b"
    into = ((a, "Ä"), (b, "b"))
    told = {"cluster": "1", "size": 20, "stability": 0.9}
    split = Operation("split", "Shoes > Sandals", 2, into, provenance=told)
    merge = Operation("merge", a, 3, name="n", codes=(a, b))
    whole = Diff(tree.hash, (split, merge), "2028", {"Shoes|1": a})
    write_diff(whole, tmp_path / "diff.json")
    found = read_diff(tmp_path / "diff.json")
    assert found == whole
    assert apply_diff(found, tree) == apply_diff(whole, tree)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "spilt"}, "Did you mean 'split'"),
        ({"level": "2"}, "a level (a number)"),
        ({"extra": 1}, "operation 1"),
        ({"into": [{"code": "a"}]}, "objects of code and name"),
        ({"name": 3}, "`name` is 3 and has to be a text"),
        ({"into": {"a": "b"}}, "`into` is {'a': 'b'} and has to be a list"),
        ({"into": ["ab"]}, "objects of code and name"),
        ({"into": [{"code": "a", "name": None}]}, "are text"),
        ({"codes": "abc"}, "`codes` is 'abc' and has to be a list"),
        ({"codes": ["a", 1]}, "are text"),
        ({"from": []}, "`from` is [] and has to be an object"),
        ({"code": None}, "a code (text)"),
        ({"level": True}, "a level (a number)"),
        ({"nmae": "a"}, "'nmae' is unknown. Did you mean 'name'?"),
    ],
)
def test_a_broken_file_is_told(tmp_path, change, told):
    operation = {"kind": "split", "level": 1, "code": "a", "from": {}} | change
    path = tmp_path / "diff.json"
    path.write_text(json.dumps({"format": 1, "operations": [operation]}))
    with pytest.raises(TaxonomyError) as error:
        read_diff(path)
    assert told in str(error.value)
    assert "diff.json" in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"operations": {}}, "`operations` is {} and has to be a list"),
        ({"operations": ["merge"]}, "operation 1: it is 'merge'"),
        ({"clusters": ["a"]}, "`clusters` is ['a'] and has to be an object"),
        ({"clusters": {"Shoes|1": None}}, "the code of a node"),
        ({"base": 3}, "`base` is 3"),
        ({"operation": []}, "'operation' is unknown. Did you mean 'operations'?"),
    ],
)
def test_a_broken_document_is_told(tmp_path, change, told):
    path = tmp_path / "diff.json"
    path.write_text(json.dumps({"format": 1, "operations": []} | change))
    with pytest.raises(TaxonomyError) as error:
        read_diff(path)
    assert told in str(error.value)
    assert "diff.json" in str(error.value)


def test_what_is_null_in_a_file_is_absent(tmp_path):
    names = ("into", "name", "codes", "from")
    operation = {"kind": "merge", "level": 1, "code": "a"} | dict.fromkeys(names)
    document = {"format": 1, "operations": [operation]}
    document |= dict.fromkeys(("base", "edition", "clusters"))
    path = tmp_path / "diff.json"
    path.write_text(json.dumps(document), encoding="utf-8-sig")  # and a mark before it
    assert read_diff(path) == Diff("", (Operation("merge", "a", 1),))


def test_other_files_are_no_diffs(tmp_path):
    with pytest.raises(TaxonomyError, match="cannot be read"):
        read_diff(tmp_path)
    with pytest.raises(TaxonomyError, match="no such file"):
        read_diff(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(TaxonomyError, match="not JSON"):
        read_diff(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(TaxonomyError, match="no diff of format 1"):
        read_diff(tmp_path / "x.json")
