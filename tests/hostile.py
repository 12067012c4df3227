"""Catalogues as attackers and old exports make them: each by a seed."""

import base64
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = 12
SECRET = "outside.png"  # beside the folder, where no path may lead


def sound(i: int) -> dict:
    return {"id": f"p{i}", "title": f"leather boot no {i}", "image": ""}


def picture(rng, kind="PNG", mode="RGB", size=(9, 7)) -> bytes:
    shape = (*size[::-1], len(mode)) if len(mode) > 1 else size[::-1]
    pixels = rng.integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind)
    return file.getvalue()


def _zip(rng) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.txt", "0" * 100_000)
    return file.getvalue()


def _bomb(rng) -> bytes:
    """A PNG that says it has 10 billion pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        check = struct.pack(">I", zlib.crc32(name + data))
        parts.append(struct.pack(">I", len(data)) + name + data + check)
    return b"".join(parts)


def _bent(rng) -> bytes:
    """A real picture with some bytes changed."""
    data = bytearray(picture(rng, str(rng.choice(["PNG", "JPEG", "GIF", "TIFF"]))))
    for at in rng.integers(0, len(data), 5):
        data[at] = rng.integers(256)
    return bytes(data)


PICTURES = (
    _zip,
    _bomb,
    _bent,
    lambda rng: picture(rng)[:40],
    lambda rng: picture(rng, "JPEG")[:-30],
    lambda rng: b"\xff\xd8\xff" + rng.bytes(300),
    lambda rng: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    lambda rng: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
    lambda rng: b"%PDF-1.7\n" + rng.bytes(50),
    lambda rng: b"P6 9 9 255\n",
    lambda rng: b"II*\0\x08\0\0\0\xff\xff" + rng.bytes(60),
    lambda rng: b"",
    lambda rng: rng.bytes(int(rng.integers(1, 2000))),
    lambda rng: picture(rng, "JPEG", "CMYK"),
    lambda rng: picture(rng, "PNG", "RGBA"),
    lambda rng: picture(rng, "PNG", "L", (1, 1)),
    lambda rng: picture(rng, "GIF", "P"),
)
PATHS = (
    f"../{SECRET}",
    f"a/../../{SECRET}",
    f"..\\{SECRET}",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "link.png",
    "/dev/zero",
    ".",
    "nothing.png",
    "a" * 5000,
    "x/" * 600 + "y.png",
    "nul\0byte.png",
    "data:image/png;base64,!!!!",
    "data:,",
    "~/.ssh/id_rsa",
    "$(touch hacked).png",
    "%00.png",
)
TEXTS = (
    '=HYPERLINK("http://x","y")',
    "+1+1|cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "x" * 40_000,
    "a\0b",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "\U0001f45f" * 50,
    "e\u0301" * 100,
    "nan",
    "'; DROP TABLE goods; --",
    "{{7*7}} ${7*7} %s %n",
    "\x1b[31mred\x07",
    "\ufeffboot",
    " \u00a0\u3000 ",
    "../../etc/passwd",
)


def make(kind: str, seed: int, folder: Path) -> tuple[Path, set[str]]:
    """(a catalogue in `folder`, ids of rows that are sound whatever the others are)."""
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    folder.mkdir()
    (folder.parent / SECRET).write_bytes(picture(np.random.default_rng(0)))
    (folder / "link.png").symlink_to(folder.parent / SECRET)
    return KINDS[kind](rng, folder)


def _flawed(rng) -> set[int]:
    """Rows of the file that something is done to."""
    return set(rng.choice(ROWS, int(rng.integers(1, 5)), replace=False).tolist())


def _csv(rng, folder: Path) -> tuple[Path, set[str]]:
    flawed, lines = _flawed(rng), [b"id,title,image"]
    for i in range(ROWS):
        line = f"p{i},leather boot no {i},".encode()
        lines.append(_torn(rng, i, line) if i in flawed else line)
    path = folder / "goods.csv"
    end = bytes(rng.choice(np.array([b"\n", b"\r\n"], object)))
    path.write_bytes(end.join(lines) + end * int(rng.integers(0, 2)))
    return path, {f"p{i}" for i in range(ROWS) if i not in flawed}


def _torn(rng, i: int, line: bytes) -> bytes:
    text, place = str(rng.choice(TEXTS)), str(rng.choice(PATHS))
    quoted = text.replace('"', '""')
    return (
        f'p{i},"{quoted}",{place}'.encode("utf-8", "surrogatepass"),
        f'p{i},"{quoted}","{place}"'.encode(),
        line + b",,,,",
        b"p1",
        line.replace(b"boot", b'bo"ot'),
        line.replace(b"leather", b'"leather'),
        line.replace(b"boot", b"\xe9t\xe9 \xff\xfe"),
        line.replace(b"boot", b"\0\0"),
        b"",
        line.replace(b"p", b"", 1)
        + rng.bytes(30).replace(b"\n", b"").replace(b",", b""),
        f"p{i},{text},".encode(),
        b"," * int(rng.integers(0, 400)),
    )[rng.integers(12)]


def _jsonl(rng, folder: Path) -> tuple[Path, set[str]]:
    flawed, lines = _flawed(rng), []
    for i in range(ROWS):
        line = json.dumps(sound(i)).encode()
        lines.append(_odd(rng, i, line) if i in flawed else line)
    path = folder / "goods.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path, {f"p{i}" for i in range(ROWS) if i not in flawed}


def _odd(rng, i: int, line: bytes) -> bytes:
    row = sound(i)
    title = (None, True, 12, 1.5, float("nan"), float("inf"), [1, [2]], {"a": [None]})
    return (
        line[: int(rng.integers(1, len(line)))],
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"id": 1, "id": 2}',
        b'["p1", "boot"]',
        b"null",
        b"",
        b'{"title": "\\ud800\\udc00\\ud800", "id": "s"}',
        b'{"title": ' + b"9" * 5000 + b"}",
        b'{"title": 1e999999}',
        line.replace(b"boot", b"\xff\xfe\0"),
        json.dumps(row | {"title": title[rng.integers(len(title))]}).encode(),
        json.dumps(row | {"image": title[rng.integers(len(title))]}).encode(),
        json.dumps(row | {"id": title[rng.integers(len(title))]}).encode(),
        json.dumps(row | {"title": str(rng.choice(TEXTS))}).encode(),
        json.dumps(row | {"image": str(rng.choice(PATHS))}).encode(),
        json.dumps({f"k{k}": k for k in range(500)}).encode(),
    )[rng.integers(17)]


def _parquet(rng, folder: Path) -> tuple[Path, set[str]]:
    ids = pa.array([f"p{i}" for i in range(ROWS)])
    columns = {"id": ids, "title": _titles(rng), "image": _images(rng)}
    path = folder / "goods.parquet"
    pq.write_table(pa.table(columns), path)
    data = bytearray(path.read_bytes())
    if rng.random() < 0.3:  # a torn or a bent file
        for at in rng.integers(4, len(data), 8):
            data[at] = rng.integers(256)
        cut = len(data) if rng.random() < 0.7 else int(rng.integers(len(data)))
        path.write_bytes(bytes(data[:cut]))
        return path, set()
    return path, set(ids.to_pylist())


def _titles(rng) -> pa.Array:
    texts = [str(rng.choice(TEXTS)) for _ in range(ROWS)]
    broken = pa.array([b"bo\xffot"] * ROWS, pa.binary())
    huge = np.full(ROWS, 2**62)
    return (
        pa.array(texts),
        pa.array([text.encode() for text in texts], pa.binary()),
        pa.StringArray.from_buffers(ROWS, *broken.buffers()[1:], broken.buffers()[0]),
        pa.array([float("nan"), 1.0] * (ROWS // 2)),
        pa.array([[text[:9], None] for text in texts]),
        pa.array([{"a": 1, "b": None}] * ROWS),
        pa.array(huge, pa.timestamp("us")),
        pa.array(huge, pa.duration("s")),
        pa.array([None] * ROWS),
        pa.array(texts).dictionary_encode(),
        pa.array([True, None] * (ROWS // 2)),
        pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    )[rng.integers(12)]


def _images(rng) -> pa.Array:
    data = [PICTURES[rng.integers(len(PICTURES))](rng) for _ in range(ROWS)]
    return (
        pa.array(data, pa.binary()),
        pa.array([{"bytes": x, "path": "../x.png"} for x in data]),
        pa.array([{"bytes": None, "path": f"../{SECRET}"}] * ROWS),
        pa.array([{"other": 1}] * ROWS),
        pa.array([list(x[:9]) for x in data], pa.list_(pa.int64())),
        pa.array([base64.b64encode(x).decode() for x in data]),
        pa.array([str(rng.choice(PATHS)) for _ in range(ROWS)]),
        pa.array([1.5] * ROWS),
    )[rng.integers(8)]


def _files(rng, folder: Path) -> tuple[Path, set[str]]:
    """A sound table whose picture files are not what they are called."""
    lines = ["id,title,image"]
    for i in range(ROWS):
        name = f"{i}.{rng.choice(['jpg', 'png', 'webp'])}"
        if rng.random() < 0.1:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(PICTURES[rng.integers(len(PICTURES))](rng))
        lines.append(f"p{i},leather boot no {i},{name}")
    (folder / "goods.csv").write_text("\n".join(lines))
    return folder / "goods.csv", {f"p{i}" for i in range(ROWS)}


def _junk(rng, folder: Path) -> tuple[Path, set[str]]:
    """A file that is no catalogue at all."""
    suffix = str(rng.choice(["csv", "tsv", "jsonl", "parquet", "xlsx", "zip", "exe"]))
    path = folder / f"goods.{suffix}"
    path.write_bytes(
        (
            rng.bytes(int(rng.integers(0, 3000))),
            _zip(rng),
            picture(rng),
            b"",
            b"\xef\xbb\xbf",
            b"\xff\xfei\0d\0",
            b"id,id,title\n1,2,3\n",
            b"PAR1" + rng.bytes(100) + b"PAR1",
            b"\n\n\n",
            b'"id,title\n1,2',
            b"\0" * 1000,
            b"<html><body>404 Not Found</body></html>",
        )[rng.integers(12)]
    )
    return path, set()


KINDS = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "files": _files,
    "junk": _junk,
}
