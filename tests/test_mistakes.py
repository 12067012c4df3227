"""A user's mistake ends in one sentence and exit code 1, never in a traceback."""

import pytest
from runs import command, overrides, run_config

from hsjax.data.synthetic import write_catalogue
from hsjax.tasks import TASKS, user_errors

COLUMNS = {
    "data.columns.id": "id",
    "data.columns.label": ("hs_code",),
    "data.columns.image": "image",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "shop.parquet"
    write_catalogue(path, run_config().data)
    return path


def sentence(config, workdir):
    with pytest.raises(SystemExit) as stop, user_errors():
        TASKS[config.task](config, workdir)
    assert str(stop.value.code).startswith("hsjax: ")
    return str(stop.value.code)


MISTAKES = [
    ({"data.path": "gone.csv"}, "gone.csv: no such file"),
    ({"data.columns.text": ("titel",)}, "Did you mean 'title'?"),
    ({"data.columns.label": ("hscode",)}, "Did you mean 'hs_code'?"),
    ({"data.columns.label": ()}, "config.data.columns.label names ()"),
    ({"model.modalities": ("title", "sound")}, "model.modalities is 'sound'"),
    ({"model.modalities": ("title",)}, "contrastive needs text and image"),
    ({"model.fusion.kind": "conat"}, "Did you mean 'concat'?"),
    ({"eval.decode": "pth"}, "Did you mean 'path'?"),
    ({"eval.parts": ("tset",)}, "Did you mean 'test'?"),
    ({"data.batch_size": 12}, "no multiple of 8 devices"),
    ({"train.data_devices": 9}, "a mesh of 9 x 1 devices"),
    ({"init_from": "nowhere"}, "nowhere is no workdir of a run"),
    ({"data.rows": 2}, "the val part is empty: 2 rows"),
    ({"data.split.fractions": (0.8, 0.2, 0.0)}, "the part test of"),
    ({"data.image.size": (90, 90)}, "image.size (90, 90) > resize"),
    ({"model.text.heads": 3}, "model.text.heads do not divide"),
    ({"data.columns.separator": " "}, "separator is blank"),
    ({"seed": -1}, "seed -1 is negative"),
    ({"taxonomy.path": "gone.json"}, "there is no file gone.json"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, tmp_path, changes, words):
    config = run_config({**COLUMNS, "data.path": str(shop), **changes})
    assert words in sentence(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_an_empty_catalogue(tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("id,title,brand,hs_code,image\n")
    config = run_config(COLUMNS, data__path=str(path))
    assert "no usable row" in sentence(config, tmp_path / "run")


def test_commands_end_with_one_and_without_a_traceback(tmp_path):
    base = ["--config=configs/base.py", f"--workdir={tmp_path}"]
    calls = [
        command(*base, *overrides(COLUMNS), "--config.data.path=gone.csv"),
        command(*base, "--config.task=trian"),
        command(*base, "--config.data.pth=x"),
        command(f"--run={tmp_path / 'x'}", "--output=y", module="hsjax.evaluate"),
    ]
    words = [
        "gone.csv: no such file",
        "'trian'; known: train",
        "pth",
        "x is no workdir of a run",
    ]
    told = [process.communicate(timeout=300)[1] for process in calls]
    for process, err, expected in zip(calls, told, words, strict=True):
        assert process.returncode == 1, err
        assert expected in err
        assert "Traceback" not in err
