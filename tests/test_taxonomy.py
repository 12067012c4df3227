"""The label tree: round trips, partitions, ragged depth, bad trees refused in words."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ragged_tree

from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, hs_path, join_levels, split_path

HS = Taxonomy.from_paths([hs_path(c) for c in ("010121", "010129", "0102", "6109")])
TREES = {
    "hs": HS,
    "ragged": ragged_tree(0),
    "deeper": ragged_tree(1, depth=5),
    "one level": Taxonomy.from_paths([("b",), ("a",)]),
}
every_tree = pytest.mark.parametrize("tree", TREES.values(), ids=TREES)


def paths(*lines, **options):
    codes = [split_path(line, "/") for line in lines]
    return Taxonomy.from_paths(codes, separator="/", **options)


def nodes(*levels):
    return Taxonomy.from_nodes(levels)


@every_tree
def test_codes_to_ids_and_back(tree):
    for level, codes in enumerate(tree.codes):
        for i, path in enumerate(tree.ancestors[level]):
            if tree.stop[level][i]:
                continue
            labels, outside = tree.encode(tree.decode(path), complete=False)
            assert not outside
            assert labels.tolist() == path.tolist()
            assert tree.decode(labels)[-1] == codes[i]


@every_tree
def test_every_node_has_one_parent_and_a_valid_path(tree):
    for level, table in enumerate(tree.ancestors):
        assert tree.valid(table).all()
        for i, path in enumerate(table):
            assert path[level] == i
            assert (path[level + 1 :] == -1).all()
            for k in range(1, level + 1):
                assert tree.parents[k][path[k]] == path[k - 1]


@every_tree
def test_blocks_partition_each_level_with_siblings_side_by_side(tree):
    for level, (ids, slots, blocks) in enumerate(tree.layout):
        size = tree.sizes[level]
        assert sorted(ids.tolist()) == list(range(size))
        assert slots[ids].tolist() == list(range(size))
        place, owners = 0, []
        for block in blocks:
            assert block.start == place
            for parent in block.parents.tolist():
                children = ids[place : place + block.fan_out]
                above = tree.layout[level - 1].ids[parent] if level else 0
                assert (tree.parents[level][children] == above).all()
                owners.append(parent)
                place += block.fan_out
        assert place == size
        assert len(set(owners)) == len(owners)
        assert len({block.fan_out for block in blocks}) == len(blocks)


def test_leaves_are_the_nodes_without_children():
    assert [x.tolist() for x in paths("a/b", "c").leaf] == [[False, True], [True]]


def test_stop_children_exist_where_products_end_at_an_inner_node():
    rows = ["a", "a/b", "c", "c/d/e"]
    tree = paths(*rows, complete=[True, True, False, True])
    assert tree.codes[1].tolist() == ["a/STOP", "a/b", "c/d"]
    assert tree.stop[1].tolist() == [True, False, False]
    assert not tree.stop[2].any()
    everywhere = paths(*rows, stop="all")
    assert everywhere.codes[1][everywhere.stop[1]].tolist() == ["a/STOP", "c/STOP"]
    assert everywhere.codes[2][everywhere.stop[2]].tolist() == ["c/d/STOP"]
    assert not any(stop.any() for stop in paths(*rows, stop="none").stop)


def test_a_product_that_ends_differs_from_one_unknown_below():
    tree = paths("a", "a/b", "c/d")
    ends = tree.encode(("a",), complete=True)[0]
    assert tree.codes[1][ends[1]] == "a/STOP"
    assert tree.decode(ends) == ("a",)
    assert tree.encode(("a",), complete=False)[0].tolist() == [0, -1]
    # no product of this tree ends at c, so nothing is said below it
    assert tree.encode(("c",), complete=True)[0].tolist() == [1, -1]


def test_a_label_outside_the_tree_is_cut_to_its_deepest_known_ancestor():
    tree = paths("a", "a/b/x", "c/d")
    for path, depth in [
        (("z",), 0),
        (("a", "a/z", "a/z/x"), 1),
        (("a", "a/b", "a/b/z"), 2),
        (("a", "a/b", "a/b/x", "a/b/x/y"), 3),
        (("a", "a/STOP"), 1),
    ]:
        labels, outside = tree.encode(path)
        assert outside
        assert tree.decode(labels) == path[:depth]
        assert (labels[depth:] == -1).all(), "what leaves the tree does not end there"


def test_validity_sees_gaps_and_foreign_parents():
    tree = paths("a/b", "c/d")
    rows = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [-1, -1]])
    assert tree.valid(rows).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: hs_path("10121"), "probably a lost zero"),
        (lambda: hs_path("01o121"), "no digits"),
        (lambda: hs_path("\uff10\uff11"), "no digits"),
        (lambda: hs_path("01", digits=(4, 6)), "too short"),
        (lambda: hs_path(""), "not an HS code"),
        (lambda: split_path("a > "), "empty part"),
        (lambda: split_path("a > STOP"), "reserved word"),
        (lambda: split_path("a - - b", " - "), "empty part"),
        (lambda: split_path("a -", " - "), "empty part"),
        (lambda: hs_path("101.21"), "probably a lost zero"),
        (lambda: join_levels(["a > b", "c"]), "contains the separator"),
        (lambda: Taxonomy.from_paths([("a", "x"), ("b", "x")]), "two parents"),
        (lambda: Taxonomy.from_paths([()]), "no label"),
        (lambda: nodes([("a", "", 0, False)] * 2), "'a' twice"),
        (lambda: nodes([("", "", 0, False)]), "without a code"),
        (lambda: nodes([("a", "", 0, False)], [("b", "", 1, False)]), "not exist"),
        (lambda: nodes([("a", "", 0, True)]), "stop above level 1"),
        (lambda: nodes([]), "at least one node"),
    ],
)
def test_bad_codes_and_trees_are_refused_in_words(make, words):
    with pytest.raises(TaxonomyError, match=words):
        make()


def test_stop_children_have_no_children_and_no_twin():
    top, stop = [("a", "", 0, False)], ("s", "", 0, True)
    with pytest.raises(TaxonomyError, match="STOP node with children"):
        nodes(top, [stop], [("b", "", 0, False)])
    with pytest.raises(TaxonomyError, match="two STOP children"):
        nodes(top, [stop, ("t", "", 0, True)])


@every_tree
def test_json_round_trip_keeps_everything(tree, tmp_path):
    tree.save(tmp_path / "taxonomy.json")
    again = Taxonomy.load(tmp_path / "taxonomy.json")
    assert again == tree
    assert hash(again) == hash(tree)
    assert again.to_dict() == tree.to_dict()
    document = json.loads((tmp_path / "taxonomy.json").read_text())
    assert document["hash"] == tree.hash == again.hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["nodes"][1].update(name="other"), "changed by hand"),
        (lambda d: d.update(edition="HS 2017"), "changed by hand"),
        (lambda d: d.update(format=2), "format 2"),
        (lambda d: d["nodes"][0].update(id=5), "gap"),
        (lambda d: d.pop("nodes"), "not a taxonomy file"),
        (lambda d: d.update(nodes=[]), "not a taxonomy file"),
    ],
)
def test_a_file_that_is_not_as_it_was_saved_is_refused(change, words, tmp_path):
    document = HS.to_dict() | {"hash": HS.hash}
    change(document)
    (tmp_path / "taxonomy.json").write_text(json.dumps(document))
    with pytest.raises(TaxonomyError, match=words):
        Taxonomy.load(tmp_path / "taxonomy.json")


def test_equality_is_by_content_and_arrays_are_read_only():
    same, other = paths("a/b", "c", edition="x"), paths("a/b", "c", edition="y")
    assert same == paths("c", "a/b", edition="x")
    assert same != other
    assert same.hash != other.hash
    assert len({same, other, paths("a/b", "c", edition="x")}) == 2
    with pytest.raises(ValueError, match="read-only"):
        same.parents[1][0] = 1


def test_jit_closes_over_a_tree_and_compiles_once_per_content():
    traced = []

    def sizes(x, tree):
        traced.append(tree.hash)
        return x + jnp.asarray(tree.parents[1][-1])

    jitted = jax.jit(sizes, static_argnums=1)
    assert int(jitted(jnp.int32(1), paths("a/b", "c/d"))) == 2
    assert int(jitted(jnp.int32(2), paths("c/d", "a/b"))) == 3
    assert int(jitted(jnp.int32(2), paths("a/b", "a/d"))) == 2
    assert len(traced) == 2


def test_the_top_levels_are_a_tree_with_the_same_ids():
    tree = TREES["deeper"]
    for levels in range(1, tree.num_levels + 1):
        top = tree.top(levels)
        assert top.to_dict()["nodes"] == [
            n for n in tree.to_dict()["nodes"] if n["level"] <= levels
        ]


@pytest.mark.parametrize(
    "code", ["10121.0", "1.0", "610910.0", "8471300000.0", "6109..1"]
)
def test_a_number_that_a_spreadsheet_made_of_a_code_is_refused(code):
    with pytest.raises(TaxonomyError, match="looks like a number read as float"):
        hs_path(code)


def test_stop_children_are_added_behind_the_ids_that_exist():
    tree = paths("a/b/x", "c/d", "e", stop="none")
    grown = tree.with_stops([(1, 0), (0, 1), (0, 0), (0, 1)])
    assert grown.codes[0].tolist() == tree.codes[0].tolist()
    assert grown.codes[1].tolist() == ["a/b", "c/d", "a/STOP", "c/STOP"]
    assert grown.codes[2].tolist() == ["a/b/x", "a/b/STOP"]
    assert grown.parents[1].tolist() == [0, 1, 0, 1]
    assert [s.sum() for s in grown.stop] == [0, 2, 1]
    assert grown.encode(("c",))[0].tolist() == [1, 3, -1]
    assert grown.with_stops([(0, 0)]) == grown, "one STOP child is enough"
    with pytest.raises(TaxonomyError, match="'e' has no children"):
        tree.with_stops([(0, 2)])


@pytest.mark.parametrize("code", ["00", "0001", "000121", "00.01.21"])
def test_there_is_no_chapter_00(code):
    with pytest.raises(TaxonomyError, match="no HS code: .* chapter 00"):
        hs_path(code)
    assert hs_path("7701"), "reserved for later editions"
    assert hs_path("9801"), "free for national use"


@pytest.mark.parametrize(
    ("separator", "path", "parts"),
    [
        (" > ", "a>b >c", ("a", "b", "c")),
        (" - ", "Men - T-Shirts", ("Men", "T-Shirts")),
        (" - ", " Men  -\tT-Shirts ", ("Men", "T-Shirts")),
        (", ", "1,5 l, red", ("1,5 l", "red")),
        ("/", "a / b/c", ("a", "b", "c")),
        (" >> ", "a>>b >> c", ("a>>b", "c")),
    ],
)
def test_a_separator_with_spaces_splits_only_where_they_are(separator, path, parts):
    assert split_path(path, separator) == join_levels(parts, separator)
