"""Every notebook runs from top to bottom, from a clean kernel."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from runs import ROOT

NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
# in place of their parameters; what has none is quick enough
SMALL = {
    "many_devices": "steps, products = 8, 200",
    "recategorization": "products, epochs = 700, 1.0",
    "robustness_and_cascade": "products, epochs, rows = 250, 1.0, 20",
    "your_own_catalogue": "products, epochs = 250, 1.0",
}
# what the last steps leave behind
LEFT = {
    "many_devices": ("runs/eight/report.md", "runs/two/report.md"),
    "recategorization": ("runs/found/report.md", "refined/taxonomy.json"),
    "robustness_and_cascade": ("damaged/robustness.md", "cascade/report.md"),
    "your_own_catalogue": ("codes.parquet", "artefact/artefact.json"),
}
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
LONG = [path for path in NOTEBOOKS if path.stem in SMALL]


def run_notebook(path: Path, folder: Path, *, parameters: str | None) -> None:
    notebook = nbformat.read(path, as_version=4)
    replaced = 0
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()) and parameters:
            cell.source, replaced = parameters, replaced + 1
    assert replaced == bool(parameters)
    client = NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(folder)}}
    )
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"}
    own["JAX_COMPILATION_CACHE_DIR"] = os.environ["HSJAX_TEST_COMPILED"]
    env = os.environ | own
    del env["JAX_NUM_CPU_DEVICES"]  # of the test run, not of a reader's machine
    client.execute(env=env)
    for name in LEFT.get(path.stem, ()):
        assert (folder / name).exists(), name


@pytest.mark.slow
@every_notebook
def test_notebook_runs_small(path, tmp_path):
    run_notebook(path, tmp_path, parameters=SMALL.get(path.stem))


@pytest.mark.slow
@pytest.mark.parametrize("path", LONG, ids=lambda p: p.stem)
def test_notebook_runs_as_written(path, tmp_path):
    run_notebook(path, tmp_path, parameters=None)


@every_notebook
def test_notebook_is_short_and_stored_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    codes = [cell for cell in cells if cell.cell_type == "code"]
    assert all(not c.get("outputs") and c.execution_count is None for c in codes)
    assert len(codes) <= 12
    # logic belongs into the package
    assert not [c for c in codes if re.search(r"\b(def|class|while|lambda) ", c.source)]
    assert cells[0].cell_type == "markdown"
    assert "except ImportError:\n    %pip install" in codes[0].source
    # a failure of `!` would pass unseen, and a pseudo-terminal forks under jax
    assert not [c for c in codes if re.search("(?m)^!", c.source)]


def test_the_readme_lists_every_notebook():
    listed = re.findall(r"\(colab/(\w+)\.ipynb\)", (ROOT / "README.md").read_text())
    assert sorted(listed) == [path.stem for path in NOTEBOOKS]
