"""Rows of a sweep: each over its seeds, and each against its reference row.

A difference has two intervals that are never mixed. Resampled groups say how much the
scored products decide, Welch's t how much the seeds do. It is called significant only
where neither of those that could be measured holds 0.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from hsjax.data.records import CatalogueError
from hsjax.evaluation.intervals import MIN_RUNS, Interval, seed_interval, verdict
from hsjax.evaluation.paired import known_values, paired_difference
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.evaluation.rarity import common_counts
from hsjax.evaluation.row_order import align
from hsjax.evaluation.table_rows import Row, read_answers, reported, row_values


class Figure(NamedTuple):
    """A metric of a row.

    Attributes:
      runs: seeds in which the metric was measured.
      mean: over these, see `intervals.seed_interval`.
      paired: mean minus that of the reference row with the 95 % interval over resampled
        groups of products; None = not compared.
      seeds: the same with Welch's 95 % interval over the seeds; None = a side has fewer
        than 3 runs. Of two decodes of the same runs it is the t-interval of their
        differences. Where each seed has rows of its own, both are the mean over the
        seeds of one run minus the other, with its t-interval: see `seed_pairs`.
    """

    runs: int
    mean: Interval
    paired: Interval | None = None
    seeds: Interval | None = None

    @property
    def verdict(self) -> str:
        """`yes`, `no`, `yes, by rows alone`, or '' where nothing is compared."""
        return "" if self.paired is None else verdict(self.paired, self.seeds)


class Comparison(NamedTuple):
    """What a table shows.

    Attributes:
      rows: in order.
      figures: row -> metric -> figure.
      notes: why something is not compared, a sentence each.
    """

    rows: tuple[Row, ...]
    figures: dict[str, dict[str, Figure]]
    notes: list[str]

    @property
    def over_seeds(self) -> str:
        """What the intervals of differences over the seeds are, in words."""
        if any(row.decode for row in self.rows):
            return "Student's t over the differences of each run"
        return "Welch's t over the runs"


def compare_rows(
    rows: Sequence[Row], metrics: Sequence[str], *, count: int = 1000
) -> Comparison:
    """Each row over its seeds, and its difference from its reference row.

    Means are those of the reports. Differences come from the predictions, so that both
    sides are resampled together; they are missing where a metric cannot be computed
    from a file (retrieval), and where the rows were scored on other products.

    Args:
      metrics: names as in report.json.
      count: resamples of groups.

    Raises:
      CatalogueError: a reference that is no row, or a report that cannot be read.
    """
    by_name = {row.name: row for row in rows}
    values = {row.name: row_values(row, metrics) for row in rows}
    figures: dict[str, dict[str, Figure]] = {}
    notes: list[str] = []
    held: dict[str, list[Predictions]] = {}  # of references, which come back
    for row in rows:
        if row.reference and row.reference not in by_name:
            raise CatalogueError(
                f"{row.name}: its reference {row.reference!r} is no row of the table"
            )
        own = values[row.name]
        figures[row.name] = {
            n: Figure(len(v), seed_interval(v)) for n, v in own.items()
        }
        other = by_name.get(row.reference, row)
        if other is row or not (row.folders and other.folders):
            continue
        try:
            if other.name not in held:
                held[other.name] = read_answers(other)
            sides = read_answers(row), held[other.name]
            found = _differences(row, other, sides, metrics, count)
        except CatalogueError as error:
            pairs = seed_pairs(row, other, metrics)
            notes.append(_told_pairs(row, other, error, bool(pairs)))
            both = {name: (pair, pair) for name, pair in pairs.items()}
        else:
            there = values[other.name]
            over = own_differences if _same_runs(row, other) else seed_difference
            both = {n: (p, over(own[n], there[n])) for n, p in found.items()}
        for name, (paired, seeds) in both.items():
            plain = figures[row.name][name]
            figures[row.name][name] = plain._replace(paired=paired, seeds=seeds)
    return Comparison(tuple(rows), figures, notes)


def seed_difference(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """mean(a) - mean(b) with Welch's 95 % t-interval; None below 3 runs a side.

    >>> [round(x, 3) for x in seed_difference([0.80, 0.82, 0.84], [0.7, 0.7, 0.7])]
    [0.12, 0.07, 0.17]
    """
    if min(len(a), len(b)) < MIN_RUNS:
        return None
    value = float(np.mean(a) - np.mean(b))
    parts = [np.var(x, ddof=1) / len(x) for x in (a, b)]
    error = sum(parts)
    if error == 0:  # runs without chance
        return Interval(value, value, value)
    below = sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
    half = float(stats.t.ppf(0.975, error**2 / below) * math.sqrt(error))
    return Interval(value, value - half, value + half)


def own_differences(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """mean(a - b) of two answers of each run, with a 95 % t-interval; None below 3."""
    if len(a) < MIN_RUNS:
        return None
    return seed_interval([x - y for x, y in zip(a, b, strict=True)])


def seed_pairs(row: Row, other: Row, metrics: Sequence[str]) -> dict[str, Interval]:
    """Metric -> the mean difference of the runs of one seed; {} below 3 seeds.

    For runs that draw their own catalogue by their seed, and for those whose report has
    no answer for each product, such as clusters. Where both runs of a seed have answers
    they have to be for the same products.
    """
    mine, theirs = ({_seed(x): x for x in side.folders} for side in (row, other))
    pairs = [(mine[seed], theirs[seed]) for seed in mine if seed in theirs]
    if len(pairs) < MIN_RUNS or not all(_same_products(*pair) for pair in pairs):
        return {}
    found = {}
    values = [[reported(folder) for folder in pair] for pair in pairs]
    for name in metrics:
        both = [(a[name], b[name]) for a, b in values if name in a and name in b]
        if len(both) >= MIN_RUNS:
            found[name] = seed_interval([a - b for a, b in both])
    return found


def _seed(folder: Path) -> str:
    """`seed3` of ROOT/ROW/seed3, and of an evaluation below it; '' without one."""
    parts = reversed(folder.parts)
    return next((part for part in parts if part.startswith("seed")), "")


def _told_pairs(row: Row, other: Row, error: CatalogueError, paired: bool) -> str:
    if not paired:
        return f"{row.name} is not compared with {other.name}: {error}."
    return (
        f"{row.name} − {other.name}: each seed has products of its own, or reports say"
        " nothing of each product, so that runs of one seed are subtracted and the"
        " interval is Student's t over the seeds."
    )


def _same_runs(row: Row, other: Row) -> bool:
    """Are these two decodes of the same runs, so that each run is its own pair?"""
    return bool(row.decode and other.decode) and row.folders == other.folders


def _same_products(one: Path, other: Path) -> bool:
    """Have both no answers, or answers for the same rows?"""
    paths = [folder / "predictions.parquet" for folder in (one, other)]
    there = [path.exists() for path in paths]
    if not all(there):
        return not any(there)
    try:
        align(*map(read_predictions, paths))
    except CatalogueError:
        return False
    return True


def _differences(
    row: Row, other: Row, sides, metrics: Sequence[str], count: int
) -> dict[str, Interval]:
    """Paired differences of the metrics that both sides can be measured by."""
    same = common_counts((*row.folders, *other.folders))
    names = list(metrics)
    for side in sides:
        names = list(known_values(side[0], names, train_counts=same))
    if not names:
        return {}
    return paired_difference(*sides, names, count=count, train_counts=same)
