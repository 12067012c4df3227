"""What was measured of each run under each damage, as it was measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hsjax.evaluation.comparison_tables import mean_cell
from hsjax.evaluation.intervals import Interval, seed_interval
from hsjax.evaluation.markdown import DASH

CLEAN = "clean"

# row -> condition -> metric -> seed -> value
Values = Mapping[str, Mapping[str, Mapping[str, Mapping[int, float]]]]


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
    seed: int = 0


class Facts(NamedTuple):
    """What cells do not tell of themselves.

    Attributes:
      references: row -> the row that it is compared with.
      shares: condition -> share of the products that it hits, where it is one of those
        that do nothing else.
      scenarios: condition -> how people call it.
      levels: level -> how it is called, from 1.
      labels: where the labels come from, behind a title.
    """

    references: Mapping[str, str] = MappingProxyType({})
    shares: Mapping[str, float] = MappingProxyType({})
    scenarios: Mapping[str, str] = MappingProxyType({})
    levels: Mapping[int, str] = MappingProxyType({})
    labels: str = ""


class Cells:
    """Measured cells in a file, one JSON object a line.

    Args:
      same: what has to be equal for a held cell to count: part, rows, seed and figures.
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
        return Cell(run.row, run.name, condition, held["metrics"], run.config.seed)

    def add(self, run, mark: str, condition: str, metrics: Mapping) -> None:
        cell = {"run": run.name, "mark": mark, "condition": condition, **self._same}
        cell["metrics"] = dict(metrics)
        with self._path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        self._held[run.name, mark, condition] = cell


def by_row(cells: Sequence[Cell]) -> Values:
    """The cells of the runs of each row together."""
    values: dict = {}
    for cell in cells:
        of = values.setdefault(cell.row, {}).setdefault(cell.condition, {})
        for name, value in cell.metrics.items():
            of.setdefault(name, {})[cell.seed] = value
    return values


def metrics_of(values: Values) -> set[str]:
    return {name for of in values.values() for found in of.values() for name in found}


def conditions_of(values: Values) -> list[str]:
    return list(dict.fromkeys(name for of in values.values() for name in of))


def damages_of(values: Values) -> dict[str, list[str]]:
    """Damage -> its conditions, in order of severity."""
    found: dict[str, list[str]] = {}
    for condition in conditions_of(values):
        if condition != CLEAN:
            found.setdefault(condition.partition("@")[0], []).append(condition)
    return {name: sorted(of) for name, of in found.items()}


def found_of(values: Values, row: str, condition: str, metric: str) -> list[float]:
    """Values of the runs of a row, [] where nothing was measured."""
    return [*values.get(row, {}).get(condition, {}).get(metric, {}).values()]


def interval_of(values: Values, row: str, condition: str, metric: str) -> Interval:
    """Mean over the runs of a row, see `seed_interval`."""
    return seed_interval(found_of(values, row, condition, metric))


def told_cell(values: Values, row: str, condition: str, metric: str) -> str:
    """The mean over the runs of a row with its bounds, a dash where there is none."""
    found = found_of(values, row, condition, metric)
    interval = seed_interval(found)
    return mean_cell(metric, interval, len(found)) if found else DASH


def paired_by_seed(
    values: Values, row: str, reference: str, condition: str, metric: str
) -> tuple[Interval, int]:
    """(mean of row minus reference over the seeds that both have, how many they are).

    The interval is Student's t over the differences of the pairs, so that what a seed
    does to both sides cancels; see `seed_interval` for fewer than 3.
    """
    a, b = (
        values.get(r, {}).get(condition, {}).get(metric, {}) for r in (row, reference)
    )
    pairs = [a[seed] - b[seed] for seed in a if seed in b]
    return seed_interval(pairs), len(pairs)
