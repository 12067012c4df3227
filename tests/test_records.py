"""Catalogues with every known flaw: each is named with its row, nothing is lost."""

import base64
import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from configs.base import get_config
from hsjax.data.groups import content_key, group_keys
from hsjax.data.pixels import ImageError, decode_image
from hsjax.data.quarantine import NO_PICTURE, RENAMED, REPAIRED
from hsjax.data.records import CatalogueError, Quarantine, load_records

DATA = Path(os.environ.get("HSJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))


def picture(colour=(200, 30, 30), *, size=(30, 40), mode="RGB", kind="PNG", **options):
    out = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(out, kind, **options)
    return out.getvalue()


def text_of(data):
    return base64.b64encode(data).decode()


def settings(path, **changes):
    config = get_config().data
    config.path = str(path)
    config.columns.update(id="id", label=("label",), label_kind="code")
    config.image.resize = (8, 6)
    columns = changes.pop("columns", {})
    for name, value in changes.items():
        config[name] = value
    config.columns.update(columns)
    return config


def load(config, **options):
    quarantine = Quarantine()
    return load_records(config, quarantine=quarantine, **options), quarantine


def notes(quarantine):
    """(row, column, first phrase of the reason, action) of every note."""
    return {(n[1], n[3], n[4].split(": ")[0], n[5]) for n in quarantine.rows}


def dropped(quarantine):
    rows = [note[1] for note in quarantine.rows if note[5] == "dropped"]
    assert len(rows) == len(set(rows)), "a row is dropped once"
    return set(rows)


def write_csv(path, header, rows):
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


GOOD = text_of(picture())
ESCAPES = [("image", "image path leaves image_root", NO_PICTURE)]
HEADER = ("id", "title", "label", "image")
BROKEN = [  # (row, what must be noted about it)
    (("a", "boot", "640610", GOOD), ()),
    (("b", "", "6406.10", GOOD), [("title", "empty text", "kept")]),
    (("c", "boot", "", GOOD), [("label", "no label", "dropped")]),
    (("d", "boot", "10121", GOOD), [("label", "malformed label", "dropped")]),
    (("e", "boot", "shoe", GOOD), [("label", "malformed label", "dropped")]),
    (("f", "boot", "640610", ""), [("image", "empty image", NO_PICTURE)]),
    (("g", "boot", "640610", GOOD[:60]), [("image", "truncated image", NO_PICTURE)]),
    (
        ("h", "boot", "640610", text_of(picture(size=(90, 90)))),
        [("image", "image too large", NO_PICTURE)],
    ),
    (
        ("i", "boot", "640610", "data:text/html;base64," + text_of(b"<html>")),
        [("image", "not an image", NO_PICTURE)],
    ),
    (("j", "boot", "640610", "data:;base64,@@"), [("image", "bad base64", NO_PICTURE)]),
    (("k", "boot", "640610", "../x.png"), ESCAPES),
    (("l", "boot", "640610", "/etc/x.png"), ESCAPES),
    (("m", "boot", "640610", "link.png"), ESCAPES),
    (
        ("n", "boot", "640610", "gone.png"),
        [("image", "image file not found", NO_PICTURE)],
    ),
    (
        ("o", "boot", "640610", "http://x/a.png"),
        [("image", "image is a web address", NO_PICTURE)],
    ),
    (
        ("p", "", "640610", ""),
        [
            ("title", "empty text", "kept"),
            ("image", "empty image", NO_PICTURE),
            ("", "nothing to classify", "kept"),
        ],
    ),
    (("a", "boot", "640610", GOOD), [("", "repeated row", "dropped")]),
    (("a", "shoe", "640610", GOOD), [("", "repeated id", RENAMED)]),
    (("a", "clog", "640610", GOOD), [("", "repeated id", RENAMED)]),
    (("", "boot", "6406", GOOD), [("id", "empty id", "kept")]),
    (("q", "boot"), [("", "wrong number of columns", "dropped")]),
    (("r", "caf\ufffe", "640610", GOOD), [("title", "not UTF-8", REPAIRED)]),
    (
        ("s", "boot", "\ufffe40610", GOOD),
        [("label", "not UTF-8", REPAIRED), ("label", "malformed label", "dropped")],
    ),
    (("t", "nul\0", "640610", GOOD), [("title", "NUL byte", REPAIRED)]),
    ((), [("", "blank line", "dropped")]),
    (("u", "boot", "640610", "empty.png"), [("image", "empty image file", NO_PICTURE)]),
    (("v", "boot", "640610", "good.png"), ()),
    (("w", "nan", "640610", "good.png"), [("title", "empty text", "kept")]),
    (
        ("x", "boot " * 5000, "640610", "good.png"),
        [("title", "very long text", "kept with repaired text")],
    ),
    (("y", "boot", "6406" * 9, "good.png"), [("label", "malformed label", "dropped")]),
    (("z", "men&#39;s boot", "640610", GOOD), [("title", "HTML in the text", "kept")]),
    (("A", "a<b>bold</b>", "640610", GOOD), [("title", "HTML in the text", "kept")]),
    (("B", "AT&T; 3 < 4 & 5>2 <3", "640610", GOOD), ()),
]


@pytest.fixture
def broken(tmp_path):
    """The catalogue of `BROKEN` as a CSV file, its pictures beside it."""
    outside = tmp_path / "outside.png"
    outside.write_bytes(picture())
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "good.png").write_bytes(picture())
    (folder / "empty.png").write_bytes(b"")
    (folder / "link.png").symlink_to(outside)
    path = write_csv(folder / "goods.csv", HEADER, [fields for fields, _ in BROKEN])
    path.write_bytes(path.read_bytes().replace("\ufffe".encode(), b"\xff"))
    return path


def broken_config(path):
    config = settings(path, columns={"image": "image"})
    config.image.max_pixels = 5000
    return config


def test_a_catalogue_with_every_flaw(broken):
    records, quarantine = load(broken_config(broken), drop_repeats=True)
    expected = {
        (row, *note)
        for row, (_, row_notes) in enumerate(BROKEN, 1)
        for note in row_notes
    }
    assert notes(quarantine) == expected
    assert len({(phrase, action) for _, _, phrase, action in expected}) >= 18
    assert len(records) + len(dropped(quarantine)) == len(BROKEN)
    assert {x.row for x in records}.isdisjoint(dropped(quarantine))
    ids = [x.id for x in records]
    assert len(ids) == len(set(ids))
    assert {"a", "a#2", "a#3", "20"} <= set(ids)
    first = records[0]
    assert first.image.shape == (8, 6, 3)
    assert first.image.dtype == np.uint8
    assert len(first.image_key) == 40
    assert first.path == ("64", "6406", "640610")
    assert first.complete
    short = next(x for x in records if x.id == "20")
    assert short.path == ("64", "6406")
    assert not short.complete
    absent = next(x for x in records if x.id == "g")
    assert absent.image is None
    assert absent.image_key == ""
    nothing = next(x for x in records if x.id == "p")
    assert (nothing.texts, nothing.image) == ({"title": ""}, None)


def test_only_training_drops_repeated_rows(broken):
    training, _ = load(broken_config(broken), drop_repeats=True)
    records, quarantine = load(broken_config(broken))
    assert len(records) == len(training) + 1
    assert len(records) + len(dropped(quarantine)) == len(BROKEN)
    repeated = next(x for x in records if x.row == 17)
    assert repeated.id == "a#2"
    assert repeated.texts == records[0].texts
    assert (17, "", "repeated row", "kept") in notes(quarantine)


def test_a_flaw_of_the_encoding_has_the_id_of_its_row(broken):
    _, quarantine = load(broken_config(broken))
    phrases = ("not UTF-8", "NUL byte")
    flaws = {n[1]: n[2] for n in quarantine.rows if n[4].startswith(phrases)}
    assert flaws == {22: "r", 23: "s", 24: "t"}


def test_an_empty_column_is_noted_where_its_whole_stream_is(tmp_path):
    rows = [(1, "boot", ""), (2, "", "wool"), (3, "", "")]
    rows = [(*row, "", "640610") for row in rows]
    header = ("id", "title", "material", "brand", "label")
    path = write_csv(tmp_path / "a.csv", header, rows)
    config = settings(path, columns={"text": ("title", "material", "brand")})
    streams = {"title": ("title", "material"), "name": ("title",), "other": ("gone",)}
    with config.text.streams.unlocked():
        config.text.streams.update(streams)
    _, quarantine = load(config)
    empty = [n for n in notes(quarantine) if n[2] == "empty text"]
    # no stream reads the brand, and none of `other` is read
    assert sorted(empty) == [
        (2, "title", "empty text", "kept"),
        (3, "title", "empty text", "kept"),
        (3, "title,material", "empty text", "kept"),
    ]


def test_the_same_flaws_in_jsonl(broken):
    sound = [
        (f, n)
        for f, n in BROKEN
        if len(f) == len(HEADER) and "\ufffe" not in "".join(f)
    ]
    path = broken.with_suffix(".jsonl")
    rows = [json.dumps(dict(zip(HEADER, fields, strict=True))) for fields, _ in sound]
    path.write_text("\n".join([*rows, "{", "7", ""]) + "\n")
    records, quarantine = load(broken_config(path), drop_repeats=True)
    expected = {(row, *note) for row, (_, ns) in enumerate(sound, 1) for note in ns}
    n = len(sound)
    expected |= {
        (n + 1, "", "invalid JSON", "dropped"),
        (n + 2, "", "not a JSON object", "dropped"),
        (n + 3, "", "blank line", "dropped"),
    }
    assert notes(quarantine) == expected
    assert len(records) + len(dropped(quarantine)) == n + 3


def test_parquet_types(tmp_path):
    path = tmp_path / "goods.parquet"
    good = picture(kind="JPEG")
    pq.write_table(
        pa.table(
            {
                "id": [1, 2, 3, 4, 5],
                "title": ["boot", None, "clog", "sock", "hat"],
                "label": [640610.0, 640610.0, float("nan"), 10121.0, 6406.0],
                "image": [
                    {"bytes": good, "path": None},
                    {"bytes": good[:200], "path": "a.jpg"},
                    {"bytes": good, "path": "a.jpg"},
                    None,
                    {"bytes": None, "path": "hat.jpg"},
                ],
            }
        ),
        path,
    )
    (tmp_path / "hat.jpg").write_bytes(good)
    records, quarantine = load(settings(path, columns={"image": "image"}))
    labels = [(x.id, x.path[-1]) for x in records]
    assert labels == [("1", "640610"), ("2", "640610"), ("5", "6406")]
    assert records[0].image_key == records[2].image_key
    assert notes(quarantine) == {
        (2, "title", "empty text", "kept"),
        (2, "image", "truncated image", NO_PICTURE),
        (2, "", "nothing to classify", "kept"),
        (3, "label", "no label", "dropped"),
        (4, "label", "malformed label", "dropped"),
    }


def test_cache_off_keeps_checked_bytes_or_paths(broken):
    config = broken_config(broken)
    config.image.cache = False
    kept = {x.id: x.image for x in load(config)[0]}
    assert kept["a"] == picture()
    assert kept["v"] == broken.parent.resolve() / "good.png"
    assert kept["g"] is None


def test_pictures_that_no_model_sees_are_hashed_and_not_decoded(broken, monkeypatch):
    config = broken_config(broken)
    seen, noted = load(config)
    monkeypatch.setattr("hsjax.data.image.decode_image", None)
    unseen, quarantine = load(config, pictures=False)
    assert all(x.image is None for x in unseen)
    keys = {x.id: x.image_key for x in unseen}
    assert keys.pop("g"), "truncated: only who decodes it knows"
    assert keys == {x.id: x.image_key for x in seen if x.id != "g"}
    truncated = {(7, "image", "truncated image", NO_PICTURE)}
    assert notes(noted) - notes(quarantine) == truncated


def test_a_broken_picture_gives_all_models_the_same_groups(broken):
    """So that text alone is scored on the very rows that text and picture are."""
    seen, unseen = (load(broken_config(broken), pictures=x)[0] for x in (True, False))
    one, other = ({x.id: x for x in records} for records in (seen, unseen))
    assert not one["g"].image_key
    assert one["g"].broken_key == other["g"].image_key
    assert [content_key(x) for x in seen] == [content_key(x) for x in unseen]
    assert group_keys(seen).tolist() == group_keys(unseen).tolist()


def test_levels(tmp_path):
    rows = [
        ("Men", "Shoes"),
        ("Women", "Shoes"),
        ("Men", ""),
        ("", "Shoes"),
        ("", ""),
        ("Men", "STOP"),
        ("Men", "A > B"),
    ]
    header = ("id", "title", "level1", "level2")
    rows = [(i, "thing", *levels) for i, levels in enumerate(rows, 1)]
    path = write_csv(tmp_path / "a.csv", header, rows)
    columns = {"label": ("level1", "level2"), "label_kind": "levels"}
    records, quarantine = load(settings(path, columns=columns))
    assert [(x.path, x.complete) for x in records] == [
        (("Men", "Men > Shoes"), True),
        (("Women", "Women > Shoes"), True),
        (("Men",), False),
    ]
    reasons = {note[1]: note[4] for note in quarantine.rows}
    assert reasons[4].startswith("gap in the label")
    assert reasons[5] == "no label"
    assert "reserved word" in reasons[6]
    assert "contains the separator" in reasons[7]
    records, _ = load(settings(path, columns=columns | {"blank_level": "stop"}))
    assert all(x.complete for x in records)


def test_paths(tmp_path):
    rows = [
        "Food > Fruit > Apple",
        " Food >Nuts ",
        "Food > > Apple",
        "Food > ",
        "> Food",
    ]
    rows = [(i, "thing", path) for i, path in enumerate(rows, 1)]
    path = write_csv(tmp_path / "a.csv", ("id", "title", "label"), rows)
    records, quarantine = load(settings(path, columns={"label_kind": "path"}))
    assert [(x.path[-1], x.complete) for x in records] == [
        ("Food > Fruit > Apple", False),
        ("Food > Nuts", False),
    ]
    assert dropped(quarantine) == {3, 4, 5}


def test_label_map(tmp_path):
    rows = ["Boots", "Clogs", "Socks", "Hats", "Shirts"]
    rows = [(i, "thing", native) for i, native in enumerate(rows, 1)]
    path = write_csv(tmp_path / "a.csv", ("id", "title", "label"), rows)
    entries = [
        ("Boots", "640610"),
        ("Clogs", "640510"),
        ("Clogs", "640610"),
        ("Hats", ""),
        ("Shirts", "10121"),
        ("Boots", "640610"),
        ("", "640610"),
    ]
    native = write_csv(tmp_path / "map.csv", ("native", "label"), entries)
    config = settings(path, label_map=str(native))
    records, quarantine = load(config)
    assert [x.path[-1] for x in records] == ["640610"]
    phrases = {(note[0], note[1], note[4].split(": ")[0]) for note in quarantine.rows}
    assert phrases == {
        (str(native), 3, "conflicting label map"),
        (str(native), 7, "empty native label"),
        (str(path), 2, "conflicting label map"),
        (str(path), 3, "unmapped label"),
        (str(path), 4, "unmapped label"),
        (str(path), 5, "malformed label"),
    }
    assert len(records) + len(dropped(quarantine)) == len(rows)
    assert {n[5] for n in quarantine.rows if n[0] == str(native)} == {"ignored"}
    with native.open("a") as file:
        file.write("one,two,three\n")
    records, quarantine = load(config)
    assert len(records) + len(dropped(quarantine)) == len(rows)
    assert ("wrong number of columns", "ignored") in quarantine.counts()
    write_csv(native, ("from", "to"), entries)
    with pytest.raises(CatalogueError, match="no column 'native'"):
        load(config)


def test_a_map_from_level_columns_to_codes(tmp_path):
    header = ("id", "title", "type", "gender")
    rows = [("1", "x", "Boots", "Men"), ("2", "x", "Boots", "")]
    path = write_csv(tmp_path / "a.csv", header, rows)
    entries = [("Boots > Men", "6406"), ("Boots", "6405")]
    native = write_csv(tmp_path / "map.csv", ("native", "label"), entries)
    columns = {"label": ("type", "gender")}
    records, _ = load(settings(path, label_map=str(native), columns=columns))
    assert [x.path for x in records] == [("64", "6406"), ("64", "6405")]


def test_required_drops_and_says_so(broken):
    config = broken_config(broken)
    config.required = ("title", "image", "label")
    records, quarantine = load(config)
    assert all(x.texts["title"] and x.image is not None for x in records)
    assert (2, "", "required title is absent", "dropped") in notes(quarantine)
    assert (6, "", "required image is absent", "dropped") in notes(quarantine)
    assert (16, "", "required title is absent", "dropped") in notes(quarantine)
    assert len(records) + len(dropped(quarantine)) == len(BROKEN)
    config.required = ("picture",)
    with pytest.raises(CatalogueError, match="required names 'picture'; known are"):
        load(config)


def test_prediction_keeps_unlabelled_rows(tmp_path):
    rows = [(1, "boot", ""), (2, "clog", "10121"), (3, "sock", "6115")]
    path = write_csv(tmp_path / "a.csv", ("id", "title", "label"), rows)
    records, quarantine = load(settings(path), labelled=False)
    assert [x.path for x in records] == [(), (), ("61", "6115")]
    assert [x.complete for x in records] == [False, False, False]
    assert notes(quarantine) == {(2, "label", "malformed label", "kept")}
    bare = write_csv(tmp_path / "b.csv", ("id", "title"), [row[:2] for row in rows])
    records, quarantine = load(settings(bare), labelled=False)
    assert len(records) == 3
    assert not quarantine.rows


def test_dates_metadata_and_row_numbers_as_ids(tmp_path):
    header = ("title", "label", "day", "shop", "seller")
    rows = [
        ("boot", "6406", "2024-03-01 10:00", "x", "s"),
        ("clog", "6405", "1/2/24", "y", ""),
    ]
    path = write_csv(tmp_path / "a.csv", header, rows)
    columns = {"id": "", "date": "day", "platform": "shop", "metadata": ("seller",)}
    config = settings(path, columns=columns)
    records, quarantine = load(config)
    assert [(x.id, x.date, x.platform) for x in records] == [
        ("1", "2024-03-01", "x"),
        ("2", "", "y"),
    ]
    assert records[0].extra == {"seller": "s"}
    assert notes(quarantine) == {(2, "day", "unreadable date", "kept")}
    config.split.by = "date"
    records, quarantine = load(config)
    assert len(records) == 1
    # one note, which says why
    assert notes(quarantine) == {(2, "day", "unreadable date", "dropped")}
    write_csv(path, header, [rows[0], ("sock", "6115", "", "", "")])
    _, quarantine = load(config)
    assert notes(quarantine) == {(2, "day", "no date", "dropped")}


def test_equal_products_with_different_labels_are_noted(tmp_path):
    rows = [
        ("boot", "640610", GOOD),
        ("boot", "640610", GOOD),
        ("boot", "640590", GOOD),
        ("boot", "6406", GOOD),  # ends early, and agrees so far
        ("boot", "640590", text_of(picture("blue"))),
        ("", "640590", ""),
        ("", "640610", ""),  # nothing is no product
    ]
    path = write_csv(tmp_path / "a.csv", ("title", "label", "image"), rows)
    config = settings(path, columns={"id": "", "image": "image"})
    records, quarantine = load(config)
    assert len(records) == len(rows)
    found = [note[1:] for note in quarantine.rows if note[4].startswith("same text")]
    reason = "same text and picture, other label: row 1"
    assert found == [(3, "3", "label", reason, "kept")]
    _, quarantine = load(config, labelled=False)
    assert not [note for note in quarantine.rows if note[4] == reason]


def test_a_folder_of_pictures_that_is_not_there(tmp_path, caplog):
    rows = [("boot", "640610", "a.png"), ("clog", "640590", "b.png")]
    path = write_csv(tmp_path / "a.csv", ("title", "label", "image"), rows)
    config = settings(path, columns={"id": "", "image": "image"})
    config.image_root = "/nonexist"
    told = r"folder /nonexist \(config.data.image_root\) does not exist"
    with pytest.raises(CatalogueError, match=told):
        load(config)
    # a model of text does not need them, and is told what it has lost
    _, quarantine = load(config, pictures=False)
    lost = (
        "MOST PICTURES ARE LOST, 2 of 2: image file not found (2); looked for in"
        " /nonexist: image_root names another folder"
    )
    assert quarantine.warnings == [lost]
    assert lost in caplog.text
    # pictures inside the file need no folder
    write_csv(path, ("title", "label", "image"), [(*r[:2], GOOD) for r in rows])
    assert not load(config)[1].warnings


@pytest.mark.parametrize(("lost", "warned"), [(1, False), (2, True)])
def test_many_lost_pictures_are_loud(tmp_path, lost, warned):
    names = [GOOD, ""] + ["gone.png"] * lost
    rows = [(f"boot {n}", "640610", name) for n, name in enumerate(names)]
    path = write_csv(tmp_path / "a.csv", ("title", "label", "image"), rows)
    _, quarantine = load(settings(path, columns={"id": "", "image": "image"}))
    assert bool(quarantine.warnings) == warned


def test_rows_limit(broken):
    config = broken_config(broken)
    config.rows = 5
    records, quarantine = load(config)
    assert len(records) == 2
    assert dropped(quarantine) == {3, 4, 5}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": ("titel",)},
            r"no column 'titel' \(config.data.columns.text\). Did you",
        ),
        ({"image": "photo"}, r"columns.image\).* The file has: 'id', 'title', 'label'"),
        ({"label": ("cn_code",)}, r"config.data.columns.label"),
        ({"label": ()}, "needs exactly one column"),
        ({"label_kind": "digits"}, "choose one of .'code', 'path', 'levels'"),
        ({"blank_level": "maybe"}, "choose one of .'stop', 'unknown'"),
    ],
)
def test_wrong_settings_are_told_in_words(tmp_path, columns, message):
    path = write_csv(tmp_path / "a.csv", ("id", "title", "label"), [(1, "x", "6406")])
    with pytest.raises(CatalogueError, match=message):
        load(settings(path, columns=columns))


