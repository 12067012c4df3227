"""Tables of other kinds than rows against a reference: curves, budgets, stopping."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hsjax.evaluation.budget_report import Trial, write_budget
from hsjax.evaluation.learning_curves import Training, write_curves
from hsjax.evaluation.predictions import read_predictions
from hsjax.evaluation.report_files import read_report
from hsjax.evaluation.stopping import write_stopping
from hsjax.sweep.lists import Run
from hsjax.sweep.table_files import Table
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import ConfigError


def make_curves(table: Table, runs: Sequence[Run], root: Path, name: str, done) -> str:
    """Learning curves of the runs that are done."""
    rows: dict[str, list[Training]] = {}
    folders = []
    for row, called in table.rows.items():
        members = [run for run in runs if run.row == row and run.name in done]
        rows[called] = [_training(run, root / run.name) for run in members]
        folders += [root / run.name for run in members]
    return write_curves(
        rows,
        root / name,
        title=table.title + labels_told(folders),
        curves=table.curves,
        axis=table.x,
    )


def make_budget(table: Table, runs, root: Path, name: str, done, told) -> str:
    """Trials of each model: every run of its rows that is done."""
    models = {}
    for model, rows in table.budget.items():
        tried = [root / r.name for r in runs if r.row in rows and r.name in done]
        if not tried:
            raise ConfigError(f"--table={name}: no trial of {model} is done in {root}")
        models[model] = [_trial(folder) for folder in tried]
    return write_budget(models, root / name, **told)


def _trial(folder: Path) -> Trial:
    path = folder / "best.json"
    if not path.exists():
        raise ConfigError(f"{path} is missing: a baseline is no trial of a budget")
    best = json.loads(path.read_text())
    sign = -1 if best["monitor"] == "loss" else 1
    return Trial(sign * best["value"], read_report(folder)["metrics"])


def _training(run: Run, workdir: Path) -> Training:
    facts = read_report(workdir)["context"].get("catalogue", {})
    epoch = facts.get("train rows", 0) / run.config.data.batch_size
    return Training(read_metrics(workdir / "metrics.jsonl"), epoch)


def labels_told(folders: Iterable[Path]) -> str:
    """` (labels: ...)` where reports say where their labels come from, '' otherwise."""
    reports = (read_report(folder) for folder in folders)
    found = [report.get("label_source") for report in reports]
    told = dict.fromkeys(str(source) for source in found if source)
    return f" (labels: {'; '.join(told)})" if told else ""


def make_stopping(
    table: Table, rows: Mapping[str, Sequence[Path]], stem: Path, title: str
) -> str:
    """hP against hR of rows with their folders of predictions."""
    found = {
        name: [read_predictions(folder / "predictions.parquet") for folder in folders]
        for name, folders in rows.items()
    }
    return write_stopping(found, stem, title=title, targets=table.stopping)
