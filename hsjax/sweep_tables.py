"""Tables of a list of runs, their definitions as files that are committed."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.evaluation.comparison import MAIN_METRICS
from hsjax.evaluation.comparison_report import write_comparison
from hsjax.evaluation.comparison_rows import Row, compare_rows
from hsjax.sweeps import Run, is_done_below, meant, read_object
from hsjax.train.workdir import ConfigError

TABLE_FIELDS = ("title", "rows", "metrics", "folder")


class Table(NamedTuple):
    """What a table shows.

    Attributes:
      title: its first line.
      rows: in order.
      metrics: metric -> heading; empty = the main ones of the deepest level.
      folder: below each run, with the report to read; '' = the run's own.
    """

    title: str
    rows: tuple[str, ...]
    metrics: dict[str, str]
    folder: str = ""


def read_table(path: Path, rows: Sequence[str]) -> Table:
    """NAME.json beside the runs; without one all rows and the main metrics.

    Args:
      rows: that there are.

    Raises:
      ConfigError: an unknown field or row.
    """
    if not path.is_file():
        return Table(path.stem, tuple(rows), {})
    found = read_object(path.read_text(), str(path), TABLE_FIELDS)
    for name in found.get("rows", []):
        if name not in rows:
            raise ConfigError(f"{path}: {name!r} is no row.{meant(name, rows)}")
    return Table(
        found.get("title", path.stem),
        tuple(found.get("rows", rows)),
        dict(found.get("metrics", {})),
        found.get("folder", ""),
    )


def make_table(path: Path, runs: Sequence[Run], root: Path, name: str) -> str:
    """Writes ROOT/NAME.md, .csv and .png of what is done, and returns the Markdown.

    Args:
      path: of the runs; NAME.json beside it may say what is shown.

    Raises:
      ConfigError: an unknown field or row of the definition, or nothing is done.
    """
    names = list(dict.fromkeys(run.row for run in runs))
    table = read_table(path.with_name(f"{name}.json"), names)
    rows = [_row(wanted, runs, root, table) for wanted in table.rows]
    folders = [folder for row in rows for folder in row.folders]
    if not folders:
        raise ConfigError(f"--table={name}: no run of it is done in {root}")
    headings = table.metrics or _main_metrics(folders[0])
    comparison = compare_rows(rows, list(headings))
    return write_comparison(
        comparison, root / name, title=table.title, headings=headings
    )


def _row(name: str, runs: Sequence[Run], root: Path, table: Table) -> Row:
    """A row with the folders of its runs that are done."""
    members = [run for run in runs if run.row == name]
    done = [
        root / run.name / table.folder
        for run in members
        if is_done_below(root, run)
        and (root / run.name / table.folder / "report.json").exists()
    ]
    reference = members[0].reference
    shown = reference if reference in table.rows else ""
    return Row(name, tuple(done), len(members), shown)


def _main_metrics(folder: Path) -> dict[str, str]:
    """Metric -> heading: those of the deepest level, and hF1."""
    found = json.loads((folder / "report.json").read_text())["metrics"]
    levels = [int(m[1]) for m in (re.match(r"level(\d+)/", n) for n in found) if m]
    names = [f"level{max(levels)}/{name}" for name in MAIN_METRICS]
    return {name: name for name in (*names, "hierarchical/f1")}
