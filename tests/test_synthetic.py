"""The synthetic catalogue: reproducible, as configured, readable by `load_records`."""

import hashlib
import itertools
import math
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny import data_config

from hsjax.data import facts, synthetic
from hsjax.data.pixels import decode_image
from hsjax.data.records import CatalogueError, Quarantine, load_records


@pytest.fixture(scope="module")
def listings():
    """1,800 products with many flaws, enough for shares and tests of independence."""
    config = data_config(1800, missing_text=0.15, missing_image=0.2, duplicates=0.1)
    return list(synthetic.listings(config))


_DIGEST = """
import hashlib, sys
from configs.base import get_config
from hsjax.data import synthetic
config = get_config().data
config.synthetic.products = 25
print(hashlib.sha1(repr(list(synthetic.listings(config))).encode()).hexdigest())
assert "jax" not in sys.modules
"""


def test_another_process_draws_the_same_catalogue_without_jax():
    here = repr(list(synthetic.listings(data_config(25)))).encode()
    command = [sys.executable, "-c", _DIGEST]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha1(here).hexdigest()


def test_titles_stay_what_they_were():
    found = [
        item.title for item in itertools.islice(synthetic.listings(data_config()), 3)
    ]
    assert found == [
        "k291 luggage grey lthr exclusive essential popular gift vespera",
        "Vespera Fabric Footwear Everyday Bestseller K293",
        "laceups red txtl vintage original zephra",
    ]


def test_product_depends_on_seed_and_number_only():
    few, many = (list(synthetic.listings(data_config(n))) for n in (10, 30))
    assert many[: len(few)] == few
    assert {item.product for item in many[len(few) :]} == set(range(10, 30))
    other = list(synthetic.listings(data_config(10, seed=1)))
    assert [x.title for x in other] != [x.title for x in few]
    clean = synthetic.listings(data_config(10, missing_text=0, missing_image=0))
    known = {item.id: item for item in clean}
    for item in few:
        assert item.title in ("", known[item.id].title)
        assert item.image in (b"", known[item.id].image)


def _assert_share(found, expected, count):
    assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


def test_shares_are_as_configured(listings):
    count = len(listings)
    _assert_share(sum(x.title == "" for x in listings) / count, 0.15, count)
    _assert_share(sum(x.image == b"" for x in listings) / count, 0.2, count)
    _assert_share((count - 1800) / 1800, 0.1, 1800)
    assert all(item.title or item.image for item in listings)
    prior = np.array([leaf.weight for leaf in facts.LEAVES]) / 100
    first = [x.leaf for x in listings if not x.id.endswith("-2")]
    seen = np.bincount(first, minlength=len(prior)) / 1800
    assert (np.abs(seen - prior) < 4 * np.sqrt(prior / 1800)).all()


def test_second_listing_is_the_same_product_at_another_shop(listings):
    by_id = {item.id: item for item in listings}
    pairs = [(by_id[i[:-2]], x) for i, x in by_id.items() if i.endswith("-2")]
    for one, two in pairs:
        assert (one.product, one.leaf) == (two.product, two.leaf)
        assert (one.observed, one.brand) == (two.observed, two.brand)
        assert one.shop != two.shop
    pictures = [(one.image, two.image) for one, two in pairs if one.image and two.image]
    same = sum(a == b for a, b in pictures) / len(pictures)
    _assert_share(same, synthetic.SAME_PICTURE, len(pictures))


def test_records_keep_the_contract():
    config = data_config(30, duplicates=1.0)
    records = synthetic.make_records(config)
    assert [record.row for record in records] == list(range(1, 61))
    assert len({record.id for record in records}) == 60
    for one, two in zip(records[::2], records[1::2], strict=True):
        assert one.group == two.group
        assert one.path == two.path
    for record in records:
        assert [len(code) for code in record.path] == [2, 4, 6]
        assert record.complete
        assert set(record.path) <= set(synthetic.names())
        assert (record.image is None) == (record.image_key == "")
        assert record.image is None or record.image.shape == (36, 36, 3)


def test_rows_limits_and_cache_keeps_bytes():
    config = data_config(30)
    config.rows = 7
    cached = synthetic.make_records(config)
    config.image.cache = False
    raw = synthetic.make_records(config)
    assert len(raw) == len(cached) == 7
    for record, decoded in zip(raw, cached, strict=True):
        if record.image is None:
            assert decoded.image is None
            continue
        assert hashlib.sha1(record.image).hexdigest() == record.image_key
        pixels = decode_image(record.image, resize=(36, 36), max_pixels=48 * 48)
        np.testing.assert_array_equal(pixels, decoded.image)


def test_every_node_has_a_name_and_no_other():
    codes = {leaf.code[:d] for leaf in facts.LEAVES for d in facts.LEVEL_DIGITS}
    assert set(synthetic.names()) == codes
    assert list(synthetic.names()) == sorted(codes)
    assert len(set(synthetic.names().values())) == len(codes)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"missing_text": 1.5}, "missing_text is 1.5"),
        ({"missing_text": 0.6, "missing_image": 0.6}, "never lacks both"),
    ],
)
def test_impossible_shares_are_refused(keys, message):
    with pytest.raises(CatalogueError, match=message):
        synthetic.make_records(data_config(**keys))


def test_written_catalogue_loads_as_the_same_records(tmp_path):
    config = data_config(60, missing_text=0.2, missing_image=0.2, duplicates=0.3)
    path = tmp_path / "new" / "catalogue.parquet"
    synthetic.write_catalogue(path, config)
    drawn = synthetic.make_records(config)
    table = pq.read_table(path)
    assert table.column_names == [
        *("id", "title", "brand", "hs_code", "shop", "group", "image")
    ]
    assert table["title"].null_count == sum(x.texts["title"] == "" for x in drawn)

    config.path = str(path)
    config.columns.update(id="id", text=("title", "brand"), image="image")
    config.columns.update(label=("hs_code",), label_kind="code")
    config.columns.update(group="group", platform="shop")
    loaded = load_records(config, quarantine=Quarantine())
    assert len(loaded) == len(drawn)
    for ours, theirs in zip(drawn, loaded, strict=True):
        for field in ("row", "id", "texts", "image_key", "path", "complete", "group"):
            assert getattr(ours, field) == getattr(theirs, field), field
        assert ours.platform == theirs.platform
        np.testing.assert_array_equal(ours.image, theirs.image)
