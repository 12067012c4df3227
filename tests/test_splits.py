"""Parts are disjoint in groups, near their quotas, and independent of the row order."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.base import get_config
from hsjax.data.groups import group_facts, group_keys
from hsjax.data.records import CatalogueError, Quarantine, Record, load_records
from hsjax.data.splits import PARTS, assign_splits

DATA = Path(os.environ.get("HSJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))


def record(row, title="", *, image="", group="", leaf=0, **fields):
    values = {"platform": "", "date": "", "split": ""} | fields
    return Record(
        row=row,
        id=str(row),
        texts={"title": title},
        image=None,
        image_key=image,
        path=(f"leaf {leaf}",),
        complete=True,
        group=group,
        extra={},
        **values,
    )


def leaves_of(records):
    return np.unique([x.path[-1] for x in records], return_inverse=True)[1]


def split(records, **options):
    config = get_config().data.split
    config.update(options)
    groups = group_keys(records)
    return assign_splits(records, groups, leaves_of(records), config), groups


def catalogue(seed, *, rows=600, grouped=False):
    rng = np.random.default_rng(seed)
    products = rng.integers(0, rows // 2, rows)
    return [
        record(
            i + 1,
            f"Product {p}",
            image=f"picture {rng.integers(0, 5 * rows)}",
            group=f"g{p}" if grouped else "",
            leaf=int(p % 7 * (p % 3 > 0)),
        )
        for i, p in enumerate(products)
    ]


def test_groups_close_transitively_over_titles_and_pictures():
    records = [
        record(1, "Red Shirt", image="a"),
        record(2, "  red  SHIRT! ", image="b"),
        record(3, "Blue shirt", image="b"),
        record(4, "", image="c"),
        record(5, "Green shirt", image=""),
        record(6, "", image=""),
        record(7, "!?", image="c"),
        record(8, "Red Shirt", group="own"),
        record(9, "Other", group="own"),
    ]
    groups = group_keys(records)
    members = {tuple(np.flatnonzero(groups == g) + 1) for g in set(groups.tolist())}
    assert members == {(1, 2, 3), (4, 7), (5,), (6,), (8, 9)}
    assert sorted(set(groups.tolist())) == list(range(5))
    assert groups.dtype == np.int64


def test_products_with_other_text_only():
    records = [
        replace(record(i), texts={"title": "", "text": text})
        for i, text in enumerate(("wool", "Wool", "silk"))
    ]
    groups = group_keys(records)
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("by", ["group", "row"])
@pytest.mark.parametrize("grouped", [False, True])
def test_stable_under_shuffling(seed, by, grouped):
    records = catalogue(seed, grouped=grouped)
    parts, groups = split(records, by=by, seed=seed)
    order = np.random.default_rng(seed).permutation(len(records))
    shuffled = [replace(records[i], row=n, id=str(n)) for n, i in enumerate(order)]
    again, groups_again = split(shuffled, by=by, seed=seed)
    np.testing.assert_array_equal(again, parts[order])
    np.testing.assert_array_equal(groups_again, groups[order])


@pytest.mark.parametrize("seed", range(4))
def test_disjoint_grouped_and_near_the_quotas(seed):
    records = catalogue(seed, rows=3000)
    parts, groups = split(records, seed=seed)
    assert parts.dtype == np.dtype("<U5")
    assert set(parts.tolist()) == set(PARTS)
    for group in range(groups.max() + 1):
        assert len(set(parts[groups == group].tolist())) == 1
    for part, share in zip(PARTS, (0.70, 0.15, 0.15), strict=True):
        assert abs((parts == part).mean() - share) < 0.02
        leaves = leaves_of(records)
        assert set(leaves[parts == part].tolist()) == set(leaves.tolist())
    other, _ = split(records, seed=seed + 1)
    assert (other != parts).mean() > 0.2


def test_small_leaves_and_unequal_groups():
    sizes = {0: [1, 1], 1: [1, 1, 1], 2: [50, 1, 1, 1], 3: [1] * 20}
    rows = [(f"{leaf}-{g}", leaf) for leaf, s in sizes.items() for g, n in enumerate(s)
            for _ in range(n)]  # fmt: skip
    records = [
        record(i, key, group=key, leaf=leaf) for i, (key, leaf) in enumerate(rows)
    ]
    parts, _ = split(records)
    by_leaf = {leaf: set() for leaf in sizes}
    for (_, leaf), part in zip(rows, parts.tolist(), strict=True):
        by_leaf[leaf].add(part)
    assert by_leaf[0] == {"train"}
    assert by_leaf[1] == by_leaf[2] == by_leaf[3] == set(PARTS)
    assert set(parts[[key == "2-0" for key, _ in rows]].tolist()) == {"train"}


def test_other_leaves_do_not_move_a_leaf():
    records = catalogue(0)
    parts, _ = split(records)
    more = [record(9000 + i, f"New {i}", leaf=99) for i in range(50)]
    again, _ = split(records + more)
    np.testing.assert_array_equal(again[: len(records)], parts)


def test_platforms():
    records = [
        replace(x, platform="b" if i % 5 == 0 else "a")
        for i, x in enumerate(catalogue(1))
    ]
    parts, groups = split(records, by="platform", test_platforms=("b",))
    shops = np.array([x.platform for x in records])
    assert set(parts[shops == "b"].tolist()) == {"test"}
    assert set(parts.tolist()) == set(PARTS)
    assert not set(groups[parts == "test"].tolist()) & set(
        groups[parts != "test"].tolist()
    )
    rest = parts != "test"
    assert abs((parts[rest] == "train").mean() - 0.70 / 0.85) < 0.05
    with pytest.raises(CatalogueError, match=r"no rows of 'c'; .* has \['a', 'b'\]"):
        split(records, by="platform", test_platforms=("c",))


def test_dates():
    days = ("2024-01-01", "2024-02-01", "2024-03-01 10:00", "2024-02-28", "2024-04-01")
    records = [
        record(i, group=group, date=day)
        for i, (day, group) in enumerate(zip(days, "abcbd", strict=True))
    ]
    options = {"by": "date", "val_from": "2024-02-01", "test_from": "2024-03-01"}
    assert split(records, **options)[0].tolist() == [
        "train",
        "val",
        "test",
        "val",
        "test",
    ]
    early = [*records, record(5, group="c", date="2023-01-01")]
    assert split(early, **options)[0].tolist()[2] == "train"
    with pytest.raises(CatalogueError, match="not earlier than test_from"):
        split(records, by="date", val_from="2024-03-01", test_from="2024-03-01")
    with pytest.raises(CatalogueError, match="date of row 9 is 'May'; give a date"):
        split([*records, record(9, date="May")], **options)
    with pytest.raises(CatalogueError, match="val_from is ''"):
        split(records, by="date")


def test_official_parts():
    names = ["train", "Valid", "TEST", "dev", "validation", "train"]
    records = [record(i, f"{i}", split=name) for i, name in enumerate(names)]
    parts, _ = split(records, by="column")
    assert parts.tolist() == ["train", "val", "test", "val", "val", "train"]
    with pytest.raises(CatalogueError, match="row 7: split 'holdout' is none of"):
        split([*records, record(7, split="holdout")], by="column")


def test_missing_val_is_carved_from_train():
    records = [
        replace(x, split="test" if i % 4 == 0 else "train")
        for i, x in enumerate(catalogue(2))
    ]
    parts, groups = split(records, by="column")
    official = np.array([x.split for x in records])
    np.testing.assert_array_equal(parts == "test", official == "test")
    train, val = (set(groups[parts == part].tolist()) for part in ("train", "val"))
    assert train
    assert val
    assert not train & val


def test_official_parts_that_divide_groups_are_counted():
    titles = ["shirt"] * 12 + ["boot", "boot", "hat", "cap"]
    names = ["train"] * 12 + ["train", "test", "val", "val"]
    records = [
        record(i, title, split=name)
        for i, (title, name) in enumerate(zip(titles, names, strict=True))
    ]
    parts, groups = split(records, by="column")
    assert group_facts(groups, parts) == {
        "groups": 4,
        "rows of the largest group": 12,
        "% of rows in groups of more than 10": 75.0,
        "groups in more than one part": 1,
    }
    whole = catalogue(0)
    for by, divided in (("group", False), ("row", True)):
        parts, groups = split(whole, by=by)
        facts = group_facts(groups, parts)
        assert (facts["groups in more than one part"] > 0) == divided


def test_refusals():
    records = catalogue(0, rows=60)
    with pytest.raises(CatalogueError, match="split.by is 'magic'"):
        split(records, by="magic")
    with pytest.raises(CatalogueError, match="shares of train, val and test"):
        split(records, fractions=(0.7, 0.2, 0.2))
    with pytest.raises(CatalogueError, match="val part is empty: 2 rows, 2 groups"):
        split([record(1, "a"), record(2, "b")])


@pytest.mark.slow
def test_myntra():
    if not (DATA / "myntra.parquet").exists():
        pytest.skip(f"{DATA}/myntra.parquet is not there; set HSJAX_DATA")
    config = get_config().data
    config.path = str(DATA / "myntra.parquet")
    levels = ("level1", "level2", "level3")
    config.columns.update(id="id", label=levels, label_kind="levels", group="group")
    quarantine = Quarantine()
    records = load_records(config, quarantine=quarantine, drop_repeats=True)
    assert len(records) == 37_285
    parts, groups = split(records)
    assert groups.max() + 1 == 25_808
    assert group_facts(groups, parts)["groups in more than one part"] == 0
    for part, share in zip(PARTS, (0.70, 0.15, 0.15), strict=True):
        assert abs((parts == part).mean() - share) < 0.01
