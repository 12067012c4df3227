"""Labelled rows that a calibration is fitted on, and others that it is judged by."""

from pathlib import Path
from typing import NamedTuple

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
    found.write_flaws(folder)
    labelled = f"labelled rows of {source}"
    if not count:
        return Asked(labelled, found), None
    fit, rest = kept_back(found, count, source, "rows")
    others = Asked(f"the other rows of {source}", found.select(rest))
    return Asked(labelled, found.select(fit)), others


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
