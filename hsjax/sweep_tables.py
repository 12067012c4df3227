"""Tables of a list of runs: rows against a reference, learning curves, series."""

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from hsjax.evaluation.audit_facts import read_report
from hsjax.evaluation.audit_table import audit_models
from hsjax.evaluation.budget_report import Trial, write_budget
from hsjax.evaluation.comparison import MAIN_METRICS
from hsjax.evaluation.comparison_report import write_comparison
from hsjax.evaluation.comparison_rows import Row, compare_rows
from hsjax.evaluation.learning_curves import Training, write_curves
from hsjax.evaluation.metrics import digit_aliases, labelled, measured_levels
from hsjax.evaluation.predictions import read_predictions
from hsjax.evaluation.series_report import write_series
from hsjax.spelling import meant
from hsjax.sweep_jobs import ASKED, is_scored
from hsjax.sweeps import NAME, Run, is_done_below, row_names
from hsjax.table_files import Table, definition, read_table
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import ConfigError, WorkdirError, other_settings

log = logging.getLogger(__name__)

Blocks = dict[str, dict[str, str]]  # title -> metric -> heading


def check_table(path: Path, runs: Sequence[Run], name: str) -> Table:
    """The definition of a table, before anything is run for it.

    Args:
      path: of the list of runs; see `table_files.definition`.

    Raises:
      ConfigError: see `read_table`.
    """
    if not NAME.fullmatch(name) or "/" in name:
        raise ConfigError(
            f"--table={name}: a name of letters, digits, '.', '-' and '_'"
        )
    return read_table(definition(path, name), row_names(runs))


def make_table(path: Path, runs: Sequence[Run], root: Path, name: str) -> str:
    """Writes ROOT/NAME.md, .csv and .png of what is done, and returns the Markdown.

    Without a definition of that name the table is of the evaluation NAME, if there is
    one, and else of the runs' own reports.

    Args:
      path: of the list of runs; see `table_files.definition`.

    Raises:
      ConfigError: an unknown field, row or metric of the definition, nothing is done,
        or a report has figures that cannot be.
    """
    table = _defined(path, runs, root, name)
    done = {run.name for run in runs if is_done_below(root, run)}
    if not any(run.row in table.rows for run in runs if run.name in done):
        told = _done_otherwise([run for run in runs if run.row in table.rows], root)
        raise ConfigError(f"--table={name}: no run of it is done in {root}{told}")
    runs = [run for run in runs if run.row in table.rows]
    if table.curves:
        return _curves(table, runs, root, name, done)
    rows = [_row(wanted, runs, root, table, done) for wanted in table.rows]
    folders = [folder for row in rows for folder in row.folders]
    if not folders:
        raise ConfigError(
            f"--table={name}: no run of it has {table.folder}/report.json;"
            f" --evaluate={table.folder}='ARGUMENTS' makes it"
        )
    for folder in folders:
        _check_possible(folder / "report.json")
    title = table.title + labels_told(folders)
    blocks = _blocks(table, folders)
    _check_metrics(blocks, folders, name)
    headings = _flat(blocks)
    told = {"title": title, "headings": headings}
    if table.budget:
        return _budget(table, runs, root, name, done, told)
    comparison = compare_rows(rows, list(headings))
    if table.series:
        told |= {"series": table.series, "x": table.x}
        return write_series(comparison, root / name, **told)
    told["blocks"] = blocks if table.levels else None
    return write_comparison(comparison, root / name, **told)


def _defined(path: Path, runs: Sequence[Run], root: Path, name: str) -> Table:
    """A table by its file, or without one what it shows then."""
    table = check_table(path, runs, name)
    if definition(path, name).is_file():
        return table
    if any((root / run.name / name / ASKED).exists() for run in runs):
        return table._replace(folder=name)  # of the evaluation of that name
    log.warning(
        "--table=%s: there is no %s, so it has all rows and the main metrics",
        *(name, path.with_suffix("") / f"{name}.json"),
    )
    return table


def _done_otherwise(runs: Sequence[Run], root: Path) -> str:
    """What the first run that has a report was trained with instead."""
    for run in runs:
        workdir = root / run.name
        with contextlib.suppress(WorkdirError, OSError):
            if (workdir / "report.json").exists():
                keys = other_settings(run.config, workdir)
                return f"; {workdir} has a report of {', '.join(keys)}" if keys else ""
    return ""


