"""Real label trees; every count comes from the file itself."""

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from configs.base import get_config
from hsjax.data.nomenclature import PSEUDO_CODES, load_taxonomy
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, join_levels, split_path

DATA = Path(os.environ.get("HSJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))


def real_file(name):
    if not (DATA / name).is_file():
        pytest.skip(f"real data: {DATA / name} is not there (set HSJAX_DATA)")
    return DATA / name


def load(path, separator="", **changes):
    config = get_config().taxonomy
    config.update(path=str(path), **changes)
    return load_taxonomy(config, separator=separator)


def test_the_hs_nomenclature():
    path = real_file("hs_nomenclature.csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    goods = {r["code"] for r in rows if r["code"].isdigit()} - PSEUDO_CODES
    assert {r["code"] for r in rows} & PSEUDO_CODES, "the file has pseudo-codes"
    tree = load(path)
    for level, digits in enumerate((2, 4, 6)):
        wanted = {c[:digits] for c in goods if len(c) >= digits}
        assert set(tree.codes[level].tolist()) == wanted
        assert not tree.stop[level].any()
        assert all(
            c.startswith(tree.codes[level - 1][p])
            for c, p in zip(tree.codes[level], tree.parents[level], strict=True)
            if level
        )
    names = {r["code"]: r["description"].strip() for r in rows}
    assert tree.names[0].tolist() == [names[c] for c in tree.codes[0]]
    for code in goods:
        labels, outside = tree.encode(
            tuple(code[:n] for n in (2, 4, 6)[: len(code) // 2])
        )
        assert not outside
        assert tree.decode(labels)[-1] == code


def test_every_inner_node_of_the_nomenclature_can_stop():
    tree = load(real_file("hs_nomenclature.csv"), stop="all")
    for level in range(2):
        inner = set(np.flatnonzero(~tree.leaf[level]).tolist())
        below = tree.parents[level + 1][tree.stop[level + 1]]
        assert sorted(below.tolist()) == sorted(inner)


def test_the_google_product_taxonomy_is_ragged():
    path = real_file("google_product_taxonomy.txt")
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [x.strip() for x in lines if x.strip() and not x.startswith("#")]
    tree = load(path, " > ")
    depths = [x.count(" > ") + 1 for x in lines]
    counts = np.bincount(depths, minlength=max(depths) + 1)[1:]
    # each line is a node, and every parent has a line of its own
    assert tree.sizes == tuple(counts.tolist())
    assert {c for codes in tree.codes for c in codes.tolist()} == set(lines)
    inner = {x.rpartition(" > ")[0] for x in lines}
    leaves = [
        c for x, codes in zip(tree.leaf, tree.codes, strict=True) for c in codes[x]
    ]
    assert set(leaves) == set(lines) - inner
    assert len({x.count(" > ") for x in leaves}) > 2, "leaves lie at many depths"
    for line in lines:
        labels, outside = tree.encode(split_path(line))
        assert not outside
        assert tree.decode(labels)[-1] == line


def test_myntra_is_no_strict_tree_of_names_but_one_of_paths():
    path = real_file("myntra.parquet")
    columns = pq.read_table(path, columns=["level1", "level2", "level3"]).to_pylist()
    rows = {tuple(r.values()) for r in columns if all(r.values())}
    with pytest.raises(TaxonomyError, match="two parents"):
        Taxonomy.from_paths(rows)
    tree = Taxonomy.from_paths((join_levels(r) for r in rows), separator=" > ")
    for level in range(3):
        assert tree.sizes[level] == len({r[: level + 1] for r in rows})
    assert len(set(tree.names[2].tolist())) < tree.sizes[2]
    for row in rows:
        labels, outside = tree.encode(join_levels(row))
        assert not outside
        assert tree.names[2][labels[2]] == row[2]
