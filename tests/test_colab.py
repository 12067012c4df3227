"""Every notebook runs from top to bottom."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

COLAB = Path(__file__).parent.parent / "colab"
NOTEBOOKS = sorted(COLAB.glob("*.ipynb"))
SMALL = {"train_a_tiny_model": "products, epochs = 300, 1.0"}


def run_notebook(path: Path, tmp_path: Path, *, parameters: str | None) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()) and parameters:
            cell.source = parameters
        cell.source = cell.source.replace(
            'sys.path.insert(0, "..")', f'sys.path.insert(0, "{COLAB.parent}")'
        )
    client = NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=os.environ | {"PYTHONWARNINGS": "default"})
    failed = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "error"
    ]
    assert not failed
    assert (tmp_path / "runs" / "tiny" / "report.md").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_small(path, tmp_path):
    run_notebook(path, tmp_path, parameters=SMALL[path.stem])


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_as_written(path, tmp_path):
    run_notebook(path, tmp_path, parameters=None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_stored_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.get("outputs") for cell in cells)
    # logic belongs into the package
    assert all("def " not in c.source for c in cells if c.cell_type == "code")