def labels_told(folders: Iterable[Path]) -> str:
    """` (labels: ...)` where reports say where their labels come from, '' otherwise."""
    reports = (_report(folder) for folder in folders)
    found = [report.get("label_source") for report in reports]
    told = dict.fromkeys(str(source) for source in found if source)
    return f" (labels: {'; '.join(told)})" if told else ""


def _check_possible(path: Path) -> None:
    """ConfigError: no predictions can have given these figures; see `audit`."""
    audits = audit_models(*read_report(path))
    findings = [x.sentence for audit in audits for x in audit.findings]
    if findings:
        raise ConfigError(f"{path} cannot be: {findings[0]}")


def _row(name: str, runs: Sequence[Run], root: Path, table: Table, done) -> Row:
    """A row, as it is called, with the folders of its runs that are done."""
    members = [run for run in runs if run.row == name]
    workdirs = [root / run.name for run in members if run.name in done]
    folders = [w / table.folder for w in workdirs if _is_current(w / table.folder, w)]
    reference = table.rows.get(members[0].reference, "")
    return Row(table.rows[name], tuple(folders), len(members), reference)


def _is_current(folder: Path, workdir: Path) -> bool:
    """Is there a report to read, of the run as it is trained now?"""
    if not (folder / "report.json").exists():
        return False
    if folder != workdir and not is_scored(folder, workdir):
        log.warning(
            "%s is older than its run, and left out: --evaluate makes it anew", folder
        )
        return False
    return True


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def _blocks(table: Table, folders: Sequence[Path]) -> Blocks:
    """What is shown, by level where the table is one of levels."""
    found = (measured_levels(_report(folder)["metrics"]) for folder in folders)
    there = sorted(set().union(*found))
    if not there:
        raise ConfigError(f"{table.title}: no level is scored, as no class is trained")
    if not table.metrics:
        names = [f"level{max(there)}/{name}" for name in MAIN_METRICS]
        return {"": {name: name for name in (*names, "hierarchical/f1")}}
    if not table.levels:
        return {"": dict(table.metrics)}
    levels = {(0,): there, (-1,): there[-1:]}.get(table.levels, list(table.levels))
    if gone := set(levels) - set(there):
        raise ConfigError(f"{table.title}: level {min(gone)} is not one of {there}")
    called, blocks = _level_names(folders[0]), {}
    of = {n: h for n, h in table.metrics.items() if "/" not in n}
    for level in levels:
        title = called.get(f"level{level}", f"Level {level}")
        blocks[title] = {f"level{level}/{name}": h for name, h in of.items()}
    rest = {n: h for n, h in table.metrics.items() if "/" in n}
    return blocks | ({"Whole paths": rest} if rest else {})


def _level_names(folder: Path) -> dict[str, str]:
    """`level2` -> `4 digits`, where codes are HS digits."""
    truth = labelled(read_predictions(folder / "predictions.parquet"))
    aliases = digit_aliases(truth.truth, truth.separator)
    return {
        level: f"{alias.removeprefix('digits')} digits"
        for alias, level in aliases.items()
    }


def _flat(blocks: Blocks) -> dict[str, str]:
    """Metric -> heading that stands alone."""
    return {
        metric: f"{title}: {heading}" if title else heading
        for title, of in blocks.items()
        for metric, heading in of.items()
    }


def _check_metrics(blocks: Blocks, folders: Sequence[Path], name: str) -> None:
    known = set().union(*(_report(folder)["metrics"] for folder in folders))
    for metric in _flat(blocks):
        if metric not in known:
            raise ConfigError(
                f"--table={name}: no report has the metric {metric!r}."
                f"{meant(metric, known)}"
            )


def _curves(table: Table, runs: Sequence[Run], root: Path, name: str, done) -> str:
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


def _budget(table: Table, runs, root: Path, name: str, done, told) -> str:
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
    return Trial(sign * best["value"], _report(folder)["metrics"])


def _training(run: Run, workdir: Path) -> Training:
    facts = _report(workdir)["context"].get("catalogue", {})
    epoch = facts.get("train rows", 0) / run.config.data.batch_size
    return Training(read_metrics(workdir / "metrics.jsonl"), epoch)
