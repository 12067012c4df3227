"""A row of a table: the runs that stand behind it, and what they measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.evaluation.comparison_sides import as_decode
from hsjax.evaluation.paired import known_values
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.evaluation.rarity import common_counts
from hsjax.evaluation.report_files import read_report


class Row(NamedTuple):
    """One model of a table.

    Attributes:
      name: of the row.
      folders: with `report.json` and `predictions.parquet`, one per seed that is done.
      planned: how many seeds there will be.
      reference: name of the row that it is compared with, '' = none.
      missing: why nothing is done, '' = no word about it.
      decode: of `predictions.parquet` that is looked at; '' = the answer, as reported.
    """

    name: str
    folders: tuple[Path, ...]
    planned: int
    reference: str = ""
    missing: str = ""
    decode: str = ""


def read_answers(row: Row) -> list[Predictions]:
    """Of each run; CatalogueError: they have no such decode, or cannot be read."""
    paths = [folder / "predictions.parquet" for folder in row.folders]
    found = [read_predictions(path) for path in paths]
    return [as_decode(p, row.decode) for p in found] if row.decode else found


def row_values(row: Row, metrics: Sequence[str]) -> dict[str, list[float]]:
    """Metric -> its values in the reports of a row, where it was measured.

    Of a decode of its own they are measured anew, as a report has but a few of it.

    Raises:
      CatalogueError: see `read_report` and `read_answers`.
    """
    if row.decode:
        of_runs = _of_decode(row, metrics)
    else:
        of_runs = [reported(folder) for folder in row.folders]
    return {name: [of[name] for of in of_runs if name in of] for name in metrics}


def reported(folder: Path) -> dict[str, float]:
    """The metrics of a report that were measured."""
    found = read_report(folder).get("metrics", {})
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_decode(row: Row, metrics: Sequence[str]) -> list[dict[str, float]]:
    options = {"train_counts": common_counts(row.folders)}
    return [known_values(answers, metrics, **options) for answers in read_answers(row)]
