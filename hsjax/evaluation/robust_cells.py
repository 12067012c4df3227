"""What was measured of each run under each damage, as it was measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

CLEAN = "clean"


class Cell(NamedTuple):
    """The metrics of a run under one condition.

    Attributes:
      row: of the table; run: one seed of it.
      condition: `clean`, or NAME@SEVERITY.
    """

    row: str
    run: str
    condition: str
    metrics: Mapping[str, float]


class Cells:
    """Measured cells in a file, one JSON object a line.

    Args:
      same: what has to be equal for a held cell to count: part, rows and seed.
    """

    def __init__(self, path: Path, same: Mapping):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._same = dict(same)
        self._held: dict[tuple[str, str, str], dict] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                cell = json.loads(line)
            except ValueError:
                continue  # cut off while it was written
            if all(cell.get(name) == value for name, value in self._same.items()):
                self._held[cell["run"], cell["mark"], cell["condition"]] = cell

    def found(self, run, mark: str, condition: str) -> Cell | None:
        held = self._held.get((run.name, mark, condition))
        if held is None:
            return None
        return Cell(run.row, run.name, condition, held["metrics"])

    def add(self, run, mark: str, condition: str, metrics: Mapping) -> None:
        cell = {"run": run.name, "mark": mark, "condition": condition, **self._same}
        cell["metrics"] = dict(metrics)
        with self._path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        self._held[run.name, mark, condition] = cell
