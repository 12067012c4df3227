"""A user's mistake ends in one sentence and exit code 1, never in a traceback."""

import signal

import pytest
from runs import ALL_DEVICES, command, overrides, run_config, sentence

from hsjax.tasks.registry import user_errors

COLUMNS = {
    "data.columns.id": "id",
    "data.columns.label": ("hs_code",),
    "data.columns.image": "image",
}


MISTAKES = [
    ({"data.path": "gone.csv"}, "gone.csv: no such file"),
    (
        {"data.columns.text": ("titel",), "data.text.streams.title": ("titel",)},
        "Did you mean 'title'?",
    ),
    ({"data.columns.label": ("hscode",)}, "Did you mean 'hs_code'?"),
    ({"data.columns.label": ()}, "config.data.columns.label names ()"),
    ({"model.modalities": ("title", "sound")}, "model.modalities is 'sound'"),
    ({"model.modalities": ("title",)}, "contrastive needs text and image"),
    ({"model.fusion.kind": "conat"}, "Did you mean 'concat'?"),
    (
        {"model.head.feed": "logits", "model.head.labels": "labels"},
        "those of classes without examples are no numbers in training",
    ),
    (
        {"objective.mask": "none", "objective.logit_adjustment": 1.0},
        "count rows among siblings",
    ),
    (
        {"model.fusion.kind": "attention", "model.modalities": ("title",)},
        "by which texts look at pictures; model.modalities is ('title',)",
    ),
    (
        {"model.fusion.kind": "product", "model.fusion.of": "feature"},
        "multiplies vectors of one width; set model.fusion.of to joint",
    ),
    (
        {"objective.mask": "soft", "model.head.kind": "flat"},
        "objective.mask and mask_on are of the hierarchical head",
    ),
    ({"objective.mask": "soften"}, "Did you mean 'soft'?"),
    ({"eval.decode": "pth"}, "Did you mean 'path'?"),
    ({"eval.parts": ("tset",)}, "Did you mean 'test'?"),
    ({"data.batch_size": 12, **ALL_DEVICES}, "no multiple of 8 devices"),
    ({"train.data_devices": 9}, "a mesh of 9 x 1 x 1 devices"),
    ({"init_from": "nowhere"}, "nowhere is no workdir of a run"),
    ({"data.rows": 2}, "the val part is empty: 2 rows"),
    ({"data.split.fractions": (0.8, 0.2, 0.0)}, "the part test of"),
    ({"data.image.size": (90, 90)}, "image.size (90, 90) > resize"),
    ({"model.text.heads": 3}, "model.text.heads do not divide"),
    ({"data.columns.separator": " "}, "separator is blank"),
    ({"seed": -1}, "seed is -1; it must be 0 or more"),
    ({"data.synthetic.seed": -1}, "data.synthetic.seed is -1; it must be 0 or more"),
    ({"taxonomy.path": "gone.json"}, "there is no file gone.json"),
    ({"taxonomy.names": "gone.csv"}, "taxonomy.names: there is no file gone.csv"),
    ({"data.label_map": "gone.csv"}, "data.label_map: there is no file gone.csv"),
    ({"data.path": ""}, "give --config.data.path=FILE"),
    (
        {"data.text.streams.title": ("title", "material")},
        "data.text.streams.title names 'material', which is not read:"
        " data.columns.text is ('title', 'brand')",
    ),
    ({"data.text.lengths": {"titel": 9}}, "Did you mean 'title'?"),
    ({"data.text.lengths": {"title": 2}}, "data.text.lengths.title is 2; it must be 3"),
    ({"data.features.title": "gone"}, "gone holds no features"),
    ({"data.text.tokenizer": "published"}, "needs model.text.published, whose it is"),
    ({"model.image.pool": "fc7"}, "which only a published VGG has"),
    ({"data.text.length": 2}, "data.text.length is 2; it must be 3 or more"),
    ({"train.fsdp_devices": 0}, "train.fsdp_devices is 0; it must be 1 or more"),
    ({"train.data_devices": -1}, "train.data_devices is -1; it must be 0 or more"),
    ({"data.batch_size": 0}, "data.batch_size is 0; it must be 1 or more"),
    ({"data.text.word_drop": 1.5}, "word_drop is 1.5; it must be from 0 to 1"),
    ({"data.weighted_sampling": -0.5}, "weighted_sampling is -0.5; it must be 0 or"),
    ({"train.ema": 1.0}, "train.ema is 1.0; it must be 0 or more and below 1"),
    ({"optim.warmup": 1.1}, "optim.warmup is 1.1; it must be from 0 to 1"),
    ({"objective.temperature": 0.0}, "temperature is 0.0; it must be above 0"),
    ({"taxonomy.digits": ()}, "taxonomy.digits () are not levels, coarsest first"),
    ({"taxonomy.digits": (4, 2, 6)}, "taxonomy.digits (4, 2, 6) are not levels"),
    ({"taxonomy.digits": (0, 2)}, "taxonomy.digits is (0, 2); it must be 1 or more"),
    ({"data.image.size": (0, 8)}, "data.image.size is (0, 8); it must be 1 or more"),
    ({"train.steps": 0, "train.epochs": 0.0}, "train.epochs is 0.0; it must be above"),
    ({"train.steps": -1}, "train.steps is -1; it must be 0 or more"),
    ({"train.log_every": 0}, "train.log_every is 0; it must be 1 or more"),
    ({"eval.topk": 0}, "eval.topk is 0; it must be 1 or more"),
    ({"eval.batch_size": 0}, "eval.batch_size is 0; it must be 1 or more"),
    ({"model.modalities": ("title", "title")}, "model.modalities names one twice"),
    ({"model.modality_dropout": -0.1}, "modality_dropout is -0.1; it must be from 0"),
    ({"model.text.dropout": 2.0}, "model.text.dropout is 2.0; it must be from 0"),
    ({"model.image.dropout": 2.0}, "model.image.dropout is 2.0; it must be from 0"),
    ({"model.head.dropout": 2.0}, "model.head.dropout is 2.0; it must be from 0"),
    ({"model.text.heads": 0}, "model.text.heads is 0; it must be 1 or more"),
    ({"model.image.heads": 0}, "model.image.heads is 0; it must be 1 or more"),
    ({"model.image.patch": 0}, "model.image.patch is 0; it must be 1 or more"),
    ({"data.split.fractions": (0.5, 0.2, 0.2)}, "give shares of train, val and test"),
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
        command("--config=bsae.py", f"--workdir={tmp_path}"),
        command(f"--run={tmp_path / 'x'}", "--output=y", module="hsjax.evaluate"),
        command("--compare=a", "--output=y", "--by=shop", module="hsjax.evaluate"),
        command("input", "--config=bsae.py", module="hsjax.bench"),
        command("cost", "--runs=a.jsonl", module="hsjax.bench"),
        command("decode", "--taxonomy=x.json", "--rows=0", module="hsjax.bench"),
        command("decode", "--taxonomy=x", "--output=t.md", module="hsjax.bench"),
        command("loss", "--config=configs/base.py", module="hsjax.bench"),
    ]
    words = [
        "gone.csv: no such file",
        "'trian'; known: train",
        "no such key: 'pth'. Did you mean 'path'?",
        "there is no file 'bsae.py'",
        "x is no workdir of a run",
        "--by says nothing with --compare: leave it out",
        "there is no file 'bsae.py'",
        "bench cost needs --root",
        "flag --rows=0",
        "--output says nothing to decode: leave it out",
        "--config says nothing to loss: leave it out",
    ]
    told = [process.communicate(timeout=300)[1] for process in calls]
    for process, err, expected in zip(calls, told, words, strict=True):
        assert process.returncode == 1, err
        assert expected in err
        assert "Traceback" not in err


