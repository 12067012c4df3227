"""The README's commands, one after another, as a new user types them."""

import csv
import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags
from readme import commands
from runs import ROOT, SMALL

from configs import base
from hsjax import main
from hsjax.data.features import stores_of
from hsjax.data.synthetic import listings
from hsjax.settings.choices import check_choices
from hsjax.sweep.lists import read_runs, row_names
from hsjax.sweep.tables import check_table
from hsjax.tasks.registry import TASKS

DEFINE = re.compile(r"DEFINE_(?!flag)\w+")  # of absl, by the kind of a flag
TINY = [
    f"--config.{key}={value}"
    for key, value in SMALL.items()
    if not key.startswith("data.columns")
]


def write_goods(folder, name, *, seed, labelled=True):
    """A catalogue with the columns of the README's goods.py, and its photos."""
    data = base.get_config().data
    data.synthetic.products, data.synthetic.seed = 150, seed
    (folder / "photos").mkdir(exist_ok=True)
    rows = []
    for number, item in enumerate(listings(data)):
        photo = f"photos/{seed}-{number}.png" if item.image else ""
        if photo:
            (folder / photo).write_bytes(item.image)
        rows.append([f"{seed}-{number}", item.title, "cotton", photo, item.code])
    with open(folder / name, "w", newline="") as file:
        writer = csv.writer(file)
        columns = ["sku", "title", "material", "photo", "hs_code"]
        width = len(columns) if labelled else -1
        writer.writerow(columns[:width])
        writer.writerows(row[:width] for row in rows)


@pytest.fixture
def folder(tmp_path):
    """Where the README is read: the configs beside, the reader's catalogue inside."""
    readme = (ROOT / "README.md").read_text()
    (own,) = re.findall(r"```python\n(from configs .*?)```", readme, re.DOTALL)
    (tmp_path / "goods.py").write_text(own)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_goods(tmp_path, "goods.csv", seed=0)
    codes = {item.code for item in listings(base.get_config().data)}
    lines = [f"{code},goods {code}" for code in sorted(codes)]
    (tmp_path / "names.csv").write_text("\n".join(["code,name", *lines]))
    write_goods(tmp_path, "new_goods.csv", seed=1)
    return tmp_path


def parsed(module, arguments):
    """What the flags of a command are, as its own parser reads them."""
    values, spec = flags.FlagValues(), importlib.util.find_spec(module)
    with pytest.MonkeyPatch.context() as patch:
        # commands have flags of the same names: each gets values of its own
        for home in (flags, config_flags):
            for name in (n for n in dir(home) if DEFINE.fullmatch(n)):
                define = functools.partial(getattr(home, name), flag_values=values)
                patch.setattr(home, name, define)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        if module != main.__name__:  # which others import: its flags are defined
            config_flags.DEFINE_config_file("config", None, lock_config=True)
        patch.setattr(sys, "argv", [module, *arguments])  # keys are looked for there
        assert values(sys.argv) == [module], "what is no flag"
    return values


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of flags
def test_every_command_of_the_readme_is_understood(folder, monkeypatch):
    """The short form of the next one: flags and keys are parsed, nothing is run."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    tasks_seen = set()
    for line in commands():
        command = shlex.split(line.split("&&")[-1])
        if command[:2] != ["python", "-m"]:
            continue
        module, *arguments = command[2:]
        values = parsed(module, arguments)
        if module == "hsjax.main":
            assert values.workdir, line
            check_choices(values.config)
            assert values.config.task in TASKS, line
            tasks_seen.add(values.config.task)
        elif module == "hsjax.evaluate":
            assert values.output, line
            assert bool(values.run) != bool(values.compare), line
            assert bool(values.against) == bool(values.compare), line
            assert not values.input or (folder / values.input).is_file(), line
    assert {"train", "check", "baseline"} <= tasks_seen
    with pytest.raises((AttributeError, KeyError)):
        parsed("hsjax.main", ["--config=goods.py", "--config.train.epoch=5"])
    with pytest.raises(flags.Error):
        parsed("hsjax.evaluate", ["--runs=x"])


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of flags
def test_the_commands_of_measured_figures_are_understood(folder, monkeypatch):
    """Those on real catalogues: flags, keys, lists and tables; nothing is run."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    seen = set()
    for line in commands("text"):
        python, *words = shlex.split(line)
        assert python == "python", line
        seen.add(words[1] if words[0] == "-m" else words[0])
        given = [x.removeprefix("--").partition("=")[::2] for x in words]
        values = dict(given)
        if "runs" in values:
            common = [value for key, value in given if key == "set"]
            runs = read_runs(Path(values["runs"]), common, Path(values["root"]))
            for name in filter(None, values.get("table", "").split(",")):
                assert check_table(Path(values["runs"]), runs, name).rows, line
            row_names(runs, [*filter(None, values.get("only", "").split(","))])
        if words[0] == "-m" and words[1] not in ("hsjax.bench", "hsjax.audit"):
            found = parsed(words[1], words[2:])
            if words[1] == "hsjax.main":
                check_choices(found.config)
    assert seen >= {"launch/sweep.py", "hsjax.robustness", "hsjax.main", "hsjax.bench"}


