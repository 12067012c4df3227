"""Labels of another edition: what they say in the tree, and in the batch."""

import csv

import numpy as np
import pytest
from runs import TEXT, fit_run, prepare_run, run_config

from hsjax.data.correlation import Correlation, Pair
from hsjax.data.correlation_tables import COLUMNS
from hsjax.data.edition_labels import EditionLabels, Read
from hsjax.data.prepare import examples_of, read_catalogue
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.inference.products import read_another
from hsjax.taxonomy import Taxonomy

OLD, NEW = "HS 2017", "HS 2022"


def path(code):
    return tuple(code[:n] for n in (2, 4, 6) if n <= len(code))


def tree_of(*codes, edition=NEW):
    return Taxonomy.from_paths(map(path, codes), edition=edition)


TREE = tree_of(
    *("610910", "610990", "620342", "850110"),
    *("851762", "851771", "851779", "854900"),
)
# 8517.61 was divided, 8517.62 narrowed, 8548.10 renamed, 6109.20 merged, 9999 moved
PAIRS = [
    ("851761", "851771", 0.6),
    ("851761", "851779", 0.4),
    ("851762", "851762", 0.9),
    ("851762", "854900", 0.1),
    ("854810", "854900", None),
    ("610920", "610910", None),
]
LABELS = EditionLabels(
    TREE, Correlation({(OLD, NEW): [Pair(a, b, w, "WCO") for a, b, w in PAIRS]})
)


def read(code, edition=OLD, complete=None):
    return LABELS.read(
        path(code), len(code) == 6 if complete is None else complete, edition
    )


def test_a_divided_code_is_a_set_and_others_are_labels():
    found = read("851761")
    assert found.path == ("85", "8517")
    assert found.admissible == (path("851771"), path("851779"))
    assert not found.complete
    assert found.note == (
        "retired code: '851761' of HS 2017 became 851771 (0.6, WCO), 851779 (0.4, WCO)"
        " in HS 2022"
    )
    # it is in both trees, and means less now: the set goes over two headings
    narrowed = read("851762")
    assert narrowed == Read(("85",), False, (path("851762"), path("854900")))
    assert read("851762", NEW) == Read(path("851762"), True)
    renamed = read("854810")
    assert renamed[:3] == (path("854900"), True, ())
    assert "became 854900 (1, WCO)" in renamed.note
    assert read("620342") == Read(path("620342"), True)  # in both, named by none


def test_a_label_that_ends_early_is_all_that_lay_below_it():
    found = read("8517")  # 8517.61 and 8517.62, which partly left the heading
    assert found.path == ("85",)
    assert found.admissible == (("85", "8517"), path("854900"))
    assert found.note == ""
    # of 6109 nothing left: as ordinary a label as in the tree's own edition
    assert read("6109") == Read(("61", "6109"), False)
    assert read("62") == Read(("62",), False)
    # products that end at a node do not lie below it
    assert read("8517", complete=True) == Read(("85", "8517"), True)
    # a heading that is gone: what became of its codes
    assert read("8548") == Read(path("854900"), True)


def test_a_code_that_nobody_names_is_told_as_ever():
    assert read("999999") == Read(path("999999"), True)
    assert read("610930") == Read(path("610930"), True)


def test_a_retired_code_without_an_edition_is_taken_by_its_successors():
    found = read("851761", "")
    assert found[:3] == read("851761")[:3]
    assert found.note.endswith(
        "in HS 2022; taken so, as the label names no other edition"
    )
    assert read("851762", "") == Read(path("851762"), True)
    assert read("999999", NEW) == Read(path("999999"), True)


def test_a_later_code_in_an_older_tree():
    tree = tree_of("851761", "851762", "854810", edition=OLD)
    pairs = [Pair(a, b, w, "WCO") for a, b, w in PAIRS]
    labels = EditionLabels(tree, Correlation({(OLD, NEW): pairs}))
    found = labels.read(path("854900"), True, NEW)
    assert found.admissible == (path("851762"), path("854810"))
    assert found.note.startswith(
        "later code: '854900' of HS 2022 was 854810 (0.91, WCO"
    )


