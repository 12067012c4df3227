"""A prepared folder stands for its catalogue: same rows, same split, same training."""

import base64
import dataclasses
import io
import json
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from runs import fit_run, metric_lines, prepare_run, run_config, sentence, train_run

from hsjax.data import preparation
from hsjax.data.batches import evaluation_batches, prefetched, training_batches
from hsjax.data.examples import Augmentation
from hsjax.data.fields import as_text
from hsjax.data.preparation import prepare_catalogue
from hsjax.data.prepare import examples_of, read_catalogue
from hsjax.data.prepared import open_prepared
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import column_names, read_rows
from hsjax.data.stored_records import StoredRecords
from hsjax.data.stream import stream_records
from hsjax.data.web import FetchError
from hsjax.inference.predict import load_run

COLUMNS = {
    "data.columns.id": "id",
    "data.columns.text": ("title", "brand"),
    "data.columns.label": ("hs_code",),
    "data.columns.image": "image",
    "data.columns.platform": "shop",
    "data.columns.metadata": ("note",),
    "data.text.name_drop": 0.5,
}
LEAVES = ("640320", "640340", "420221", "420231", "610910")


def picture(number, *, size=(20, 24)):
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def products():
    """Of a shop that is none too careful: 130 rows."""
    rows = []
    for n in range(120):
        rows.append(
            {
                "id": f"a{n}",
                "title": f"thing {n % 90} of leaf {n % 5} colour {n % 7}",
                "brand": f"maker{n % 11}" if n % 4 else "",
                "hs_code": LEAVES[n % 5],
                "shop": "north" if n % 2 else "south",
                "note": f"shelf {n % 3}",
                "image": picture(n % 100) if n % 6 else b"",
            }
        )
    rows.append(dict(rows[7]))  # repeated entirely: dropped
    rows.append(dict(rows[8], title="another title of the same id"))
    rows.append(dict(rows[9], id="a8#2"))  # an id as a rename makes it
    rows.append(dict(rows[10], id="x1", hs_code="610910"))  # says otherwise
    rows.append(dict(rows[11], id="", hs_code="640340"))
    rows.append(dict(rows[12], id="x2", hs_code="no code"))
    rows.append(dict(rows[13], id="x3", image=b"no picture"))
    rows.append(dict(rows[14], id="x4", image=picture(3)[:200]))  # broken behind
    rows.append(dict(rows[16], id="x5", title="bro\0ken", brand="M\u00fcller"))
    rows.append(dict(rows[17], id="x6", title="", brand="", image=b""))
    return rows


