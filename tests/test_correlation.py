"""Correlation tables: what they say, both ways and in chains, and what is refused."""

import csv

import pytest

from hsjax.data.correlation import Link
from hsjax.data.correlation_tables import COLUMNS, read_correlation
from hsjax.data.quarantine import CatalogueError
from hsjax.taxonomy import Taxonomy

ROWS = [
    ("HS 2017", "8517.62", "HS 2022", "851762", "0.7", "WCO"),
    ("HS 2017", "8517.62", "HS 2022", "851771", "0.3", "WCO"),
    ("HS 2017", "851761", "HS 2022", "851771", "", "WCO"),
    ("HS 2017", "851761", "HS 2022", "851779", "", "WCO"),
]


def tree_of(*codes, edition="HS 2022"):
    return Taxonomy.from_paths([(c[:2], c[:4], c) for c in codes], edition=edition)


NEW = tree_of("851762", "851771", "851779", "010121")
OLD = tree_of("851762", "851761", "010121", edition="HS 2017")


def table(folder, rows=ROWS, columns=COLUMNS, name="hs.csv"):
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def read(folder, rows=ROWS, trees=(NEW,), **options):
    return read_correlation([table(folder, rows, **options)], trees)


def test_weights_sum_to_1_forwards_and_backwards(tmp_path):
    found = read(tmp_path)
    ways = {"of": "HS 2017", "into": "HS 2022"}
    assert found.links("851762", **ways) == (
        Link("851762", 0.7, "WCO"),
        Link("851771", 0.3, "WCO"),
    )
    blank = found.links("851761", **ways)  # equal shares
    assert blank == (Link("851771", 0.5, "WCO"), Link("851779", 0.5, "WCO"))
    assert found.links("010121", **ways) == ()  # no table names it
    assert found.named(**ways) == {"851762", "851761"}
    back = found.links("851771", of="HS 2022", into="HS 2017")
    assert [(x.code, round(x.weight, 3)) for x in back] == [
        ("851761", 0.625),
        ("851762", 0.375),
    ]
    assert found.forward("HS 2017", "HS 2022")
    assert not found.forward("HS 2022", "HS 2017")


def test_sources_that_disagree_are_all_kept(tmp_path):
    more = ("HS 2017", "851762", "HS 2022", "851779", "", "EU")
    found = read(tmp_path, [*ROWS, more])
    links = found.links("851762", of="HS 2017", into="HS 2022")
    assert {x.code: (round(x.weight, 6), x.source) for x in links} == {
        "851779": (0.5, "EU"),
        "851762": (0.35, "WCO"),
        "851771": (0.15, "WCO"),
    }
    assert found.sources == ("WCO", "EU")


def test_a_chain_of_tables_joins_editions(tmp_path):
    before = ("HS 2012", "851710", "HS 2017", "851762", "", "2012")
    found = read(tmp_path, [*ROWS, before])
    links = found.links("851710", of="HS 2012", into="HS 2022")
    assert links == (
        Link("851762", 0.7, "2012; WCO"),
        Link("851771", 0.3, "2012; WCO"),
    )
    # unchanged in one table, changed in the other
    assert len(found.links("851761", of="HS 2012", into="HS 2022")) == 2
    back = found.links("851771", of="HS 2022", into="HS 2012")
    assert [x.code for x in back] == ["851761", "851710"]
    assert found.chain("HS 1988", "HS 2022") == []


def test_what_stayed_itself_is_among_the_predecessors(tmp_path):
    """851762 is named as a successor alone: where the old tree has it, it stayed."""
    merged = [("HS 2017", "851761", "HS 2022", "851762", "", "WCO")]
    ways = {"of": "HS 2022", "into": "HS 2017"}
    assert len(read(tmp_path, merged).links("851762", **ways)) == 1
    known = read(tmp_path, merged, (NEW, OLD)).links("851762", **ways)
    assert known == (Link("851761", 0.5, "WCO"), Link("851762", 0.5, "unchanged"))


def changed(row=0, **changes):
    rows = [dict(zip(COLUMNS, values, strict=True)) for values in ROWS]
    rows[row] |= changes
    return [tuple(row.values()) for row in rows]


REFUSED = {
    "row 1, column to_code: '851799' is no node of the tree of 'HS 2022'. Did you mean "
    "'851779'?": changed(to_code="851799"),
    "row 2, column from_code: probably a lost zero: '10121'": changed(
        1, from_code="10121"
    ),
    "row 1, column from_code: '85176200' has 8 digits": changed(from_code="85176200"),
    "row 1, column weight: '-1' is no number above 0": changed(weight="-1"),
    "row 1, column weight: '0' is no number above 0": changed(weight="0"),
    "row 1, column weight: 'most' is no number": changed(weight="most"),
    "row 1, column weight: 'inf' is no number": changed(weight="inf"),
    "row 2, column weight: of '851762' some weights are blank": changed(1, weight=""),
    "row 2: the pair '851762' -> '851762' stands in row 1 already": changed(
        1, to_code="851762"
    ),
    "row 1, column to_code: empty": changed(to_code=""),
    "row 3, column from_edition: empty": changed(2, from_edition=""),
    "column to_edition: 'HS 2017' is from_edition as well": changed(
        to_edition="HS 2017"
    ),
    "no row of a correlation": [],
    "row 1: wrong number of columns": [("HS 2017", "851762")],
}


@pytest.mark.parametrize("told", REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_words(tmp_path, told):
    with pytest.raises(CatalogueError) as error:
        read(tmp_path, REFUSED[told])
    assert told in str(error.value)
    assert "hs.csv" in str(error.value)


def test_missing_columns_files_and_editions_are_told(tmp_path):
    with pytest.raises(CatalogueError, match="no column 'source'"):
        read(tmp_path, [r[:5] for r in ROWS], columns=COLUMNS[:5])
    with pytest.raises(CatalogueError, match=r"correlation: there is no file .*x\.csv"):
        read_correlation([tmp_path / "x.csv"], [NEW])
    other = tree_of("851762", edition="HS2022")
    with pytest.raises(CatalogueError, match="no row names 'HS2022'.*mean 'HS 2022'"):
        read(tmp_path, trees=(other,))
    unnamed = tree_of("851762", edition="")
    with pytest.raises(CatalogueError, match="''.*taxonomy.edition.*They name 'HS 2"):
        read(tmp_path, trees=(unnamed,))
    with pytest.raises(CatalogueError, match="'851763' is no node.*'HS 2017'"):
        read(tmp_path, changed(from_code="851763"), (NEW, OLD))


def test_codes_of_path_trees_are_paths_and_own_codes_have_their_path(tmp_path):
    tree = Taxonomy.from_paths(
        [("a", "a > b"), ("a", "a > c")], edition="new", separator=" > "
    )
    rows = [("old", "a>x", "new", "a>b", "", "")]
    found = read(tmp_path, rows, (tree,))
    assert found.links("a > x", of="old", into="new")[0].code == "a > b"
    assert found.sources == ("unnamed source",)
    nodes = {"b": ("a", "a > b"), "c": ("a", "a > c"), "a": ("a",)}
    path = table(tmp_path, [("old", "x", "new", "b", "", "")])
    found = read_correlation([path], [tree], nodes=nodes)
    assert found.links("x", of="old", into="new")[0].code == "a > b"