def test_a_table_at_headings_holds_for_what_lies_below():
    pairs = {(OLD, NEW): [Pair("6110", "6109", None, "WCO")]}
    labels = EditionLabels(TREE, Correlation(pairs))
    assert labels.read(path("611020"), True, OLD)[:2] == (("61", "6109"), False)


def test_an_edition_without_tables_to_the_tree_cannot_be_read():
    tables = {
        ("HS 2012", OLD): [Pair("610920", "610920", None, "WCO")],
        ("CN 2020", "CN 2021"): [Pair("610910", "620342", None, "EU")],
        (OLD, NEW): [Pair("610920", "610910", None, "WCO")],
    }
    labels = EditionLabels(TREE, Correlation(tables))
    assert labels.editions == (NEW, OLD, "HS 2012")
    assert labels.read(path("610920"), True, "HS 2012").path == path("610910")
    for edition in ("CN 2020", "CN 2021", "HS 1996"):
        with pytest.raises(KeyError):
            labels.read(path("610910"), True, edition)


# -- through a catalogue


def shop(folder, rows, *, tree=TREE, pairs=PAIRS):
    """(settings, path): a catalogue with an edition column, its tree and table."""
    tree.save(folder / "tree.json")
    with (folder / "hs.csv").open("w", newline="") as file:
        table = [(OLD, a, NEW, b, w or "", "WCO") for a, b, w in pairs]
        csv.writer(file).writerows([COLUMNS, *table])
    with (folder / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("title", "hs", "edition"), *rows])
    return {
        **TEXT,
        "data.path": str(folder / "shop.csv"),
        "data.columns.text": ("title",),
        "data.columns.label": ("hs",),
        "data.columns.edition": "edition",
        "taxonomy.path": str(folder / "tree.json"),
        "taxonomy.correlation": (str(folder / "hs.csv"),),
    }


ROWS = [
    (f"{word} thing {n}", code, edition)
    for n in range(6)
    for word, code, edition in (
        ("red", "851761", OLD),
        ("blue", "8517.62", OLD),
        ("blue", "851762", NEW),
        ("green", "610920", OLD),
        ("grey", "620342", ""),
        ("black", "854810", ""),
    )
]


def test_a_catalogue_of_two_editions(tmp_path):
    config = run_config(shop(tmp_path, [*ROWS, ("odd", "851762", "HS 1996")]))
    found = read_catalogue(config)
    notes = found.quarantine.counts()
    assert notes["unknown edition", "dropped"] == 1
    assert notes["retired code", "kept"] == 18
    assert found.spec.admissible == 2
    first = np.cumsum([0, *TREE.sizes])
    by_title = {r.texts["title"]: i for i, r in enumerate(found.records)}
    codes = TREE.codes[2].tolist()
    row = by_title["red thing 0"]
    assert TREE.decode(found.labels[row]) == ("85", "8517")
    expected = [first[2] + codes.index(c) for c in ("851771", "851779")]
    assert found.admissible[row].tolist() == expected
    for title, code in (("green", "610910"), ("black", "854900"), ("grey", "620342")):
        row = by_title[f"{title} thing 0"]
        assert TREE.decode(found.labels[row])[-1] == code
        assert (found.admissible[row] == -1).all()
    facts = found.facts()
    assert facts["labels of another edition"] == 18
    assert facts["labels with several admissible classes"] == 12
    examples = examples_of(
        config,
        found.records,
        tokenizer=found.tokenizer,
        spec=found.spec,
        labels=found.labels,
        groups=found.groups,
        admissible=found.admissible,
    )
    from hsjax.data.examples import assemble

    batch = assemble(examples, np.arange(5), np.arange(5))
    found.spec.check(batch)
    assert (batch["admissible"] == found.admissible[:5]).all()