def write(folder, kind):
    """The products as a file of this kind; (path, what else a config needs to know)."""
    rows, path = products(), folder / f"shop.{kind}"
    if kind == "parquet":
        rows = [row | {"title": row["title"].replace("\0", "?")} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    for n, row in enumerate(rows):
        data = row["image"]
        if kind == "jsonl":  # base64, with and without its head
            head = "data:image/png;base64," if n % 2 else ""
            row["image"] = head + base64.b64encode(data).decode() if data else None
        elif data:
            (folder / "pictures").mkdir(exist_ok=True)
            (folder / "pictures" / f"{n}.png").write_bytes(data)
            row["image"] = f"pictures/{n}.png"
        else:
            row["image"] = ""
    if kind == "jsonl":
        lines = [json.dumps(row) for row in rows]
        lines[20:20] = ["{broken", "", json.dumps(["no object"])]
        rows[3]["price"] = 3.5
        path.write_text("\n".join(lines) + "\n")
        return path
    mark = "\t" if kind == "tsv" else ","
    lines = [mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]
    lines[20:20] = ["", f"too{mark}few", f'b1{mark}"never closed{mark}x']
    path.write_text("\n".join(lines) + "\n")
    return path


KINDS = ("csv", "jsonl", "parquet", "tsv")


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """(config of the file, config of the folder prepared of it)."""
    folder = tmp_path_factory.mktemp(request.param)
    path = write(folder, request.param)
    config = run_config(COLUMNS, data__path=str(path), prepare__rows_per_shard=25)
    prepare_catalogue(config, folder / "prepared")
    shutil.rmtree(folder / "pictures", ignore_errors=True)  # no longer needed ...
    write(folder, request.param)  # ... but by the file itself
    return config, run_config(COLUMNS, data__path=str(folder / "prepared"))


def plain(record):
    fields = dataclasses.asdict(record)
    fields.pop("image")
    return fields


def notes(quarantine):
    return sorted(note[1:] for note in quarantine.rows)


def test_a_folder_has_the_rows_the_split_and_the_notes_of_its_file(both):
    file, folder = map(read_catalogue, both)
    assert isinstance(folder.records, StoredRecords)
    assert [*map(plain, folder.records)] == [*map(plain, file.records)]
    assert notes(folder.quarantine) == notes(file.quarantine)
    assert {note[5] for note in file.quarantine.rows} >= {"dropped", "kept"}
    for name in ("parts", "groups", "labels", "outside"):
        np.testing.assert_array_equal(getattr(folder, name), getattr(file, name))
    assert folder.manifest == file.manifest
    assert folder.facts() == file.facts()
    assert folder.tokenizer.to_str() == file.tokenizer.to_str()
    assert folder.tree == file.tree


def batches(config, *, workers=0):
    catalogue = read_catalogue(config)
    examples = examples_of(
        config,
        catalogue.records,
        tokenizer=catalogue.tokenizer,
        spec=catalogue.spec,
        labels=catalogue.labels,
        groups=catalogue.groups,
    )
    look = Augmentation(seed=3, crop=True, flip=True, word_drop=0.5, name_drop=0.5)
    train = training_batches(examples, batch_size=16, seed=1, augmentation=look)
    options = {"threads": 2, "workers": workers, "buffer": 2}
    ahead = prefetched(train, start=2, **options)
    found = [next(ahead) for _ in range(3)]
    evaluation = evaluation_batches(examples, batch_size=50)
    return found + [evaluation[k] for k in range(len(evaluation))]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_batches_are_the_same(both):
    expected, found = map(batches, both)
    assert expected[0]["has_image"].any()
    assert_same(found, expected)


def test_every_row_streams_by_as_from_the_file(both):
    """As extraction reads it, with pictures that were decoded on the way."""
    file, folder = ([*stream_records(c.data, quarantine=Quarantine())] for c in both)
    assert [*map(plain, folder)] == [*map(plain, file)]
    for a, b in zip(folder, file, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def shards(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.fixture
def shop(tmp_path):
    return run_config(
        COLUMNS, data__path=str(write(tmp_path, "csv")), prepare__rows_per_shard=25
    )


@pytest.mark.parametrize("workers", [1])
def test_worker_processes_read_the_folder_themselves(shop, tmp_path, workers):
    prepare_catalogue(shop, tmp_path / "out")
    config = run_config(COLUMNS, data__path=str(tmp_path / "out"))
    assert_same(batches(config, workers=workers), batches(config))
    records = read_catalogue(config).records
    sent = pickle.dumps(records.source)
    assert len(sent) < 1000  # the place, and no rows
    again = pickle.loads(sent)
    assert again.read(records.rows[:3]) == records.source.read(records.rows[:3])


def test_training_and_evaluation_are_the_same(tmp_path):
    path = write(tmp_path, "csv")
    config = run_config(COLUMNS, data__path=str(path), train__steps=4)
    prepare_catalogue(config, tmp_path / "out")
    other = run_config(COLUMNS, data__path=str(tmp_path / "out"), train__steps=4)
    found = []
    for name, c in (("file", config), ("folder", other)):
        prepared = prepare_run(c)
        fit_run(prepared, tmp_path / name)
        found.append(metric_lines(tmp_path / name))
    assert found[0] == found[1]
    assert len(found[0]) > 1


def test_a_run_answers_a_folder_as_it_answers_the_file(tmp_path):
    path = write(tmp_path, "csv")
    config = run_config(COLUMNS, data__path=str(path), train__steps=2)
    prepare_catalogue(config, tmp_path / "out")
    train_run(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    file, folder = (run.predict(run.records(x)) for x in (path, tmp_path / "out"))
    assert len(file) == len(folder)
    np.testing.assert_array_equal(file.id, folder.id)
    np.testing.assert_array_equal(file.log_prob, folder.log_prob)


def test_the_same_input_gives_the_same_bytes(shop, tmp_path):
    for name in ("one", "two"):
        prepare_catalogue(shop, tmp_path / name)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_what_was_cut_off_goes_on(shop, tmp_path, monkeypatch):
    """No shard that is there is made again, no row is there twice or lost."""
    prepare_catalogue(shop, tmp_path / "whole")
    looked = []
    real = preparation.checked_picture

    def look(value, **options):
        looked.append(value)
        if len(looked) == 70:  # in the third shard
            raise KeyboardInterrupt
        return real(value, **options)

    monkeypatch.setattr(preparation, "checked_picture", look)
    with pytest.raises(KeyboardInterrupt):
        prepare_catalogue(shop, tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").glob("shard-*.json")}
    assert names == {"shard-00000.json", "shard-00001.json"}
    with pytest.raises(CatalogueError, match="not prepared to its end"):
        column_names(tmp_path / "out")
    made = {n: (tmp_path / "out" / n).stat().st_mtime_ns for n in names}
    torn = tmp_path / "out" / "shard-00002.rows.array_record.1.partial"
    torn.write_text("torn")
    os.utime(torn, (0, 0))  # nobody is at it any more
    prepare_catalogue(shop, tmp_path / "out")
    assert {n: (tmp_path / "out" / n).stat().st_mtime_ns for n in names} == made
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")
    rows = [row for row, _ in read_rows(tmp_path / "out", Quarantine())]
    assert rows == [row for row, _ in read_rows(shop.data.path, Quarantine())]


def test_a_picture_that_was_not_given_this_time_is_asked_for_again(shop, tmp_path):
    source = shop.data.path
    rows = read_rows(source, Quarantine())
    asked = [as_text(values["id"]) for _, values in rows][:60]
    table = "id,title,hs_code,image\n"
    table += "".join(f"{x},boot,640399,https://shop/{x}.png\n" for x in asked)
    (tmp_path / "web.csv").write_text(table)
    picture, out = io.BytesIO(), tmp_path / "out"
    Image.new("RGB", (9, 9)).save(picture, "png")
    seen, down = [], {f"https://shop/{asked[30]}.png"}

    def fetch(address):
        seen.append(address)
        if address in down:
            raise FetchError("web address gives no answer", passing=True)
        if address.endswith(f"/{asked[40]}.png"):
            raise FetchError("web address is gone", lasting=True)
        return picture.getvalue()

    config = run_config(
        COLUMNS, data__path=str(tmp_path / "web.csv"), prepare__rows_per_shard=25
    )
    facts = prepare_catalogue(config, out, fetch=fetch).facts
    assert [shard["passing"] for shard in facts["shards"]] == [0, 1, 0]
    assert len(seen) == 60
    down.clear()
    seen.clear()
    prepared = prepare_catalogue(config, out, fetch=fetch)
    assert len(seen) == 25, "the shard that lacked one, alone"
    notes = (out / "quarantine.csv").read_text()
    assert "no answer" not in notes
    assert "is gone" in notes
    assert [shard["passing"] for shard in prepared.facts["shards"]] == [0, 0, 0]
    seen.clear()
    prepare_catalogue(config, out, fetch=fetch)
    assert not seen


def test_a_torn_shard_is_told_and_made_anew(shop, tmp_path):
    out = tmp_path / "out"
    prepare_catalogue(shop, out)
    whole = shards(out)
    torn = out / "shard-00001.rows.array_record"
    torn.write_bytes(torn.read_bytes()[:100])
    (out / "manifest.json").touch()  # opened anew
    with pytest.raises(CatalogueError, match=r"shard-00001.*has 100 of .* bytes"):
        column_names(out)
    prepare_catalogue(shop, out)
    assert shards(out) == whole


def test_another_catalogue_is_refused(shop, tmp_path):
    prepare_catalogue(shop, tmp_path / "out")
    with open(shop.data.path, "a") as file:
        file.write("z1,one more,,640320,north,,\n")
    with pytest.raises(CatalogueError, match="holds another catalogue .*source: "):
        prepare_catalogue(shop, tmp_path / "out")
    again = run_config(COLUMNS, data__path=str(tmp_path / "out"))
    with pytest.raises(CatalogueError, match="is prepared already"):
        prepare_catalogue(again, tmp_path / "twice")


def test_only_the_first_rows_are_read_where_so_many_are_asked_for(both):
    file, folder = both
    for rows in (1, 24, 25, 26, 60):
        found = []
        for config in (file, folder):
            quarantine = Quarantine()
            read = read_rows(config.data.path, quarantine, rows=rows)
            numbers = [row for row, _ in read]
            found.append((numbers, {note[1] for note in quarantine.rows}))
        assert found[0][0] == found[1][0]
        assert found[0][1] == found[1][1]


def test_the_task_says_what_it_made(shop, tmp_path):
    config = shop.copy_and_resolve_references()
    config.task = "prepare"
    printed = train_run(config, tmp_path / "out")
    assert f"--config.data.path={tmp_path / 'out'}" in printed
    assert "3 rows could not be read" in printed
    text = (tmp_path / "out" / "quarantine.csv").read_text()
    assert "broken quotes" in text
    assert "not an image" in text
    assert "truncated image" in text or "broken image" in text
    assert len(open_prepared(tmp_path / "out")) == 130
    config.data.columns.image = "photo"
    assert "no column 'photo'" in sentence(config, tmp_path / "other")
