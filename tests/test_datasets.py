"""Public downloads, in their own layout, become catalogues that training reads."""

import gzip
import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from runs import run_config, sentence, train_run

from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import load_records
from hsjax.datasets.builders import DOWNLOADS, _rows


def jpeg(path, tone):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 16), (tone, 40, 80)).save(path, "JPEG")


def fashion_products(folder):
    """As Kaggle gives it: commas without quotes, pictures that are not there."""
    names = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year"
    lines = [f"{names},usage,productDisplayName"]
    for n in range(12):
        kind = ("Apparel,Topwear,Shirts", "Footwear,Shoes,Casual Shoes")[n % 2]
        lines.append(f"{1000 + n},Men,{kind},Navy,Fall,2011,Casual,Turtle no {n} Check")
        jpeg(folder / "images" / f"{1000 + n}.jpg", 20 * n)
    lines[5] += ", Blue, and White"
    lines.append("2000,Men,Apparel")
    (folder / "images" / "1003.jpg").unlink()
    (folder / "styles.csv").write_text("\n".join(lines) + "\n")


def hm_articles(folder):
    names = [
        "article_id", "product_code", "prod_name", "product_type_no",
        "product_type_name", "product_group_name", "graphical_appearance_no",
        "graphical_appearance_name", "colour_group_code", "colour_group_name",
        "perceived_colour_value_id", "perceived_colour_value_name",
        "perceived_colour_master_id", "perceived_colour_master_name", "department_no",
        "department_name", "index_code", "index_name", "index_group_no",
        "index_group_name", "section_no", "section_name", "garment_group_no",
        "garment_group_name", "detail_desc",
    ]  # fmt: skip
    lines = [",".join(names)]
    for n in range(12):
        fields = dict.fromkeys(names, "0")
        fields |= {
            "article_id": f"0{108775 + n // 2}0{n:02d}",
            "product_code": f"0{108775 + n // 2}",
            "prod_name": f"Strap top {n // 2}",
            "product_type_name": ("Vest top", "Bra")[n // 2 % 2],
            "product_group_name": ("Garment Upper body", "Underwear")[n // 2 % 2],
            "garment_group_name": "Jersey Basic",
            "detail_desc": '"Jersey top with narrow, ""soft"" straps."',
        }
        lines.append(",".join(fields.values()))
        id = fields["article_id"]
        jpeg(folder / "images" / id[:3] / f"{id}.jpg", 20 * n)
    (folder / "articles.csv").write_text("\n".join(lines) + "\n")


def grocery_store(folder):
    folder = folder / "dataset"
    classes = [
        "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
        "Iconic Image Path (str),Product Description Path (str)",
        "Golden-Delicious,0,Apple,0,/i/a.jpg,/d/a.txt",
        "Arla-Standard-Milk,42,Milk,14,/i/b.jpg,/d/b.txt",
    ]
    for part in ("train", "val", "test"):
        lines = []
        for n in range(4):
            place, number = (
                ("Fruit/Apple/Golden-Delicious", "0, 0"),
                ("Packages/Milk/Arla-Standard-Milk", "42, 14"),
            )[n % 2]
            picture = f"{part}/{place}/{place.rpartition('/')[2]}_{n:03d}.jpg"
            lines.append(f"{picture}, {number}")
            jpeg(folder / picture, len(part) * 20 + n)
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
    (folder / "classes.csv").write_text("\n".join(classes) + "\n")


def fashion_mnist_goods(folder):
    for name, count in (("train", 40), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 255, (count, 28, 28))
        labels = np.arange(count) % 10
        head = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28)
        data = gzip.compress(head + pixels.astype(np.uint8).tobytes())
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(data)
        head = struct.pack(">BBBBI", 0, 0, 8, 1, count)
        data = gzip.compress(head + labels.astype(np.uint8).tobytes())
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(data)


LAYOUTS = {
    "fashion_products": fashion_products,
    "hm_articles": hm_articles,
    "grocery_store": grocery_store,
    "fashion_mnist_goods": fashion_mnist_goods,
}
every_download = pytest.mark.parametrize("name", DOWNLOADS)


@pytest.fixture
def manual_dir(name, tmp_path):
    folder = tmp_path / "download"
    folder.mkdir()
    LAYOUTS[name](folder)
    return folder


@every_download
def test_a_reader_gives_rows_of_its_schema(name, manual_dir):
    download, notes = DOWNLOADS[name], Quarantine()
    rows = [*download.read(manual_dir, notes)]
    for row in rows:
        assert row.keys() == {"id", "split", "image", *download.columns}
        assert all(row[level] for level in download.levels)
        if row["image"]:
            assert Image.open(io.BytesIO(row["image"])).size[0] in (12, 28)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["split"] for row in rows} <= {"", "train", "val", "test"}
    assert "http" in download.description
    assert "Licence: " in download.description


