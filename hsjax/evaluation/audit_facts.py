"""What the auditor knows of the rows behind a table, and the figures of a report."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.audit import Facts, Figure
from hsjax.evaluation.audit_table import metric_name
from hsjax.evaluation.predictions import read_predictions


def facts_of(
    models: Mapping[str, Mapping[str, Figure]], told: Mapping[str, Mapping]
) -> dict[str, Facts]:
    """What is known of every level of a table.

    Args:
      told: level -> fields of `Facts`; '' = of all levels.

    Raises:
      CatalogueError: a level that the table has not, or a number that cannot be.
    """
    names = {name.rpartition("/")[0] for of in models.values() for name in of}
    levels = sorted(names - {"hierarchical"})
    for level, fields in told.items():
        if level and level not in levels:
            known = ", ".join(filter(None, levels)) or "none"
            raise CatalogueError(f"the table has no level {level!r}; known: {known}")
        if not all(x > 0 for x in fields.values()) or not fields.get("largest", 1) <= 1:
            raise CatalogueError(
                f"of {level or 'all levels'} is told {dict(fields)}: classes and items"
                " are 1 or more, and the largest class has a share of 0 to 1"
            )
    general = told.get("", {})
    return {level: Facts(**{**general, **told.get(level, {})}) for level in levels}


def read_report(path: Path) -> tuple[dict[str, dict[str, Figure]], dict[str, Facts]]:
    """The figures of a `report.json`, and what it knows of the rows.

    The class shares come from the predictions beside it, where there are any.

    Raises:
      CatalogueError: no such file, or it is no report.
    """
    try:
        report = json.loads(path.read_text())
        metrics, run = report["metrics"], report["context"]["run"]
        figures = {
            name: Figure(value - 1e-9, value + 1e-9, f"{value:.6g}")
            for name, value in metrics.items()
            if value is not None and metric_name(name) == name and "digits" not in name
        }
        levels = {name.rpartition("/")[0] for name in figures} - {"hierarchical"}
        counts = {
            level: {x: int(metrics[f"count/{level}_{x}"]) for x in ("classes", "rows")}
            for level in levels
        }
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"{path}: no report of a run: {error!r}") from None
    predictions = path.with_name("predictions.parquet")
    shares = _shares(predictions) if predictions.exists() else {}
    facts = {x: Facts(**counts[x], shares=shares.get(x)) for x in levels}
    return {str(run): figures}, facts


def _shares(path: Path) -> dict[str, np.ndarray]:
    """Class shares of each level."""
    truth = read_predictions(path).truth
    found = {}
    for level in range(truth.shape[1]):
        codes = truth[:, level]
        counts = np.unique(codes[codes != ""], return_counts=True)[1]
        found[f"level{level + 1}"] = counts / counts.sum()
    return found
