"""Tables of a list of runs: rows against a reference, learning curves, series."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.evaluation import audit_facts
from hsjax.evaluation.audit_table import audit_models
from hsjax.evaluation.comparison import MAIN_METRICS
from hsjax.evaluation.comparison_report import write_comparison
from hsjax.evaluation.comparison_rows import compare_rows
from hsjax.evaluation.metrics import digit_aliases, labelled, measured_levels
from hsjax.evaluation.predictions import read_predictions
from hsjax.evaluation.report_files import read_report
from hsjax.evaluation.series_report import write_series
from hsjax.evaluation.table_rows import Row, row_values
from hsjax.spelling import meant
from hsjax.sweep.discovery_table import are_discoveries, make_discoveries
from hsjax.sweep.jobs import ASKED, is_current
from hsjax.sweep.lists import NAME, Run, is_done_below, row_names
from hsjax.sweep.table_files import Table, definition, read_table
from hsjax.sweep.table_kinds import (
    labels_told,
    make_budget,
    make_curves,
    make_stopping,
)
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
    discovered = are_discoveries(table, runs)
    if table.curves:
        return make_curves(table, runs, root, name, done)
    rows = [_row(wanted, runs, root, table, done) for wanted in table.rows]
    folders = _folders(rows, table, name)
    if discovered:
        return make_discoveries(table, rows, root / name)
    for folder in folders:
        _check_possible(folder / "report.json")
    title = table.title + labels_told(folders)
    if table.stopping:
        of = {row.name: row.folders for row in rows}
        return make_stopping(table, of, root / name, title)
    blocks = _blocks(table, folders)
    if table.decodes:
        rows = [of for row in rows for of in _by_decode(row, table.decodes)]
        _check_measured(blocks, rows, name)
    else:
        _check_metrics(blocks, folders, name)
    headings = _flat(blocks)
    told = {"title": title, "headings": headings}
    if table.budget:
        return make_budget(table, runs, root, name, done, told)
    comparison = compare_rows(rows, list(headings))
    if table.series:
        told |= {"series": table.series, "x": table.x}
        return write_series(comparison, root / name, **told)
    told["blocks"] = blocks if table.levels else None
    return write_comparison(comparison, root / name, **told)


def _folders(rows: Sequence[Row], table: Table, name: str) -> list[Path]:
    """Of all rows; ConfigError: there are none."""
    folders = [folder for row in rows for folder in row.folders]
    if not folders:
        raise ConfigError(
            f"--table={name}: no run of it has {table.folder}/report.json;"
            f" --evaluate={table.folder}='ARGUMENTS' makes it"
        )
    return folders


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
            if run.config and (workdir / "report.json").exists():
                keys = other_settings(run.config, workdir)
                return f"; {workdir} has a report of {', '.join(keys)}" if keys else ""
    return ""


def _check_possible(path: Path) -> None:
    """ConfigError: no predictions can have given these figures; see `audit`."""
    audits = audit_models(*audit_facts.read_report(path))
    findings = [x.sentence for audit in audits for x in audit.findings]
    if findings:
        raise ConfigError(f"{path} cannot be: {findings[0]}")


def _row(name: str, runs: Sequence[Run], root: Path, table: Table, done) -> Row:
    """A row, as it is called, with the folders of its runs that are done."""
    members = [run for run in runs if run.row == name]
    workdirs = [root / run.name for run in members if run.name in done]
    folders = [w / table.folder for w in workdirs if _is_current(w / table.folder, w)]
    # a row that says why it is missing may be none of the list
    reference = table.rows.get(members[0].reference, "") if members else ""
    missing = "" if workdirs else table.missing.get(name, "")
    return Row(table.rows[name], tuple(folders), len(members), reference, missing)


def _by_decode(row: Row, decodes: Mapping[str, str]) -> list[Row]:
    """The row once for each decode, the first of which is the reference."""
    first, *_ = names = [f"{row.name}, {called}" for called in decodes.values()]
    pairs = zip(decodes, names, strict=True)
    same = {"reference": "", "missing": row.missing}
    found = [row._replace(**same, name=name, decode=decode) for decode, name in pairs]
    return [found[0], *(x._replace(reference=first) for x in found[1:])]


def _check_measured(blocks: Blocks, rows: Sequence[Row], name: str) -> None:
    """ConfigError: a metric that cannot be measured from the answers of any row."""
    row = next(row for row in rows if row.folders)
    for metric, values in row_values(row, list(_flat(blocks))).items():
        if not values:
            raise ConfigError(
                f"--table={name}: the answers of {row.name} do not give {metric!r}:"
                " write it as report.json has it, of the answer, such as path/accuracy"
            )


def _is_current(folder: Path, workdir: Path) -> bool:
    """Is there a report to read, of the run as it is trained now?"""
    if not (folder / "report.json").exists():
        return False
    if folder != workdir and not is_current(folder / "report.json", workdir):
        log.warning(
            "%s is older than its run, and left out: --evaluate makes it anew", folder
        )
        return False
    return True


def _blocks(table: Table, folders: Sequence[Path]) -> Blocks:
    """What is shown, by level where the table is one of levels."""
    there = sorted(set().union(*map(_scored_levels, folders)))
    if not there and (table.levels or not table.metrics):
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


def _scored_levels(folder: Path) -> list[int]:
    """Those that have a row, which the deepest ones of a tree may lack."""
    metrics = read_report(folder)["metrics"]
    return measured_levels(n for n, value in metrics.items() if value is not None)


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
    known = set().union(*(read_report(folder)["metrics"] for folder in folders))
    for metric in _flat(blocks):
        if metric not in known:
            raise ConfigError(
                f"--table={name}: no report has the metric {metric!r}."
                f"{meant(metric, known)}"
            )
