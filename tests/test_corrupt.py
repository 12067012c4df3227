"""Damage: stronger is further away, seeded by the row, and nothing else is touched."""

import json
from dataclasses import replace

import numpy as np
import pytest
from runs import TEXT, command, report, run_config, train_run

from hsjax.data.corrupt import SEVERITIES, corrupt_records, read_corruption
from hsjax.data.corrupt_image import IMAGE_DAMAGE
from hsjax.data.corrupt_swap import Donors
from hsjax.data.corrupt_text import TEXT_DAMAGE
from hsjax.data.damaged_pictures import damage_look
from hsjax.data.groups import group_keys
from hsjax.data.pixels import decode_image
from hsjax.data.records import CatalogueError
from hsjax.data.synthetic import make_records
from hsjax.evaluation.predictions import read_predictions
from hsjax.trained.scoring import evaluate_run

TEXTS = [*TEXT_DAMAGE, "swap_text", "no_text"]
PICTURES = [*IMAGE_DAMAGE, "swap_image", "no_image"]
# a swap draws among the records there are
ALONE = [name for name in SEVERITIES if not name.startswith("swap_")]


@pytest.fixture(scope="module")
def config():
    return run_config(data__synthetic__products=90).data


@pytest.fixture(scope="module")
def records(config):
    found = make_records(config)
    assert {"", *(r.texts["title"] for r in found)} - {""}
    assert any(not r.texts["title"] for r in found)
    assert any(not r.image_key for r in found)
    return found


def edits(a, b):
    """Levenshtein distance: the least number of letters to change, add or remove."""
    row = np.arange(len(b) + 1)
    other = np.array([*b], "U1")
    for i, letter in enumerate(a, 1):
        least = np.minimum(row[1:] + 1, row[:-1] + (other != letter))
        # additions run along the row: least over j' <= j of least[j'] + (j - j')
        least = np.concatenate([[i], least]) - np.arange(len(b) + 1)
        row = np.minimum.accumulate(least) + np.arange(len(b) + 1)
    return int(row[-1])


def test_edits():
    assert edits("kitten", "sitting") == 3
    assert edits("", "abc") == edits("abc", "") == 3


def distance(name, clean, damaged):
    """Of titles, edits per letter; of pictures, the mean change of a value."""
    if name in TEXTS:
        pairs = [
            (a.texts["title"], b.texts["title"])
            for a, b in zip(clean, damaged, strict=True)
        ]
        return np.mean([edits(a, b) / max(len(a), len(b), 1) for a, b in pairs])
    black = np.zeros_like(next(r.image for r in clean if r.image is not None))
    pairs = [
        [black if r.image is None else r.image for r in pair]
        for pair in zip(clean, damaged, strict=True)
    ]
    return np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairs])


@pytest.mark.parametrize("name", SEVERITIES)
def test_a_higher_severity_is_further_away(records, name):
    found = [corrupt_records(records, f"{name}@{k}", seed=3) for k in range(1, 6)]
    far = [distance(name, records, damaged) for damaged in found]
    assert far[0] > 0
    assert (np.diff(far) > 0).all(), far
    assert list(SEVERITIES[name]) == sorted(set(SEVERITIES[name]))
    assert 0 < SEVERITIES[name][0] <= SEVERITIES[name][-1] <= 1


@pytest.mark.parametrize("name", SEVERITIES)
def test_only_the_damaged_modality_changes(records, name):
    damaged = corrupt_records(records, f"{name}@5", seed=1)
    assert len(damaged) == len(records)
    for clean, found in zip(records, damaged, strict=True):
        kept = ("row", "id", "path", "complete", "group", "platform", "split", "extra")
        assert all(getattr(found, k) == getattr(clean, k) for k in kept)
        if name in TEXTS:
            assert found.image is clean.image
            assert found.image_key == clean.image_key
            assert found.texts.keys() == clean.texts.keys()
            assert not any(found.texts[c] for c, t in clean.texts.items() if not t)
        else:
            assert found.texts == clean.texts
            assert clean.image_key or (found.image is None and not found.image_key)
            if name != "no_image" and clean.image_key:
                assert found.image.shape == clean.image.shape
                assert found.image.dtype == np.uint8
                assert found.image_key != clean.image_key
    if name in ("typos", "ocr", "abbreviate", "shuffle", "truncate", "swap_text"):
        pairs = zip(records, damaged, strict=True)
        lost = [c.texts["title"] and not f.texts["title"] for c, f in pairs]
        assert not any(lost), "what is there stays present"


