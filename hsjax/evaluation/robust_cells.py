"""What was measured of each run under each damage, as it was measured."""

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped

from hsjax.evaluation.comparison_tables import mean_cell, shown_bounds
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
      counts: of metrics that are shares of rows, what each row adds above and below.
    """

    row: str
    run: str
    condition: str
    metrics: Mapping[str, float]
    seed: int = 0
    counts: Mapping[str, Integer[np.ndarray, "2 N"]] = MappingProxyType({})


class Facts(NamedTuple):
    """What cells do not tell of themselves.

    Attributes:
      references: row -> the row that it is compared with, where both were asked the
        same products.
      shares: condition -> share of the products that it hits, where it is one of those
        that do nothing else.
      scenarios: condition -> how people call it.
      levels: level -> how it is called, from 1.
      labels: where the labels come from, behind a title.
      asked: row -> what tells its products and labels from others'.
      groups: row -> (N,) group of each of them.
      notes: what is not compared, and why, a sentence each.
    """

    references: Mapping[str, str] = MappingProxyType({})
    shares: Mapping[str, float] = MappingProxyType({})
    scenarios: Mapping[str, str] = MappingProxyType({})
    levels: Mapping[int, str] = MappingProxyType({})
    labels: str = ""
    asked: Mapping[str, str] = MappingProxyType({})
    groups: Mapping[str, Shaped[np.ndarray, "N"]] = MappingProxyType({})
    notes: tuple[str, ...] = ()


class Cells:
    """Measured cells in a file, one JSON object a line.

    Args:
      same: what has to be equal for a held cell to count: part, rows, seed, figures and
        the strengths of the damages.
    """

    def __init__(self, path: Path, same: Mapping):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._same = dict(same)
        self._held: dict[tuple[str, str, str], dict] = {}
        text = path.read_text() if path.exists() else ""
        if text and not text.endswith("\n"):  # cut off: the next one begins a line
            path.write_text(text + "\n")
        for line in text.splitlines():
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
        counts = {name: _unpacked(text) for name, text in held["counts"].items()}
        told = (run.row, run.name, condition, held["metrics"], run.config.seed)
        return Cell(*told, counts)

    def add(
        self, run, mark: str, condition: str, metrics: Mapping, counts: Mapping
    ) -> None:
        """Keeps a cell, see `Cell`; counts are below 128."""
        cell = {"run": run.name, "mark": mark, "condition": condition, **self._same}
        cell["metrics"] = dict(metrics)
        cell["counts"] = {name: _packed(x) for name, x in counts.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        self._held[run.name, mark, condition] = cell


def _packed(counts: Integer[np.ndarray, "2 N"]) -> str:
    return b64encode(zlib.compress(counts.astype(np.int8).tobytes())).decode()


def _unpacked(text: str) -> Integer[np.ndarray, "2 N"]:
    return np.frombuffer(zlib.decompress(b64decode(text)), np.int8).reshape(2, -1)


def by_row(cells: Sequence[Cell]) -> Values:
    """The cells of the runs of each row together."""
    values: dict = {}
    for cell in cells:
        of = values.setdefault(cell.row, {}).setdefault(cell.condition, {})
        for name, value in cell.metrics.items():
            of.setdefault(name, {})[cell.seed] = value
    return values


def metrics_of(values: Values) -> set[str]:
    """Those that are known of any run: a level may have no row."""
    return {
        name
        for of in values.values()
        for found in of.values()
        for name, by_seed in found.items()
        if any(math.isfinite(x) for x in by_seed.values())
    }


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
    """Mean over the runs of a row, see `seed_interval` and `shown_bounds`."""
    found = found_of(values, row, condition, metric)
    return shown_bounds(metric, seed_interval(found))


def told_cell(values: Values, row: str, condition: str, metric: str) -> str:
    """The mean over the runs of a row with its bounds, a dash where there is none."""
    found = found_of(values, row, condition, metric)
    interval = seed_interval(found)
    return mean_cell(metric, interval, len(found)) if found else DASH