FILES = {  # what a config file holds, and what is said of it
    "config.data.label_kind = 'path'": "line 6: no such key: 'label_kind'. Did you mean"
    " config.data.columns.label_kind?",
    "config.data.columns.imgae = 'photo'": "line 6: no such key: 'imgae'. Did you mean"
    " 'image'?",
    "config.train.epoch = 3": "line 6: no such key: 'epoch'. Did you mean 'epochs'?",
    "config.model.text.witdh = 3": "line 6: no such key: 'witdh'. Did you mean"
    " 'width'?",
    "config.seed = (": "line 6: ",
    "import colour": "line 6: No module named 'colour'",
    "config.seed = sed": "line 6: name 'sed' is not defined",
}


@pytest.mark.parametrize("line", FILES)
def test_a_mistake_in_a_config_file_is_named_with_its_line(line, tmp_path):
    path = tmp_path / "goods.py"
    path.write_text(
        "from configs import base\n\n\ndef get_config():\n"
        f"    config = base.get_config()\n    {line}\n    return config\n"
    )
    process = command(f"--config={path}", f"--workdir={tmp_path / 'run'}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert f"hsjax: --config: {path}, {FILES[line]}" in err


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "afile").write_text("")
    assert "afile" in sentence(run_config(), tmp_path / "afile")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_a_sentence_and_leaves_no_handler(number, capsys):
    with pytest.raises(SystemExit) as stop, user_errors("; it goes on"):
        signal.raise_signal(number)
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == f"hsjax: stopped ({number.name}); it goes on\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_who_handles_sigterm_already_goes_on_doing_so():
    """A sweep stops what is under way, as for Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with user_errors(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