def test_flaws_of_the_fashion_products_are_told(tmp_path):
    fashion_products(tmp_path)
    notes = Quarantine()
    rows = [*DOWNLOADS["fashion_products"].read(tmp_path, notes)]
    assert rows[4]["title"] == "Turtle no 4 Check, Blue, and White"
    assert rows[3]["image"] == b""
    found = {(note[1], note[4].split(":")[0], note[5]) for note in notes.rows}
    assert found == {
        (4, "image file not found", "kept without picture"),
        (5, "commas without quotes", "kept with repaired text"),
        (13, "wrong number of columns", "dropped"),
    }


@every_download
def test_another_folder_is_refused(name, tmp_path):
    with pytest.raises(CatalogueError, match="is not there"):
        next(DOWNLOADS[name].read(tmp_path, Quarantine()))


def test_a_torn_file_is_refused(tmp_path):
    fashion_mnist_goods(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(CatalogueError, match="torn"):
        next(DOWNLOADS["fashion_mnist_goods"].read(tmp_path, Quarantine()))


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("train.txt", ",", " ", "train.txt, row 1: no "),
        ("train.txt", "/", "-", "train.txt, row 1: no picture in"),
        ("classes.csv", ",", "", "classes.csv"),
    ],
)
def test_a_grocery_clone_that_is_damaged_is_told(tmp_path, file, old, new, told):
    grocery_store(tmp_path)
    (path,) = tmp_path.rglob(file)
    first, *lines = path.read_text().splitlines()
    where = 0 if file == "train.txt" else -1
    every = [first, *lines]
    every[where] = every[where].replace(old, new)
    path.write_text("\n".join(every) + "\n")
    with pytest.raises(CatalogueError, match=told):
        [*DOWNLOADS["grocery_store"].read(tmp_path, Quarantine())]


def test_a_flaw_is_noted_once_however_many_parts_there_are(tmp_path):
    grocery_store(tmp_path)
    lost = next(
        iter(sorted(tmp_path.rglob("*.jpg")) or sorted(tmp_path.rglob("*.png")))
    )
    lost.unlink()
    notes, download = Quarantine(), DOWNLOADS["grocery_store"]
    for part in ("train", "val", "test"):
        assert [*_rows(download, tmp_path, part, notes)]
    assert len([note for note in notes.rows if lost.name in note[4]]) == 1


def task(name, manual_dir, **changes):
    keys = {"prepare.builder": name, "prepare.manual_dir": str(manual_dir)}
    return run_config({"task": "prepare", **keys}, **changes)


@every_download
def test_a_builder_makes_what_data_path_reads(name, manual_dir, tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    printed = train_run(task(name, manual_dir), tmp_path / "out")
    assert "tensorflow" not in sys.modules
    path = tmp_path / "out" / name / "1.0.0"
    assert f"--config.data.path={path}" in printed
    download = DOWNLOADS[name]
    image_only = {"model.modalities": ("image",), "objective.contrastive": 0.0}
    keys = {**image_only, **download.mapping(), "data.path": str(path)}
    config = run_config(keys, data__text__streams={"title": download.texts})
    expected = [*download.read(manual_dir, Quarantine())]
    records = load_records(config.data, quarantine=Quarantine())
    assert [r.id for r in records] == [row["id"] for row in expected]
    assert [bool(r.image_key) for r in records] == [bool(x["image"]) for x in expected]
    assert [r.path[-1].split(" > ")[-1] for r in records] == [
        row[download.levels[-1]] for row in expected
    ]
    prepared = run_config(keys, task="prepare", data__path=str(path))
    train_run(prepared, tmp_path / "shards")
    folder = run_config(keys, data__path=str(tmp_path / "shards"))
    file, stored = map(read_catalogue, (config, folder))
    assert file.manifest == stored.manifest


def test_mistakes_end_in_a_sentence(tmp_path):
    known = "fashion_products, hm_articles, grocery_store, fashion_mnist_goods"
    out = tmp_path / "out"
    assert f"known: {known}" in sentence(task("mnist", tmp_path), out)
    assert "is no folder" in sentence(task("hm_articles", tmp_path / "no"), out)
