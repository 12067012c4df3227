"""From a file to a catalogue in a tree: where labels end, what leaves the tree."""

import base64
import csv
import io

import pytest
from PIL import Image
from runs import TEXT, run_config

from hsjax.data.columns import columns_for
from hsjax.data.prepare import read_catalogue
from hsjax.data.records import CatalogueError, Quarantine, load_records
from hsjax.inference.products import read_another
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


def test_each_label_outside_a_tree_from_the_rows_is_noted(tmp_path):
    path = shop(tmp_path, "010121", "010229", copies=6)
    with path.open("a") as file:
        file.write("rare thing,640610\n")
    catalogue = read(CODES, path, taxonomy__min_products=2)
    assert catalogue.outside.sum() == 1
    rare = "unknown code: '640610' is not in the tree, cut to '64'"
    assert unknown(catalogue) == [(13, "label", rare, "kept")]


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


def test_facts_are_about_what_the_model_reads(tmp_path):
    rows = [(f"thing {n}" if n else "", "acme", "640610") for n in range(8)]
    path = write_rows(tmp_path / "s.csv", ("title", "brand", "label"), rows)
    both = {"data.columns.text": ("title", "brand")}
    facts = read({**CODES, **both}, path).facts()
    assert facts["rows without text"] == facts["rows with nothing present"] == 1
    joined = {**both, "data.text.streams.title": ("title", "brand")}
    assert read({**CODES, **joined}, path).facts()["rows without text"] == 0


