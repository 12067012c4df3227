"""A node as people write it: wherever a code is read, it is read alike."""

import csv

import pytest

from hsjax.data.cost_file import read_costs
from hsjax.data.duties_file import read_duties
from hsjax.data.named_nodes import find_node, find_nodes, node_places
from hsjax.data.nomenclature import node_paths
from hsjax.data.quarantine import CatalogueError
from hsjax.prediction.prefixes import read_prefixes
from hsjax.reviewing.decisions import Answer, read_decisions
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, hs_path

HS = Taxonomy.from_paths([hs_path(code) for code in ("640299", "640391", "010121")])
SHOP = Taxonomy.from_paths(
    [("Men", "Men > Shoes"), ("Men", "Men > Hats"), ("Bags",)], separator=" > "
)
NAMED = node_paths(SHOP)


def by_prefix(text, tree, own, folder):
    ids, (reason,) = read_prefixes([text], tree, own)
    if reason:
        raise CatalogueError(reason)
    return tree.decode(ids[0])[-1]


def by_decision(text, tree, own, folder):
    line = {"row": 1, "decision": "override", "code": text, "reviewer": "Ann"}
    path = written(folder, [{**line, "date": "2026-11-23", "reason": "heel"}])
    answers = {1: Answer(1, "a", "another", "")}
    return read_decisions(path, answers, tree, own)[0].code


def by_duties(text, tree, own, folder):
    path = written(folder, [{"code": text, "duty": 1, "penalty": 2}])
    (code,) = read_duties(path, tree, own=own)
    return code


def by_costs(text, tree, own, folder):
    path = written(folder, [{"predicted": text, "true": text, "cost": 1}])
    return str(read_costs(path, tree, own=own).true[0])


def by_leaving_out(text, tree, own, folder):
    (code,) = find_nodes([text], tree, own)
    return code


def written(folder, rows):
    with (folder / "file.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "file.csv"


@pytest.mark.parametrize(
    "read", [by_prefix, by_decision, by_duties, by_costs, by_leaving_out]
)
@pytest.mark.parametrize(
    ("text", "tree", "own", "code"),
    [
        ("640299", HS, {}, "640299"),
        ("6402.99", HS, {}, "640299"),
        ("6402 99 00 00", HS, {}, "640299"),  # national digits, below the tree
        ("6402990000", HS, {}, "640299"),
        ("Men>Shoes", SHOP, {}, "Men > Shoes"),
        ("Shoes", SHOP, NAMED, "Men > Shoes"),
        ("Men > Hats", SHOP, NAMED, "Men > Hats"),
        ("640298", HS, {}, "'640298' is no node of the tree"),
        ("6402980000", HS, {}, "'6402980000' is no node of the tree"),
        ("64029", HS, {}, "probably a lost zero: '64029'"),
        ("640299x", HS, {}, "characters that are no digits"),
        ("Men > Coats", SHOP, {}, "'Men > Coats' is no node of the tree"),
        ("Men >", SHOP, {}, "empty part"),
    ],
)
def test_a_code_is_read_alike_everywhere(read, text, tree, own, code, tmp_path):
    if code not in node_places(tree):
        with pytest.raises(CatalogueError, match=code):
            read(text, tree, own, tmp_path)
    else:
        assert read(text, tree, own, tmp_path) == code


def test_the_node_that_may_be_meant_is_named_to_people_alone():
    with pytest.raises(TaxonomyError, match="tree. Did you mean '640299'?"):
        find_node("640298", HS, {}, guess=True)
    with pytest.raises(TaxonomyError, match="tree$"):  # of a column of a catalogue
        find_node("640298", HS, {})
    assert find_node("", HS, {}) == ""
