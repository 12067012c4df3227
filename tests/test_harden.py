"""The hard variant of a catalogue: what leaves its texts, and what stays as it was."""

import csv
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from runs import TEXT, run_config, sentence, train_run
from sklearn.metrics import mutual_info_score

from hsjax.data.giveaway import Hiding, giveaway_words, without_words, words_of
from hsjax.data.prepare import read_parts
from hsjax.data.quarantine import Quarantine

HARD = {
    **TEXT,
    "task": "harden",
    "data.columns.text": ("title",),
    "data.columns.label": ("label",),
    "harden.words": 6,
}
SHOP = {
    **HARD,
    "data.columns.id": "id",
    "data.columns.label": ("hs_code",),
    "data.columns.image": "image",
}
GROUPED = {**SHOP, "data.columns.group": "group"}
OFFICIAL = {"data.columns.split": "part", "data.split.by": "column"}


def harden(settings, source, workdir, **changes):
    """(config, the config that is said to read the result, what is printed)."""
    config = run_config(settings, data__path=str(source), **changes)
    printed = train_run(config, workdir)
    keys = dict(re.findall(r"--config\.([\w.]+)=(\S*)", printed))
    return config, run_config({**settings, **changed(changes), **keys}), printed


def changed(changes):
    return {key.replace("__", "."): value for key, value in changes.items()}


def rows_of(config):
    """Everything but the text of every row that a run has, its part included."""
    records, groups, parts = read_parts(config, Quarantine())
    known = zip(records, groups.tolist(), parts.tolist(), strict=True)
    return [(r.id, r.path, r.image_key, group, part) for r, group, part in known]


def words_in(workdir):
    with (workdir / "words.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def titles_in(workdir):
    return pq.read_table(workdir / "catalogue.parquet")["title"].to_pylist()


def write_rows(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def official(folder, name, test_word):
    """Boots and shirts; the titles of the test part have a word of their own."""
    rows = [
        (f"{kind} {part} {n} {test_word if part == 'test' else ''}", label, part)
        for n in range(8)
        for kind, label in (("boot", "640610"), ("shirt", "610910"))
        for part in ("train", "val", "test")
    ]
    return write_rows(folder / name, ("title", "label", "part"), rows)


def test_words_are_runs_of_letters_and_digits_in_lower_case():
    assert words_of("Lee MEN’S (T-Shirt), 2/3 caf\u0065\u0301_x") == [
        *("lee", "men", "t", "shirt", "2", "3", "café", "x")
    ]
    assert words_of("कुर्ता STRASSE straße") == ["कुर्ता", "strasse", "strasse"]
    assert words_of(" & - ⭐\ufe0f ") == []


@pytest.mark.parametrize(
    ("text", "left", "words", "gone"),
    [
        ("Lee Men's Blue SHIRT, size 9", "Lee size 9", 6, 3),
        ("a  shirtless  b", "a  shirtless  b", 3, 0),
        ("(White-Blue) T-Shirt!", "(White) T!", 4, 2),
        ("(blue/Navy) [shirt]", "(Navy)", 3, 2),
        ("Red-blue/Green", "Red/Green", 3, 1),
        ("Blue & Shirt (men’s)", "", 3, 3),
        ("&", "&", 0, 0),
        ("", "", 0, 0),
    ],
)
def test_words_are_taken_out_whole_and_the_rest_keeps_its_spelling(
    text, left, words, gone
):
    hidden = {"shirt", "blue", "men"}.__contains__
    assert without_words(text, hidden) == (left, words, gone)


def test_information_is_scikit_learns():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), 3)) for _ in range(200)]
    leaves = rng.integers(0, 5, 200)
    found = giveaway_words(texts, leaves, [f"L{i}" for i in range(6)], count=99)
    assert len(found) == 8
    assert [w.bits for w in found] == sorted([w.bits for w in found], reverse=True)
    for w in found:
        has = np.array([w.word in text.split() for text in texts])
        expected = mutual_info_score(has, leaves) / np.log(2)
        np.testing.assert_allclose(w.bits, expected, atol=1e-9)
        counts = np.bincount(leaves[has], minlength=5)
        assert (w.rows, w.leaf) == (has.sum(), f"L{counts.argmax()}")
        np.testing.assert_allclose(w.share, counts.max() / has.sum())


def test_words_that_tell_nothing_stay_and_equals_are_in_order_of_the_alphabet():
    texts = ["both b a", "both", "both c", "both"]
    found = giveaway_words(texts, np.array([0, 1, 0, 1]), ["X", "Y"], count=9)
    assert [w.word for w in found] == ["a", "b", "c"]
    assert giveaway_words(texts, np.array([0, 1, 0, 1]), ["X", "Y"], count=1)