def stores_named(config):
    """Folders below features/ that a run on this config opens."""
    found = {*stores_of(config).values(), config.model.head.labels}
    found |= {config.baseline.features} if config.task == "baseline" else set()
    return {name for name in found if name.startswith("features/")}


def list_runs(path):
    """The runs of a list as README starts them, or with nothing said."""
    ways = []
    for line in commands("text"):
        words = [x.removeprefix("--").partition("=")[::2] for x in shlex.split(line)]
        if ("runs", str(path)) in words:
            common = [value for key, value in words if key == "set"]
            ways.append((common, Path(dict(words)["root"])))
    return [
        run for way in ways or [((), Path("runs"))] for run in read_runs(path, *way)
    ]


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of flags
def test_every_store_that_a_run_opens_is_made_by_a_command(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    made, opened = set(), {}
    for line in (*commands(), *commands("text")):
        words = shlex.split(line.split("&&")[-1])
        if words[:3] != ["python", "-m", "hsjax.main"]:
            continue
        values = parsed("hsjax.main", words[3:])
        if values.config.task == "extract":
            made |= {values.workdir}
            made |= {f"{values.workdir}/pca"} if values.config.extract.pca else set()
        elif values.config.task in ("train", "baseline"):
            opened |= dict.fromkeys(stores_named(values.config), line)
    for path in sorted(Path("configs").rglob("*.jsonl")):
        for run in list_runs(path):
            place = f"{path}: {run.name}"
            opened |= dict.fromkeys(stores_named(run.config), place)
    assert {"features/title", "features/image/pca", "features/simclr_low"} <= {*opened}
    assert {name: by for name, by in opened.items() if name not in made} == {}


@pytest.mark.slow
def test_the_quickstart_learns_what_can_be_learnt(folder):
    """At full length: near the best possible, beyond what one modality can tell."""
    line = next(x for x in commands() if "configs/quickstart.py" in x)
    command = shlex.split(line.split("&&")[-1])
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((folder / "runs/quickstart/report.json").read_text())
    best = {k: v["level3"] for k, v in found["context"]["bayes_accuracy"].items()}
    reached = found["metrics"]["level3/accuracy"]
    assert reached > best["catalogue"] - 0.05
    assert reached > max(best["text"], best["image"]) + 0.1


@pytest.mark.slow
def test_every_command_of_the_readme_runs(folder, bert, resnet):
    shutil.copytree(bert, folder / "encoders/minilm")
    shutil.copytree(resnet, folder / "encoders/resnet50")
    ran = 0
    for line in commands():
        command = shlex.split(line.split("&&")[-1])
        if command[:2] != ["python", "-m"]:
            continue
        tiny = TINY if command[2] == "hsjax.main" else []
        done = subprocess.run(
            [sys.executable, *command[1:], *tiny],
            cwd=folder,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (
            f"{line}\n{done.stdout[-500:]}{done.stderr[-2000:]}"
        )
        for output in re.findall(r"--(?:workdir|output)=(\S+)", line):
            made = folder / output
            assert made.is_file() or any(made.iterdir()), line
        ran += 1
    assert ran >= 8
    write_goods(folder, "unlabelled.csv", seed=2, labelled=False)
    readme = (ROOT / "README.md").read_text()
    scripts = re.findall(r"```python\n(import hsjax.*?)```", readme, re.DOTALL)
    printed = (
        "print(len(answers), answers.topk_codes[0], answers.notes)",
        "print(len(answers.id), answers.topk_codes[0], answers.confident[:3])",
    )
    told = []
    for script, last in zip(scripts, printed, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", script + last],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        told.append(done.stdout)
    assert told[0].startswith("1 "), told  # its photo is not there
    assert "boots.jpg" in told[0]
    assert told[1].startswith("15"), told  # 150 products and their repeats
    assert (folder / "flaws.csv").is_file()
