"""The README's commands, one after another, as a new user types them."""

import csv
import os
import re
import shlex
import subprocess
import sys

import pytest
from runs import ROOT, SMALL
from test_style import commands

from configs import base
from hsjax.data.synthetic import listings

TINY = [
    f"--config.{key}={value}"
    for key, value in SMALL.items()
    if not key.startswith("data.columns")
]


def write_goods(folder, name, *, seed):
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
        writer.writerow(["sku", "title", "material", "photo", "hs_code"])
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    """Where the README is read: the configs beside, the reader's catalogue inside."""
    readme = (ROOT / "README.md").read_text()
    (own,) = re.findall(r"```python\n(from configs .*?)```", readme, re.DOTALL)
    (tmp_path / "goods.py").write_text(own)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_goods(tmp_path, "goods.csv", seed=0)
    write_goods(tmp_path, "new_goods.csv", seed=1)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_readme_runs(folder):
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
            assert any((folder / output).iterdir()), line
        ran += 1
    assert ran >= 8
