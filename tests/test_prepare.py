"""From a file to a catalogue in a tree: where labels end, what leaves the tree."""

import csv

import pytest
from runs import TEXT, run_config

from hsjax.data.columns import columns_for
from hsjax.data.prepare import read_catalogue
from hsjax.data.records import CatalogueError, Quarantine, load_records
from hsjax.taxonomy import Taxonomy

PATHS = {
    **TEXT,
    "data.columns.text": ("title",),
    "data.columns.label": ("label",),
    "data.columns.label_kind": "path",
}
CODES = {**PATHS, "data.columns.label_kind": "code"}


NEAR = "unknown code: '010290' is not in the tree, cut to '0102'"
FAR = "unknown code: '640610' is not in the tree, nor is its coarsest part"


def write_rows(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def shop(folder, *labels, copies=4):
    """Products with a title of their own, `copies` of each label."""
    rows = [(f"thing {n} {label}", label) for label in labels for n in range(copies)]
    return write_rows(folder / "shop.csv", ("title", "label"), rows)


def tree_file(folder, *lines):
    path = folder / "tree.txt"
    path.write_text("\n".join(lines))
    return path


def read(settings, path, **changes):
    return read_catalogue(run_config(settings, data__path=str(path), **changes))


def ends(catalogue):
    """Label -> does a product end there?"""
    return {r.path[-1]: r.complete for r in catalogue.records}


def unknown(catalogue):
    notes = catalogue.quarantine.rows
    return [(n[1], n[3], n[4], n[5]) for n in notes if n[4].startswith("unknown code")]


@pytest.mark.parametrize("given", [False, True])
def test_a_path_that_ends_at_a_leaf_is_complete(tmp_path, given):
    path = shop(tmp_path, "a > b", "a > b > c", "d")
    tree = tree_file(tmp_path, "a > b > c", "d") if given else ""
    catalogue = read(PATHS, path, taxonomy__path=str(tree))
    assert ends(catalogue) == {"a > b": False, "a > b > c": True, "d": True}
    assert catalogue.outside.sum() == 0
    assert not any(s.any() for s in catalogue.tree.stop)


def test_a_node_that_is_a_leaf_is_complete(tmp_path):
    path = shop(tmp_path, "B", "C")
    tree = tmp_path / "tree.csv"
    write_rows(tree, ("code", "parent"), [("A", ""), ("B", "A"), ("C", "B")])
    kind = {"taxonomy.kind": "parents", "data.columns.label_kind": "node"}
    catalogue = read({**PATHS, **kind}, path, taxonomy__path=str(tree))
    assert ends(catalogue) == {"A > B": False, "A > B > C": True}


def test_a_short_code_stays_unknown_below_even_at_a_leaf(tmp_path):
    catalogue = read(CODES, shop(tmp_path, "0101", "010229"))
    assert ends(catalogue) == {"0101": False, "010229": True}


@pytest.mark.parametrize("kind", [".txt", ".json"])
def test_a_given_tree_gets_stops_where_training_labels_end(tmp_path, kind):
    lines = ("a > b > c", "a > e", "d > f")
    tree = tree_file(tmp_path, *lines)
    if kind == ".json":
        paths = [("a", "a > b", "a > b > c"), ("a", "a > e"), ("d", "d > f")]
        tree = tmp_path / "tree.json"
        Taxonomy.from_paths(paths, stop="none", separator=" > ").save(tree)
    path = shop(tmp_path, "a", "a > b", "a > b > c", "a > e")
    stop = {**PATHS, "data.columns.blank_level": "stop", "taxonomy.path": str(tree)}
    catalogue = read(stop, path)
    found = catalogue.tree
    assert found.codes[1].tolist() == ["a > b", "a > e", "d > f", "a > STOP"]
    assert found.codes[2].tolist() == ["a > b > c", "a > b > STOP"]
    short = [i for i, r in enumerate(catalogue.records) if r.path == ("a",)]
    assert (catalogue.labels[short] == [0, 3, -1]).all()
    everywhere = read(stop, path, taxonomy__stop="all").tree
    assert [s.sum() for s in everywhere.stop] == [0, 2, 1]
    unsaid = read({**stop, "data.columns.blank_level": "unknown"}, path)
    assert not any(s.any() for s in unsaid.tree.stop)


def test_only_training_labels_that_are_in_the_tree_make_stops(tmp_path):
    tree = tree_file(tmp_path, "a > b", "d > f")
    rows = [("one", "a > b", "train"), ("two", "d", "val"), ("six", "a > x", "train")]
    path = write_rows(tmp_path / "s.csv", ("title", "label", "part"), rows)
    stop = {"data.columns.blank_level": "stop", "taxonomy.path": str(tree)}
    official = {"data.columns.split": "part", "data.split.by": "column"}
    catalogue = read({**PATHS, **stop, **official}, path)
    assert not any(s.any() for s in catalogue.tree.stop)


def test_each_label_outside_a_given_tree_is_noted(tmp_path):
    tree = write_rows(tmp_path / "hs.csv", ("code",), [("010121",), ("010229",)])
    path = shop(tmp_path, "010121", "010229", "010290", "640610", copies=3)
    catalogue = read(CODES, path, taxonomy__path=str(tree))
    assert unknown(catalogue) == [
        *((row, "label", NEAR, "kept") for row in (7, 8, 9)),
        *((row, "label", FAR, "kept") for row in (10, 11, 12)),
    ]
    assert catalogue.outside.sum() == 6
    assert len(catalogue.records) == 12
    assert catalogue.facts()["labels outside the tree"] == 6


def test_a_tree_from_the_rows_makes_no_code_unknown(tmp_path):
    path = shop(tmp_path, "010121", "010229", copies=6)
    with path.open("a") as file:
        file.write("rare thing,640610\n")
    catalogue = read(CODES, path, taxonomy__min_products=2)
    assert catalogue.outside.sum() == 1
    assert not unknown(catalogue)


def test_the_facts_of_a_catalogue(tmp_path):
    rows = [(f"p{n}", f"thing {n}", "640610") for n in range(8)]
    rows += [("e1", "", "640610"), ("e2", "", "640610"), ("p0", "thing 0", "640610")]
    path = write_rows(tmp_path / "s.csv", ("id", "title", "label"), rows)
    catalogue = read(CODES, path, data__columns__id="id")
    facts = catalogue.facts()
    assert facts["usable rows"] == 10, "a repeated row is no second example"
    assert sum(facts[f"{part} rows"] for part in ("train", "val", "test")) == 10
    assert facts["rows with nothing present"] == facts["rows without text"] == 2
    assert facts["rows without picture"] == 10
    assert facts["groups"] == 9
    assert facts["rows of the largest group"] == 2
    assert facts["groups in more than one part"] == 0
    assert catalogue.quarantine.counts()["nothing to classify", "kept"] == 2


def test_a_training_part_with_nothing_in_it_is_refused(tmp_path):
    rows = [("", "640610", "train"), ("boot", "640610", "val")]
    path = write_rows(tmp_path / "s.csv", ("title", "label", "part"), rows)
    official = {"data.columns.split": "part", "data.split.by": "column"}
    with pytest.raises(CatalogueError, match="no row of the training part has text"):
        read({**CODES, **official}, path)


def test_another_file_may_lack_ids_and_pictures(tmp_path):
    config = run_config(
        CODES,
        data__columns__id="id",
        data__columns__image="photo",
        data__columns__metadata=("seller",),
        data__required=("image",),
        data__rows=1,
    )
    path, quarantine = shop(tmp_path, "640610", copies=2), Quarantine()
    data = columns_for(config.data, path, quarantine)
    records = load_records(data, quarantine=quarantine)
    assert [(r.id, r.image) for r in records] == [("1", None), ("2", None)]
    assert [note[1:] for note in quarantine.rows] == [
        (0, "", "id", "column absent: the row number stands in", "kept"),
        (0, "", "photo", "column absent: all rows lack it", "kept"),
    ]
    assert config.data.columns.image == "photo"
    config = config.copy_and_resolve_references()
    config.data.columns.text = ("name",)
    with pytest.raises(CatalogueError, match="no column 'name'"):
        load_records(columns_for(config.data, path, quarantine), quarantine=quarantine)
