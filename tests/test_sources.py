"""Every row of a file is yielded or quarantined, and bad files are refused."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hsjax.data.fields import as_text
from hsjax.data.quarantine import REPAIRED
from hsjax.data.records import CatalogueError, Quarantine
from hsjax.data.sources import column_names, read_rows


def read(path, **options):
    quarantine = Quarantine()
    return list(read_rows(path, quarantine, **options)), quarantine


def dropped(quarantine):
    return {
        row: reason for _, row, _, _, reason, act in quarantine.rows if act == "dropped"
    }


@pytest.fixture
def save(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_csv_names_every_bad_row(save):
    lines = [
        b"id,title,code",
        b"1,boot,640610",
        b"2,too,many,fields",
        b"3,too few",
        b"",
        b"5,caf\xe9,640610",
        b"6,nu\x00l,640610",
        b'7,"12" pipe,730630',
        b'8,"quoted, with\nline break",640610',
        b'9,"never closed,640610',
        b"10,after the quote,640610",
    ]
    rows, quarantine = read(save("a.csv", b"\n".join(lines) + b"\n"))
    assert [row for row, _ in rows] == [1, 5, 6, 8, 10]
    reasons = dropped(quarantine)
    assert sorted(reasons) == [2, 3, 4, 7, 9]
    assert reasons[2] == "wrong number of columns: 4 instead of 3, line 3"
    assert reasons[4] == "blank line"
    assert reasons[7].startswith("broken quotes: line 8")
    assert reasons[9].startswith("broken quotes: line 11")
    values = dict(rows)
    assert values[5]["title"] == "caf\ufffd"
    assert values[6]["title"] == "nu\ufffdl"
    assert values[8]["title"] == "quoted, with\nline break"
    assert values[10]["title"] == "after the quote"
    kept = [note[1:] for note in quarantine.rows if note[5] == REPAIRED]
    assert [(row, column) for row, _, column, _, _ in kept] == [
        (5, "title"),
        (6, "title"),
    ]
    assert quarantine.counts()["not UTF-8", REPAIRED] == 1


def test_a_stray_quote_does_not_swallow_its_neighbours(save):
    lines = [f"{i},thing {i}" for i in range(1, 40)]
    lines[9] = '10,"12 inch pipe'
    lines[20] = '21,"pipe, steel"'
    rows, quarantine = read(save("a.csv", "id,title\n" + "\n".join(lines)))
    assert [row for row, _ in rows] == [i for i in range(1, 40) if i != 10]
    assert all(values["id"] == str(row) for row, values in rows)
    assert list(dropped(quarantine)) == [10]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", b"\xef\xbb\xbfid,title\r\n1,\xc3\xa9\r\n"),
        ("tabs.tsv", b"id\ttitle\n1\t\xc3\xa9\n"),
        ("european.csv", b"id;title\n1;\xc3\xa9\n"),
        ("unnamed.csv", b"id,title,,\n1,\xc3\xa9,,\n"),
        ("bom.jsonl", b'\xef\xbb\xbf{"id": "1", "title": "\xc3\xa9"}\n'),
    ],
)
def test_dialects(save, name, content):
    path = save(name, content)
    rows, quarantine = read(path)
    assert rows == [(1, {"id": "1", "title": "\u00e9"})]
    assert column_names(path, wanted=("id", "title")) == ["id", "title"]
    assert not quarantine.rows


def test_fields_of_any_length(save):
    rows, _ = read(save("a.csv", "id,image\n1," + "A" * 300_000 + "\n"))
    assert len(rows[0][1]["image"]) == 300_000


def test_jsonl_names_every_bad_line(save):
    lines = [
        b'{"id": 1}',
        b"{broken",
        b"[1, 2]",
        b"",
        b'{"id": 1, "id": 2}',
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"tags": ["\xff", {"\xfe": 1}], "b\xffd": 1}',
        b'{"price": NaN}',
        b"[" * 100_000,
    ]
    path = save("a.jsonl", b"\n".join(lines))
    rows, quarantine = read(path)
    assert [row for row, _ in rows] == [1, 6, 7, 8, 9]
    reasons = {row: reason.split(":")[0] for row, reason in dropped(quarantine).items()}
    assert reasons == {
        2: "invalid JSON",
        3: "not a JSON object",
        4: "blank line",
        5: "invalid JSON",
        10: "invalid JSON",
    }
    assert rows[1][1]["id"] == rows[2][1]["id"] == "\ufffd"
    assert column_names(path, wanted=("absent",)) == [
        "id",
        "tags",
        "b\ufffdd",
        "price",
    ]


def test_parquet_streams_and_survives_bad_text(tmp_path):
    path = tmp_path / "a.parquet"
    raw = pa.array([b"boot", b"caf\xe9", None] * 300)
    title = pa.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])
    pq.write_table(
        pa.table({"id": range(900), "title": title}), path, row_group_size=70
    )
    rows, quarantine = read(path)
    assert [row for row, _ in rows] == list(range(1, 901))
    assert rows[1][1] == {"id": 1, "title": "caf\ufffd"}
    assert quarantine.counts() == {("not UTF-8", REPAIRED): 300}
    assert read(path, columns=("id",), rows=3)[0] == [
        (i + 1, {"id": i}) for i in range(3)
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_limits_what_is_judged(save, suffix):
    line = '{"id": 1}\n' if suffix == "jsonl" else "1,2\n"
    start = "" if suffix == "jsonl" else "id,x\n"
    rows, quarantine = read(save(f"a.{suffix}", start + line * 3 + "bad\n" * 3), rows=3)
    assert len(rows) == 3
    assert not quarantine.rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", r"unknown kind of file '.xlsx'; save .* as .parquet, .csv"),
        ("a.csv", b"", "is empty; export the catalogue again"),
        ("a.csv", b"\xef\xbb\xbf", "is empty"),
        ("a.csv", b"\n1,2\n", "missing header; line 1 must name the columns"),
        ("a.csv", b"id,title,id\n1,2,3\n", "column 'id' appears more than once"),
        ("a.csv", b"id,t\xeftre\n1,2\n", "the header is not UTF-8"),
        ("a.csv", b'id,"title\n1,2\n', "unreadable header line"),
        (
            "a.csv",
            "id,title\n1,2\n".encode("utf-16"),
            "is UTF-16 text; save it as UTF-8",
        ),
        ("a.parquet", b"", "is empty"),
        ("a.parquet", b"PAR1 and then nothing", "corrupt Parquet file"),
    ],
)
def test_unusable_files_are_refused_in_words(save, name, content, message):
    path = save(name, content)
    with pytest.raises(CatalogueError, match=message) as error:
        list(read_rows(path, Quarantine()))
    assert str(path) in str(error.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(CatalogueError, match="no such file; correct config.data.path"):
        read_rows(tmp_path / "none.csv", Quarantine())
    with pytest.raises(CatalogueError, match="is not a file"):
        read_rows(tmp_path, Quarantine())


def test_corrupt_and_repeated_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [bytes(500)] * 999}), path, compression="none")
    damaged = bytearray(path.read_bytes())
    damaged[4:60] = b"\xff" * 56
    path.write_bytes(damaged)
    with pytest.raises(CatalogueError, match=r"a.parquet: corrupt Parquet file"):
        read(path)
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), path)
    with pytest.raises(CatalogueError, match="column 'x' appears more than once"):
        read(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (" nan ", ""),
        (61091000.0, "61091000"),
        (0.5, "0.5"),
        (7, "7"),
        (["a", None, "b"], "a b"),
        (b"bytes", "bytes"),
        ("  0101.21 ", "0101.21"),
    ],
)
def test_as_text(value, text):
    assert as_text(value) == text


def test_quarantine_is_written_in_the_order_of_rows(tmp_path):
    quarantine = Quarantine()
    for row, action in ((2, "kept"), (1, "dropped"), (3, "dropped")):
        quarantine.add(
            file="a.csv", row=row, id="x", reason=f"flaw: {row}", action=action
        )
    assert quarantine.counts() == {("flaw", "dropped"): 2, ("flaw", "kept"): 1}
    quarantine.write(tmp_path / "quarantine.csv")
    lines = (tmp_path / "quarantine.csv").read_text().splitlines()
    assert lines[:2] == [
        "file,row,id,column,reason,action",
        "a.csv,1,x,,flaw: 1,dropped",
    ]
    assert len(lines) == 4
    with pytest.raises(ValueError, match="one of dropped, kept, kept without"):
        quarantine.add(file="", row=1, reason="", action="lost")


def test_json_and_csv_agree(save):
    products = [{"id": str(i), "title": f'a "b", {i}\n\u00e9'} for i in range(5)]
    jsonl = save("a.jsonl", "\n".join(map(json.dumps, products)))
    quoted = (
        f'{p["id"]},"{p["title"].replace(chr(34), chr(34) * 2)}"' for p in products
    )
    table = save("a.csv", "id,title\n" + "\n".join(quoted))
    assert read(jsonl)[0] == read(table)[0] == list(enumerate(products, start=1))