def test_no_usable_row_names_the_reasons(tmp_path):
    rows = [(1, "x", "")] * 5 + [(2, "x", "0012")] * 3 + [(3, "x")] * 2
    path = write_csv(tmp_path / "a.csv", ("id", "title", "label"), rows)
    message = (
        r"no usable row. no label \(5 rows\); malformed label \(3 rows\);"
        r" wrong number of columns \(2 rows\). Row 1: no label$"
    )
    with pytest.raises(CatalogueError, match=message):
        load(settings(path))
    write_csv(path, ("id", "title", "label"), [])
    with pytest.raises(CatalogueError, match="has a header but no rows"):
        load(settings(path))


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("Men > Shoes", "path"),
        ("Men>Shoes", "path"),
        ("Men / Shoes", "path and data.columns.separator='/'"),
        ("shoe", ""),
    ],
)
def test_a_path_that_is_read_as_a_code_is_told(tmp_path, label, hint):
    rows = [(1, "x", label)]
    path = write_csv(tmp_path / "a.csv", ("id", "title", "label"), rows)
    asked = f": is it a path? data.columns.label_kind={hint}" if hint else ""
    message = f"{label!r} has characters that are no digits{asked}"
    with pytest.raises(CatalogueError, match=rf"{re.escape(message)}$"):
        load(settings(path))


