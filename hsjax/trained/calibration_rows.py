"""Labelled rows that a calibration is fitted on, and others that it is judged by."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.inference.predict import Run
from hsjax.trained.asked_rows import (
    FLAWS,
    AskedRows,
    check_labelled,
    kept_back,
    other_rows,
    own_catalogue,
    own_rows,
)

VALIDATION, TEST = "val", "test"


class Asked(NamedTuple):
    """Labelled rows, and what they are called."""

    name: str
    rows: AskedRows


def calibration_rows(
    run: Run, workdir: Path, *, source: str | None, count: int, folder: Path
) -> tuple[Asked, Asked | None]:
    """Rows to fit on, and to judge by; None = there are no others.

    Of another file without the groups that the run was trained on, of which it is surer
    than of other products.

    Args:
      source: another file, None = the parts of the run's own catalogue.
      count: labelled rows of the file to fit on, 0 = all of them.
      folder: for the flaws of another file.

    Raises:
      CatalogueError, WorkdirError: the rows cannot be read, or have no labels.
    """
    if source is None:
        return _own(run.config, workdir)
    if not Path(source).exists():
        raise CatalogueError(f"--input={source}: no such file")
    found = other_rows(run.config, run, source, flaws=folder / FLAWS, workdir=workdir)
    check_labelled(found, source, {"input": source})
    found, without = _new_to_run(found, source, workdir)
    found.write_flaws(folder)
    labelled = f"labelled rows of {source}{without}"
    if not count:
        return Asked(labelled, found), None
    fit, rest = kept_back(found, count, f"{source}{without}", "rows")
    others = Asked(f"the other rows of {source}{without}", found.select(rest))
    return Asked(labelled, found.select(fit)), others


def _new_to_run(found: AskedRows, source: str, workdir: Path) -> tuple[AskedRows, str]:
    """The rows of groups that the run was not trained on, and what is left out.

    Raises:
      CatalogueError: no row with a label is among them.
    """
    if not (left_out := int(found.trained.sum())):
        return found, ""
    rows = found.select(np.flatnonzero(~found.trained))
    if not any(record.path for record in rows.records):
        raise CatalogueError(
            f"--input={source}: {workdir} was trained on its labelled rows, or on"
            " others of their groups, and is surer of them than of other products: name"
            " a file with others"
        )
    without = f", without {left_out:,} rows of groups that the run was trained on"
    found.quarantine.warn(f"--input={source}: calibrated{without}")
    return rows, without


def _own(config, workdir: Path) -> tuple[Asked, Asked | None]:
    catalogue = own_catalogue(config, workdir, None)
    if not len(catalogue.rows(VALIDATION)):
        raise CatalogueError(
            f"{config.data.path} has no validation part to fit on: give --input=FILE"
        )
    parts = [part for part in (VALIDATION, TEST) if len(catalogue.rows(part))]
    name = Path(config.data.path).name
    asked = [
        Asked(f"{name}, part {part}", own_rows(config, catalogue, part))
        for part in parts
    ]
    return asked[0], asked[1] if len(asked) > 1 else None