def same(a, b):
    """Equal records, pictures pixel by pixel."""
    return all(
        np.array_equal(x.image, y.image)
        and replace(x, image=None) == replace(y, image=None)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", SEVERITIES)
def test_the_damage_depends_on_seed_and_row_alone(records, name):
    spec = f"{name}@3"
    whole = corrupt_records(records, spec, seed=5)
    assert same(corrupt_records(records[::-1], spec, seed=5)[::-1], whole)
    assert not same(corrupt_records(records, spec, seed=6), whole) or name in (
        "truncate",
        "grey",
        "blur",
        "jpeg",
    )
    if name in ALONE:
        assert same(corrupt_records(records[7:29], spec, seed=5), whole[7:29])


def test_a_share_hits_some_rows_and_a_larger_one_these_and_more(records):
    def hit(share):
        found = corrupt_records(records, f"typos@5/{share}", seed=0)
        titled = [i for i, r in enumerate(records) if r.texts["title"]]
        changed = {i for i in titled if found[i].texts != records[i].texts}
        return changed, len(titled)

    (few, count), (many, _), (every, _) = hit(0.3), hit(0.6), hit(1)
    assert few < many < every
    assert len(few) / count == pytest.approx(0.3, abs=0.12)
    assert hit(0)[0] == set()


def test_several_are_done_in_a_fixed_order(records):
    spec = "truncate@2+typos@2+occlusion@3/0.5"
    other = "occlusion@3/0.5+typos@2+truncate@2"
    assert read_corruption(spec) == read_corruption(other)
    told = ["typos:0.05", "truncate:0.35", "occlusion:0.3/0.5"]
    assert [str(damage) for damage in read_corruption(other)] == told
    found = corrupt_records(records, spec, seed=2)
    assert same(found, corrupt_records(records, other, seed=2))
    steps = records
    for step in told:
        steps = corrupt_records(steps, step, seed=2)
    # a share is drawn for each name apart, so one by one is the same
    assert same(found, steps)


def test_both_modalities_are_lost_independently(records):
    found = corrupt_records(records, "no_text:0.5+no_image:0.5", seed=0)
    whole = [r for r in records if any(r.texts.values()) and r.image_key]
    rows = {r.row for r in whole}
    lost = [
        (not any(r.texts.values()), not r.image_key) for r in found if r.row in rows
    ]
    shares = [np.mean([pair == kind for pair in lost]) for kind in set(lost)]
    assert len(shares) == 4
    assert min(shares) > 0.1


def test_a_swapped_product_is_another_one_and_counts_as_present(records):
    groups = group_keys(records)
    owner = {}
    for record, group in zip(records, groups.tolist(), strict=True):
        owner.setdefault(record.texts["title"], set()).add(group)
        owner.setdefault(record.image_key, set()).add(group)
    found = corrupt_records(records, "swap_text:1+swap_image:1", seed=4)
    for clean, row, group in zip(records, found, groups.tolist(), strict=True):
        for before, after in (
            (clean.texts["title"], row.texts["title"]),
            (clean.image_key, row.image_key),
        ):
            assert bool(before) == bool(after)
            assert not before or group not in owner[after] or len(owner[after]) > 1
        by_key = [r.image for r in records if r.image_key == row.image_key]
        assert row.image is None or np.array_equal(row.image, by_key[0])
    titles = [r.texts["title"] for r in found if r.texts["title"]]
    assert len(set(titles)) > 0.5 * len(titles), "not one donor for all"
    alike = np.zeros(len(records), np.int64)
    with pytest.raises(CatalogueError, match="all rows are of one product group"):
        corrupt_records(records, "swap_image:0.1", seed=0, groups=alike)


def test_a_text_comes_from_the_next_product_that_has_it(records):
    """Every column that is there is still there, whatever the donor lacks."""
    bare = [replace(r, texts={**r.texts, "brand": ""}) for r in records[:-2]]
    donors = Donors([*bare, *records[-2:]])
    found = donors.text(records[-1], 0.0)
    assert found.texts["brand"] == records[-2].texts["brand"]
    only = replace(records[0], texts={**records[0].texts, "brand": "Alone"})
    kept = Donors([only, *(bare[1:])]).text(only, 0.5)
    assert kept.texts["brand"] == "Alone"


def test_pictures_are_damaged_alike_whether_decoded_or_not(config):
    encoded = make_records(
        run_config(data__image__cache=False, data__synthetic__products=9).data
    )
    decoded = make_records(run_config(data__synthetic__products=9).data)
    options = {"seed": 0, "config_image": config.image}
    for name in (*IMAGE_DAMAGE, "swap_image"):
        pairs = zip(
            corrupt_records(encoded, f"{name}@4", **options),
            corrupt_records(decoded, f"{name}@4", **options),
            strict=True,
        )
        for a, b in pairs:
            assert a.image_key == b.image_key
            if b.image is not None:
                size, limit = tuple(config.image.resize), config.image.max_pixels
                pixels = decode_image(a.image, resize=size, max_pixels=limit)
                np.testing.assert_array_equal(pixels, b.image)
    unseen = [replace(r, image=None) for r in decoded]
    found = corrupt_records(unseen, "blur@4", **options)
    expected = corrupt_records(decoded, "blur@4", **options)
    assert [r.image_key for r in found] == [r.image_key for r in expected]


def test_a_picture_is_resized_by_the_filter_of_its_encoder(config, monkeypatch):
    store = {"preprocessing": {"resize": [9, 7], "resample": "nearest"}}
    module = "hsjax.data.damaged_pictures"
    monkeypatch.setattr(f"{module}.stores_of", lambda config: {"image": "x"})
    monkeypatch.setattr(f"{module}.store_facts", lambda folder: store)
    monkeypatch.setitem(IMAGE_DAMAGE, "blur", lambda image, strength, rng: image)
    look = damage_look(run_config())
    encoded = make_records(
        run_config(data__image__cache=False, data__synthetic__products=9).data
    )
    (whole, *_) = (r for r in encoded if r.image_key)
    (found,) = corrupt_records([whole], "blur@1", seed=0, config_image=look)
    size, limit = (9, 7), config.image.max_pixels
    options = {"resize": size, "max_pixels": limit}
    pixels = decode_image(found.image, **options)
    expected, other = (
        decode_image(whole.image, **options, resample=kind)
        for kind in ("nearest", "bicubic")
    )
    np.testing.assert_array_equal(pixels, expected)
    assert (expected != other).any()


def test_tiny_and_flat_pictures_keep_their_shape():
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 3), (2, 7, 3), (13, 5, 3)):
        for damage in IMAGE_DAMAGE.values():
            for strength in (1e-3, 0.5, 1.0):
                found = damage(np.full(shape, 200, np.uint8), strength, rng)
                assert found.shape == shape
                assert found.dtype == np.uint8