def test_lists_in_cells_are_read_as_shops_write_them(tmp_path):
    """Flipkart's category trees and pictures, and what else stands in brackets."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [
        ("boots", '["Shoes >> Boots >> Ankle"]', '["a.png", "gone.png"]'),
        ("sale", "[new] >> Boots", "a.png"),
        ("two", '["Shoes >> Boots", "Bags"]', "[]"),
        ("none", "[]", '[""]'),
        ("blank", '[""]', ""),
    ]
    path = write_csv(tmp_path / "a.csv", ("title", "label", "image"), rows)
    columns = {"id": "", "image": "image", "label_kind": "path", "separator": " >> "}
    records, quarantine = load(settings(path, columns=columns))
    assert [r.path[-1] for r in records] == [
        "Shoes >> Boots >> Ankle",
        "[new] >> Boots",
    ]
    assert records[0].image_key == records[1].image_key != ""
    told = ["malformed label: it is a list, not one value", "no label", "no label"]
    assert [note[4] for note in quarantine.rows if note[5] == "dropped"] == told
    warned = (
        "MOST ROWS ARE DROPPED, 3 of 5: no label (2 rows); malformed label (1 rows)"
    )
    assert quarantine.warnings == [f"{warned}. Row 3: {told[0]}"]
    with (tmp_path / "a.jsonl").open("w") as file:
        for title, label, image in rows[:2]:
            pictures = json.loads(image) if image[0] == "[" else image
            line = {"title": title, "label": label, "image": pictures}
            file.write(json.dumps(line) + "\n")
    again, _ = load(settings(tmp_path / "a.jsonl", columns=columns))
    assert [r.image_key for r in again] == [r.image_key for r in records]


def test_another_separator_is_asked_for(tmp_path):
    rows = [("boots", "Shoes >> Boots")] * 2
    path = write_csv(tmp_path / "a.csv", ("title", "label"), rows)
    with pytest.raises(CatalogueError, match="is it data.columns.separator=' >> '"):
        load(settings(path, columns={"id": "", "label_kind": "path"}))


@pytest.mark.parametrize(
    "data",
    [
        picture(mode="CMYK", kind="JPEG"),
        picture(mode="P"),
        picture(mode="P", kind="GIF"),
        picture(mode="RGBA"),
        picture(kind="WEBP", lossless=True),
        picture(kind="TIFF"),
        picture(kind="BMP"),
    ],
)
def test_kinds_of_pictures(data):
    pixels = decode_image(data, resize=(8, 6), max_pixels=5000)
    assert pixels.shape == (8, 6, 3)
    assert np.abs(pixels.astype(int) - (200, 30, 30)).max() < 12


def test_sixteen_bits_animation_transparency_and_orientation():
    def decode(image, kind="PNG", **options):
        out = io.BytesIO()
        image.save(out, kind, **options)
        return decode_image(out.getvalue(), resize=(8, 8), max_pixels=5000)

    deep = Image.fromarray(np.full((9, 9), 257 * 100, np.uint16))
    assert (decode(deep) == 100).all()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("white", "black")]
    animated = decode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (animated == 255).all()
    assert (decode(Image.new("RGBA", (9, 9), (0, 0, 0, 0))) == 255).all()
    lying = Image.new("RGB", (16, 16), "black")
    lying.paste(
        "white", (0, 0, 16, 8)
    )  # upper half; orientation 6 turns it to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(lying, exif=exif)
    assert turned[:, 6:].min() == 255
    assert turned[:, :2].max() == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (picture()[:-20], "truncated image"),
        (picture(kind="JPEG")[:-100], "truncated image"),
        (picture(size=(100, 100)), "image too large: 100 x 100"),
        (picture().replace(b"IDAT", b"JUNK"), "not an image"),
    ],
)
def test_pictures_that_cannot_be_used(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(data, resize=(8, 6), max_pixels=5000)


def test_synthetic_catalogue():
    synthetic = pytest.importorskip("hsjax.data.synthetic")
    config = get_config().data
    config.synthetic.products = 20
    assert len(load(config)[0]) == len(synthetic.make_records(config))


def test_real_grocery_rows():
    if not (DATA / "grocery.parquet").exists():
        pytest.skip(f"{DATA}/grocery.parquet is not there; set HSJAX_DATA")
    levels = ("level1", "level2", "level3")
    columns = {"image": "image", "label": levels, "label_kind": "levels"}
    config = settings(DATA / "grocery.parquet", columns=columns, rows=800)
    records, quarantine = load(config)
    assert len(records) + len(dropped(quarantine)) == 800
    assert len({x.id for x in records}) == len(records)
    assert ("repeated id", RENAMED) in quarantine.counts()