def test_pictures_of_a_model_of_text_count_for_groups_alone(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    code = base64.b64encode(picture.getvalue()).decode()
    rows = [(f"thing {n}", "640610", code if n < 2 else "") for n in range(7)]
    rows.append(("", "640610", code))
    path = write_rows(tmp_path / "s.csv", ("title", "label", "image"), rows)
    image = {**CODES, "data.columns.image": "image"}
    both = {**image, "model.modalities": ("title", "image")}
    one, two = read(image, path), read(both, path)
    assert one.manifest == two.manifest
    assert one.groups.tolist() == two.groups.tolist()
    assert len(set(one.groups[[0, 1, 7]].tolist())) == 1
    assert all(r.image is None for r in one.records)
    assert [r.image is None for r in two.records] == [r[2] == "" for r in rows]
    for catalogue, nothing in ((one, 1), (two, 0)):
        facts = catalogue.facts()
        assert facts["rows without picture"] == 5
        assert facts["rows with nothing present"] == nothing


def test_a_training_part_with_nothing_in_it_is_refused(tmp_path):
    rows = [("", "acme", "640610", "train"), ("boot", "", "640610", "val")]
    path = write_rows(tmp_path / "s.csv", ("title", "brand", "label", "part"), rows)
    official = {"data.columns.split": "part", "data.split.by": "column"}
    for columns in (("title",), ("title", "brand")):
        settings = {**CODES, **official, "data.columns.text": columns}
        with pytest.raises(CatalogueError, match="no training row has anything of mo"):
            read(settings, path)


def test_a_training_part_without_a_label_in_the_tree_is_refused(tmp_path):
    tree = write_rows(tmp_path / "hs.csv", ("code",), [("010121",), ("010229",)])
    path = shop(tmp_path, "640610", "610910")
    with pytest.raises(CatalogueError, match="no label of the training part is in the"):
        read(CODES, path, taxonomy__path=str(tree))


def test_a_code_outside_the_tree_of_nodes_is_kept_and_noted(tmp_path):
    tree = write_rows(
        tmp_path / "tree.csv", ("code", "parent"), [("A", ""), ("B", "A")]
    )
    kind = {"taxonomy.kind": "parents", "data.columns.label_kind": "node"}
    settings = {**PATHS, **kind, "taxonomy.path": str(tree)}
    catalogue = read(settings, shop(tmp_path, "B", "A", "Z"))
    assert catalogue.outside.tolist() == [False] * 8 + [True] * 4
    assert (catalogue.labels[8:] == -1).all()
    far = "unknown code: 'Z' is not in the tree, nor is its coarsest part"
    assert unknown(catalogue) == [(n, "label", far, "kept") for n in range(9, 13)]
    # a run knows its own tree: the file that it came from may be gone
    tree.unlink()
    config = run_config(settings, data__path=str(tmp_path / "shop.csv"))
    options = {"tree": catalogue.tree, "quarantine": Quarantine()}
    found = read_another(config, tmp_path / "shop.csv", **options)
    assert [r.path for r in found.records] == [r.path for r in catalogue.records]
    assert not found.unlabelled


def test_names_of_path_codes_keep_their_spaces_and_dots(tmp_path):
    lines = [("a > b.c d", "Bees"), ("a>e", "Eels")]
    names = write_rows(tmp_path / "names.csv", ("code", "name"), lines)
    path = shop(tmp_path, "a > b.c d", "a > e")
    tree = read(PATHS, path, taxonomy__names=str(names)).tree
    assert tree.names[1].tolist() == ["Bees", "Eels"]
    write_rows(names, ("code", "name"), [("6406.10", "Parts"), ("6406", "Of shoes")])
    coded = read(CODES, shop(tmp_path, "640610"), taxonomy__names=str(names)).tree
    assert [n.tolist() for n in coded.names] == [["64"], ["Of shoes"], ["Parts"]]
    write_rows(names, ("code", "name"), [("a > ", "Ants")])
    with pytest.raises(CatalogueError, match="names.csv, row 1, column code: empty"):
        read(PATHS, path, taxonomy__names=str(names))


def test_another_file_may_lack_ids_and_pictures(tmp_path):
    config = run_config(
        CODES,
        data__path="the file of the run.csv",
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
    with pytest.raises(CatalogueError, match=r"gone\.csv: no such file$"):
        columns_for(config.data, "gone.csv", quarantine)
    config = config.copy_and_resolve_references()
    config.data.columns.text = ("name",)
    with pytest.raises(CatalogueError, match="no column 'name'"):
        load_records(columns_for(config.data, path, quarantine), quarantine=quarantine)


def test_totals_add_up(tmp_path):
    """Rows read = usable + dropped, and what was cut is counted."""
    rows = [(f"thing {n}", "6406.10.00", "") for n in range(6)]
    rows += [("thing " * 40, "640610", ""), ("boot", "6406", ""), ("x", "none", "")]
    path = write_rows(tmp_path / "s.csv", ("title", "label", "more"), rows)
    facts = read(CODES, path).facts()
    assert facts["rows read"] == 9
    assert facts["rows dropped"] == 1
    assert facts["usable rows"] == 8
    assert facts["codes cut to 6 digits"] == 6
    assert facts["labels that end early"] == 1
    assert facts["texts of title cut at 8 tokens"] == 1
    stop = read(CODES, path, data__columns__blank_level="stop").facts()
    assert stop["labels that end early"] == 1


@pytest.mark.parametrize("kind", ["code", "path"])
def test_labels_that_end_early_are_those_that_could_go_on(tmp_path, kind):
    labels = ("01 > 02", "01", "03") if kind == "path" else ("010229", "0102", "640610")
    facts = read({**PATHS, "data.columns.label_kind": kind}, shop(tmp_path, *labels))
    assert facts.facts()["labels that end early"] == 4


def test_chapters_without_goods_are_told(tmp_path, caplog):
    catalogue = read(CODES, shop(tmp_path, "770100", "990101", "980100", "640610"))
    (told,) = catalogue.quarantine.warnings
    assert told == (
        "codes that are taken as they are: 4 of chapter 77 (reserved), 4 of chapter 98"
        " (national use), 4 of chapter 99 (national use)"
    )
    assert told in caplog.text
    assert not read(CODES, shop(tmp_path, "640610")).quarantine.warnings
    paths = read(PATHS, shop(tmp_path, "77 > 7701", "a"))
    assert not paths.quarantine.warnings


def test_codes_of_a_nomenclature_that_are_no_goods_are_told(tmp_path, caplog):
    rows = [("I",), ("010121",), ("TOTAL",), ("640610",), ("999999",)]
    tree = write_rows(tmp_path / "hs.csv", ("code",), rows)
    caplog.set_level("INFO", logger="hsjax")
    read(CODES, shop(tmp_path, "010121", "640610"), taxonomy__path=str(tree))
    assert "3 codes are no goods, left out: 'I', 'TOTAL', '999999'" in caplog.text


def test_a_refused_catalogue_leaves_its_flaws(tmp_path):
    path, flaws = shop(tmp_path, "610910.0"), tmp_path / "run" / "quarantine.csv"
    with pytest.raises(CatalogueError) as refused:
        read_catalogue(run_config(CODES, data__path=str(path)), flaws=flaws)
    told = str(refused.value)
    assert "no usable row. malformed label (4 rows)" in told
    assert "Row 1: malformed label: not an HS code: '610910.0' looks like a" in told
    assert told.endswith(f"What was wrong in rows so far is in {flaws}")
    with flaws.open(newline="") as file:
        assert [note["row"] for note in csv.DictReader(file)] == ["1", "2", "3", "4"]


def test_splits_need_their_columns(tmp_path):
    path = shop(tmp_path, "640610")
    for by, key in (("date", "date"), ("platform", "platform"), ("column", "split")):
        words = f"config.data.columns.{key} is empty: .* config.data.split.by is '{by}'"
        with pytest.raises(CatalogueError, match=words):
            read(CODES, path, data__split__by=by)