def test_words_come_from_training_rows_alone(tmp_path):
    settings = {**HARD, **OFFICIAL, "harden.words": 2}
    for name, word in (("one", "boot"), ("two", "slipper")):
        harden(settings, official(tmp_path, f"{name}.csv", word), tmp_path / name)
    one, two = (words_in(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert [w["word"] for w in one] == ["boot", "shirt"]
    assert one[0] == {
        **{"word": "boot", "bits": "1.000000", "training_rows": "8"},
        **{"leaf": "640610", "share": "1.0000"},
    }
    assert any("slipper" in title for title in titles_in(tmp_path / "two"))
    assert not any("boot" in title for title in titles_in(tmp_path / "one"))


@pytest.mark.parametrize(
    ("settings", "added"),
    [
        (GROUPED, []),
        (SHOP, ["hard_group", "hard_split"]),
        ({**GROUPED, "data.split.by": "row"}, ["hard_split"]),
        ({**SHOP, "data.columns.platform": "shop", "data.split.by": "platform"}, None),
        ({**GROUPED, "model.modalities": ("title", "image")}, []),
    ],
)
def test_parts_groups_and_labels_are_as_they_were(shop, tmp_path, settings, added):
    if added is None:
        settings = {**settings, "data.split.test_platforms": ("bazaar24",)}
        added = ["hard_group", "hard_split"]
    config, again, _ = harden(settings, shop, tmp_path)
    assert rows_of(config) == rows_of(again)
    before, after = pq.read_table(shop), pq.read_table(again.data.path)
    assert after.column_names == before.column_names + added
    for name in set(before.column_names) - {"title"}:
        assert after[name].equals(before[name]), name
    lost = [a != b for a, b in zip(before["title"], after["title"], strict=True)]
    assert sum(lost) > 50


def test_counts_add_up(shop, tmp_path):
    _, again, printed = harden(GROUPED, shop, tmp_path)
    before, after = pq.read_table(shop), pq.read_table(again.data.path)
    old, new = (
        [words_of(title or "") for title in table["title"].to_pylist()]
        for table in (before, after)
    )
    words, left = sum(map(len, old)), sum(map(len, new))
    rows = sum(a != b for a, b in zip(old, new, strict=True))
    assert f"taken out: {words - left:,} of {words:,} words" in printed
    assert f"from {rows:,} of {len(old):,} rows" in printed
    without = sum(not x for x in new)
    emptied = without - sum(not x for x in old)
    assert f"rows without text: {without:,}, of which {emptied:,} lost" in printed
    telling = {w["word"] for w in words_in(tmp_path)}
    assert len(telling) == 6
    assert not any(telling.intersection(title) for title in new)
    assert all(set(b) == set(a) - telling for a, b in zip(old, new, strict=True))


def test_a_text_that_becomes_empty_is_absent_and_told(tmp_path):
    source = official(tmp_path, "s.csv", "")
    with source.open("a") as file:
        file.write("(Boot) & SHIRT,640610,val\n")
    settings = {**HARD, **OFFICIAL, "harden.words": 2, "data.required": ("title",)}
    config, again, printed = harden(settings, source, tmp_path / "hard")
    assert titles_in(tmp_path / "hard")[-1] == ""
    assert "rows without text: 1, of which 1 lost their last word here" in printed
    assert "data.required names title: rows that lost it here will be" in printed
    notes = (tmp_path / "hard" / "quarantine.csv").read_text()
    assert ",49,49,,empty text: every word of it gives the leaf away,kept" in notes
    assert len(rows_of(again)) == len(rows_of(config)) - 1
    again = again.copy_and_resolve_references()
    again.data.required = ()
    assert rows_of(again) == rows_of(config)


def test_rows_that_cannot_be_read_are_gone_and_ids_stay(tmp_path):
    rows = [(f"{kind} {n}", label) for n in range(9) for kind, label in (
        ("boot", "640610"), ("shirt", "610910"))]  # fmt: skip
    rows = [("broken",), *rows, ("no label", ""), ("boot", "640610")]
    source = write_rows(tmp_path / "s.csv", ("title", "label"), rows)
    config, again, _ = harden(HARD, source, tmp_path / "hard")
    assert again.data.columns.id == "hard_id"
    assert rows_of(config) == rows_of(again)
    assert len(titles_in(tmp_path / "hard")) == len(rows) - 1


def test_rows_that_become_equal_are_no_repeats_and_repeats_still_are(tmp_path):
    labels = {"boot": "640610", "shirt": "610910"}
    rows = [(f"{k}{n}", f"{k} {n}", x) for k, x in labels.items() for n in range(9)]
    twice = [("b", "boot 1", "640610"), ("b", "boot", "640610")]
    source = write_rows(tmp_path / "s.csv", ("id", "title", "label"), rows + 2 * twice)
    settings = {**HARD, "data.columns.id": "id", "harden.words": 99}
    config, again, _ = harden(settings, source, tmp_path / "hard")
    assert rows_of(config) == rows_of(again)
    assert [r[0] for r in rows_of(again)[-2:]] == ["b", "b#2"]
    assert len(titles_in(tmp_path / "hard")) == len(rows) + 4


def test_the_same_seed_hides_the_same_words(shop, tmp_path):
    half = {**GROUPED, "harden.share": 0.5}
    for name in ("one", "two"):
        harden(half, shop, tmp_path / name)
    harden(half, shop, tmp_path / "other", harden__seed=1)
    # another order of rows, whose ids draw
    turned = pq.read_table(shop).take(list(range(pq.read_table(shop).num_rows))[::-1])
    pq.write_table(turned, tmp_path / "turned.parquet")
    harden(half, tmp_path / "turned.parquet", tmp_path / "turned")
    one, two, other, back = (
        titles_in(tmp_path / name) for name in ("one", "two", "other", "turned")
    )
    assert one == two == back[::-1]
    assert one != other
    assert (tmp_path / "one/words.csv").read_text() == (
        tmp_path / "turned/words.csv"
    ).read_text()


def test_a_larger_share_hides_all_that_a_smaller_one_hides():
    words, ids = [f"w{i}" for i in range(20)], [f"r{i}" for i in range(200)]
    few, many, all_ = (Hiding(frozenset(words), p, 3) for p in (0.2, 0.7, 1.0))
    pairs = [(id, word) for id in ids for word in words]
    lost = [[h.hides(*pair) for pair in pairs] for h in (few, many, all_)]
    assert all(np.less_equal(a, b).all() for a, b in zip(lost, lost[1:], strict=False))
    np.testing.assert_allclose(np.mean(lost, axis=1), [0.2, 0.7, 1.0], atol=0.02)
    assert not few.hides("r1", "elsewhere")


def test_only_the_columns_of_streams_lose_words(shop, tmp_path):
    both = {**GROUPED, "data.columns.text": ("title", "brand")}
    harden(both, shop, tmp_path / "title")
    joined = {**both, "data.text.streams.title": ("title", "brand")}
    harden(joined, shop, tmp_path / "both", harden__words=999)
    brands = [
        pq.read_table(path)["brand"].to_pylist()
        for path in (shop, tmp_path / "title/catalogue.parquet")
    ]
    assert brands[0] == brands[1]
    lost = pq.read_table(tmp_path / "both/catalogue.parquet")["brand"].to_pylist()
    assert lost != brands[0]


def test_types_of_text_and_rows_that_are_not_read(tmp_path):
    kinds = ["boot", "shirt"] * 12
    table = pa.table(
        {
            "title": pa.array([f"{k} {n}" for n, k in enumerate(kinds)]).cast(
                pa.dictionary(pa.int32(), pa.string())
            ),
            "year": pa.array([2000 + n % 2 for n in range(24)], pa.int16()),
            "label": pa.array(["640610", "610910"] * 12, pa.large_string()),
            "price": pa.array([None, 1.5] * 12),
        }
    ).replace_schema_metadata({"shop": "one"})
    pq.write_table(table, tmp_path / "s.parquet")
    columns = {
        "data.columns.text": ("title", "year"),
        "data.text.streams.title": ("title", "year"),
    }
    settings = {**HARD, **columns, "data.rows": 20, "harden.words": 4}
    _, again, _ = harden(settings, tmp_path / "s.parquet", tmp_path / "hard")
    after = pq.read_table(again.data.path)
    assert after.num_rows == 20
    assert after.schema.field("price").type == pa.float64()
    assert after.schema.field("label").type == pa.large_string()
    assert after.schema.metadata[b"shop"] == b"one"
    assert after["year"].to_pylist() == [""] * 20
    assert after["title"].to_pylist()[:3] == ["0", "1", "2"]


def test_pictures_of_a_jsonl_file_are_found_again(tmp_path):
    kinds, lines = {"boot": 640610, "shirt": 610910}, []
    for n in range(20):
        kind = list(kinds)[n % 2]
        Image.new("RGB", (9, 9), (n, 0, 0)).save(tmp_path / f"{n}.png")
        image = f"{n}.png" if n % 3 else {"path": f"{n}.png"}
        lines.append({"title": f"{kind} {n}", "label": kinds[kind], "image": image})
    lines[3]["sizes"], lines[4]["title"], lines[5]["price"] = [1, "ü"], None, 2.0
    lines.append({"title": "boot", "label": [640610]})
    source = tmp_path / "s.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    settings = {
        **HARD,
        "data.columns.image": "image",
        "model.modalities": ("title", "image"),
        "harden.words": 2,
    }
    config, again, _ = harden(settings, source, tmp_path / "hard")
    assert again.data.image_root == str(tmp_path)
    assert rows_of(config) == rows_of(again)
    assert all(row[2] for row in rows_of(again))
    rows = pq.read_table(again.data.path).to_pylist()
    assert (rows[3]["sizes"], rows[5]["price"]) == ('[1, "ü"]', "2")
    assert (rows[4]["title"], rows[20]["label"]) == (None, None)
    assert [row["title"] for row in rows[:3]] == ["0", "1", "2"]


MISTAKES = [
    ({"model.modalities": ("image",)}, "model.modalities names no text stream"),
    ({"data.columns.label": ()}, "config.data.columns.label names ()"),
    ({"data.path": "synthetic"}, "task=harden reads a file: write one with task=prep"),
    ({"data.path": "gone.csv"}, "gone.csv: no such file"),
    ({"data.columns.group": "title"}, "'title', which is data.columns.group as well"),
    ({"data.text.streams.title": ("titel",)}, "names 'titel', which is not read"),
    ({"harden.words": 0}, "harden.words is 0; it must be 1 or more"),
    ({"harden.share": 0.0}, "harden.share is 0.0; it must be above 0, at most 1"),
    ({"harden.seed": -1}, "harden.seed is -1; it must be 0 or more"),
    ({"data.columns.label_kind": "pth"}, "config.data.columns.label_kind is 'pth'"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, tmp_path, changes, words):
    config = run_config({**SHOP, "data.path": str(shop), **changes})
    assert words in sentence(config, tmp_path / "hard")
    assert not (tmp_path / "hard" / "catalogue.parquet").exists()


def test_rows_without_labels_are_refused_and_their_flaws_are_kept(tmp_path):
    source = write_rows(tmp_path / "s.csv", ("title", "label"), [("boot", "")] * 3)
    told = sentence(run_config(HARD, data__path=str(source)), tmp_path / "hard")
    assert "no usable row. no label (3 rows)" in told
    assert (tmp_path / "hard" / "quarantine.csv").exists()


def test_texts_that_tell_nothing_are_refused(tmp_path):
    rows = [(n, "thing", "640610") for n in range(9)]
    header, settings = ("id", "title", "label"), {**HARD, "data.columns.id": "id"}
    settings["data.split.by"] = "row"
    source = write_rows(tmp_path / "s.csv", header, rows)
    config = run_config(settings, data__path=str(source))
    told = sentence(config, tmp_path / "hard")
    assert "training rows have a leaf, and not two different ones" in told
    write_rows(source, header, [*rows, *((n, "thing", "6406") for n in range(9, 18))])
    assert "not two different ones" in sentence(config, tmp_path / "hard")
    write_rows(source, header, [*rows, *((n, "thing", "610910") for n in range(9, 18))])
    assert "no word of title tells anything" in sentence(config, tmp_path / "hard")


def test_nothing_is_written_over(shop, tmp_path):
    config, again, _ = harden(GROUPED, shop, tmp_path / "hard")
    harden(GROUPED, shop, tmp_path / "hard")  # again
    told = sentence(again, tmp_path / "hard")
    assert "would be written over; take a new --workdir" in told
    (tmp_path / "hard" / "words.csv").unlink()
    assert "would be written over" in sentence(config, tmp_path / "hard")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "taxonomy.json").touch()
    assert "is the workdir of a run" in sentence(config, tmp_path / "run")


def test_a_column_of_an_earlier_hardening_is_not_lost(shop, tmp_path):
    _, again, _ = harden(SHOP, shop, tmp_path / "one")
    twice = run_config(SHOP, data__path=again.data.path)
    assert "a column 'hard_group' already" in sentence(twice, tmp_path / "two")
    # named as the first one said, they are what the second needs
    train_run(again, tmp_path / "two")
    names = pq.read_table(tmp_path / "two" / "catalogue.parquet").column_names
    assert names == pq.read_table(again.data.path).column_names
