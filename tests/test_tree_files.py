"""Files of label trees and names, as Excel and editors save them."""

import pytest
from runs import TEXT, run_config, sentence

from configs.base import get_config
from hsjax.data.cost_file import read_costs
from hsjax.data.nomenclature import load_taxonomy, read_names
from hsjax.data.quarantine import CatalogueError
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError

CODES = "code,name\n010121,Pur sang\n640610,Tiges\n"
PARENTS = "code,parent,name\nA,,Tout\nB,A,Bêtes\n"


def load(path, **changes):
    config = get_config().taxonomy
    config.update(path=str(path), **changes)
    return load_taxonomy(config, separator=" > ")


def refusal(read, *args, **changes):
    with pytest.raises((CatalogueError, TaxonomyError)) as error:
        read(*args, **changes)
    return str(error.value)


@pytest.mark.parametrize(("kind", "text"), [("codes", CODES), ("parents", PARENTS)])
def test_a_file_with_semicolons_or_blank_lines_is_the_same_tree(tmp_path, kind, text):
    path = tmp_path / "tree.csv"
    path.write_text(text)
    tree, names = load(path, kind=kind), read_names(str(path))
    head, *rows = text.replace(",", ";").splitlines()
    path.write_text("\n\n".join((head, *rows)) + "\n\n", encoding="utf-8-sig")
    assert load(path, kind=kind) == tree
    assert [x.tolist() for x in load(path, kind=kind).names] == [
        x.tolist() for x in tree.names
    ]
    assert read_names(str(path)) == names


def test_what_is_not_utf8_is_told_with_its_place(tmp_path):
    path = tmp_path / "tree.csv"
    path.write_bytes("code;name\n640610;Tiges\n010121;Bêtes\n".encode("latin-1"))
    told = "tree.csv, row 2, column name: not UTF-8: at character 2; save the file as"
    assert told in refusal(load, path)
    assert told in refusal(read_names, str(path))
    path = tmp_path / "tree.txt"
    path.write_bytes("# paths\nA > B\nA > Bêtes\n".encode("latin-1"))
    assert "tree.txt, line 3: not UTF-8; save the file as" in refusal(load, path)
    path = tmp_path / "tree.json"
    Taxonomy.from_paths([("B\xeates",)] * 99).save(path)
    path.write_text(path.read_text("utf-8"), "latin-1")
    told = refusal(load, path)
    assert "not UTF-8" in told
    assert len(told) < 300  # not the file itself


def test_a_row_that_is_none_is_told_with_its_place(tmp_path):
    path = tmp_path / "tree.csv"
    path.write_text(CODES + "6406,Parts, of shoes\n")
    told = "tree.csv, row 3: wrong number of columns: 3 instead of 2, line 4"
    assert told in refusal(load, path)
    path.write_text(CODES.replace("code", "Kode"))
    assert "no column 'code' (taxonomy.path)" in refusal(load, path)
    assert "no column 'code' (taxonomy.names)" in refusal(read_names, str(path))
    path.write_text(CODES)
    assert "no column 'parent'" in refusal(load, path, kind="parents")


def test_costs_name_the_column_that_is_not_utf8(tmp_path):
    path = tmp_path / "costs.csv"
    text = "predicted,true,cost,why\n010121,010129,1,bêtes\n"
    path.write_bytes(text.encode("latin-1"))
    tree = Taxonomy.from_paths([("01", "0101", c) for c in ("010121", "010129")])
    told = refusal(read_costs, path, tree, own={})
    assert "costs.csv, row 1, column why: not UTF-8" in told


def test_a_check_tells_of_a_tree_in_another_encoding(tmp_path):
    rows = [f"thing {n},{code}" for n in range(4) for code in ("640610", "010121")]
    (tmp_path / "shop.csv").write_text("title,code\n" + "\n".join([*rows, ""]))
    tree = tmp_path / "tree.csv"
    tree.write_bytes("code,name\n640610,Tiges\n010121,Bêtes\n".encode("latin-1"))
    columns = {"data.columns.label": ("code",), "data.columns.text": ("title",)}
    files = {"data.path": str(tmp_path / "shop.csv"), "taxonomy.path": str(tree)}
    config = run_config({**TEXT, **columns, **files}, task="check")
    assert "row 2, column name: not UTF-8" in sentence(config, tmp_path / "out")