@pytest.mark.parametrize("text", ["a", "naïve 漢字 Ünïcode", "x" * 300, "1,5 l"])
def test_odd_texts_stay_texts(text):
    for name, damage in TEXT_DAMAGE.items():
        for strength in (0.3, 1.0):
            found = damage(text, strength, np.random.default_rng(1))
            assert found or name in ("word_drop", "truncate")
        assert damage("", 1.0, np.random.default_rng(1)) == ""


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("typo@3", "'typo@3' is no damage"),
        ("typos@6", "'typos@6' is no damage"),
        ("typos:2", "'typos:2' leaves 0..1"),
        ("typos:nan", "leaves 0..1"),
        ("typos:x", "'typos:x' has no number"),
        ("typos@2/2", "leaves 0..1"),
        ("typos@2+", "'' is no damage"),
        ("typos@2+typos:0.5", "a name appears twice"),
    ],
)
def test_what_is_not_understood_is_told(spec, reason):
    with pytest.raises(CatalogueError, match=reason) as told:
        read_corruption(spec)
    assert "NAME@SEVERITY" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_command_scores_a_run_on_damaged_products(tmp_path):
    """End to end, with a picture: another answer, same rows, told in the report."""
    small = {"train.steps": 2, "data.synthetic.products": 60, "train.data_devices": 1}
    workdir = tmp_path / "run"
    train_run(run_config(small), workdir)
    clean = read_predictions(workdir / "predictions.parquet")
    options = {"source": None, "part": "test", "seed": 1}
    specs = ("noise@5", "swap_text:1+blur@3/0.5")
    for number, spec in enumerate(specs):
        evaluate_run(workdir, tmp_path / str(number), corrupt=spec, **options)
        found = read_predictions(tmp_path / f"{number}/predictions.parquet")
        assert found.id.tolist() == clean.id.tolist()
        assert (found.truth == clean.truth).all()
        for modality, here in clean.present.items():
            np.testing.assert_array_equal(found.present[modality], here)
        assert not np.array_equal(found.log_prob, clean.log_prob)
        assert report(tmp_path / str(number))["context"]["corrupt"] == spec
    title = (tmp_path / "1/report.md").read_text().splitlines()[0]
    assert "swap_text:1+blur:0.03/0.5 (seed 1)" in title


@pytest.mark.slow
def test_the_command_line_takes_a_severity(tmp_path):
    columns = {**TEXT, "task": "baseline"}
    train_run(run_config(columns), tmp_path / "run")
    flags = (f"--run={tmp_path / 'run'}", f"--output={tmp_path / 'out'}")
    process = command(*flags, "--corrupt=typos@3", module="hsjax.evaluate")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    context = json.loads((tmp_path / "out/report.json").read_text())["context"]
    assert context["corrupt"] == "typos@3"
    process = command(*flags, "--corrupt=typos@9", module="hsjax.evaluate")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert (
        err.strip().splitlines()[-1].startswith("hsjax: --corrupt=typos@9: not under")
    )