def test_rows_of_an_edition_that_no_tables_lead_from_are_dropped(tmp_path):
    odd = ("odd", "851762", "CN 2020")
    keys = shop(tmp_path, [*ROWS, odd])
    with (tmp_path / "hs.csv").open("a", newline="") as file:
        row = ("CN 2020", "851762", "CN 2021", "851771", "", "EU")
        csv.writer(file).writerow(row)
    found = read_catalogue(run_config(keys))
    notes = [n for n in found.quarantine.rows if n[4].startswith("unknown edition")]
    ((_, row, _, column, reason, action),) = notes
    assert (row, column, action) == (len(ROWS) + 1, "edition", "dropped")
    assert reason.endswith("no correlation tables lead from 'CN 2020' to 'HS 2022'")
    plain = shop(tmp_path, [odd], pairs=PAIRS)
    with pytest.raises(CatalogueError, match="of the editions 'HS 2022', 'HS 2017'$"):
        read_catalogue(run_config(plain))


def test_without_sets_the_batch_is_as_ever(tmp_path):
    rows = [row for row in ROWS if row[0].split()[0] in ("green", "grey")]
    found = read_catalogue(run_config(shop(tmp_path, rows)))
    assert "admissible" not in found.spec.padding(2)
    assert found.facts()["labels of another edition"] == 6


def test_it_trains_in_one_program_and_learns_from_sets(tmp_path):
    config = run_config(shop(tmp_path, ROWS * 2), train__steps=40)
    prepared = prepare_run(config)
    finished = fit_run(prepared, tmp_path / "run")
    assert finished.compiles == 0


def test_another_file_is_read_by_the_tables_of_the_run(tmp_path):
    config = run_config(shop(tmp_path, ROWS))
    quarantine = Quarantine()
    found = read_another(config, config.data.path, tree=TREE, quarantine=quarantine)
    assert sum(r.admissible != () for r in found.records) == 12
    (tmp_path / "hs.csv").unlink()
    plain = tmp_path / "plain.csv"
    plain.write_text("title,hs\nred,851771\nblue,\n")
    found = read_another(config, plain, tree=TREE, quarantine=Quarantine())
    assert len(found.records) == 2  # no table is asked for
    with pytest.raises(CatalogueError, match="there is no file"):
        read_another(config, config.data.path, tree=TREE, quarantine=Quarantine())


def test_the_edition_of_a_tree_is_its_own_or_the_config_s(tmp_path):
    keys = shop(tmp_path, ROWS)
    assert read_catalogue(run_config(keys, taxonomy__edition=NEW)).tree.edition == NEW
    with pytest.raises(CatalogueError, match="is 'HS 2028', and .* is of 'HS 2022'"):
        read_catalogue(run_config(keys, taxonomy__edition="HS 2028"))
    bare = tree_of("851762", "851771", "851779", "854900", "610910", edition="")
    bare.save(tmp_path / "tree.json")
    with pytest.raises(CatalogueError, match="no row names ''"):
        read_catalogue(run_config(keys))
    named = read_catalogue(run_config(keys, taxonomy__edition=NEW)).tree
    assert named.edition == NEW
    assert named.sizes == bare.sizes


def test_what_is_left_out_or_unlabelled_is_in_no_set(tmp_path):
    keys = shop(tmp_path, ROWS)
    left = read_catalogue(run_config(keys, data__leave_out=("851779",)))
    red = [i for i, r in enumerate(left.records) if r.texts["title"].startswith("red")]
    assert not {"train", "val"} & set(left.parts[red].tolist())
    bare = read_catalogue(run_config(keys, data__label_share=0.2))
    lost = (bare.labels < 0).all(axis=1)
    assert lost.any()
    assert (bare.admissible[lost] < 0).all()
