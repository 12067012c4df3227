"""One scored file in parts: the same report for each value of a column.

Nothing is answered again. The groups that intervals resample are those of the whole
file.
"""

import contextlib
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.markdown import cell, table
from hsjax.evaluation.metrics import digit_aliases, labelled
from hsjax.evaluation.predictions import Predictions
from hsjax.progress import progress

FOLDER = "by"  # of the parts, below that of the report
MOST = 50  # values; a column of more is hardly one to compare by
LETTERS = 80  # of a folder's name
# of a value that another call has left there
FILES = ("report.json", "report.md", "predictions.parquet")
FILES += ("reliability.png", "confusion.png")
NOTE = (
    "The rows of each value apart, each with a report of its own in `by/`. Intervals"
    " resample the groups of the file."
)


class Parts(NamedTuple):
    """Rows by what they have in a column.

    Attributes:
      values: (N,) of the rows, '' = nothing.
      folders: value -> name of its folder, sorted by value.
    """

    column: str
    values: np.ndarray
    folders: dict[str, str]


def parts_by(column: str, values: Sequence[str], output: Path) -> Parts:
    """The parts of a file by what its rows have in a column.

    Raises:
      CatalogueError: more than `MOST` values, or the folder of one is a run's.
    """
    different = sorted(set(values))
    if len(different) > MOST:
        raise CatalogueError(
            f"--by={column}: {len(different):,} different values in {len(values):,}"
            f" rows, more than {MOST}; it may be an id: name a column of few values"
        )
    parts = Parts(column, np.array(values, object), folder_names(different))
    for name in parts.folders.values():
        if (output / FOLDER / name / "config.json").exists():
            raise CatalogueError(
                f"{output / FOLDER / name} is a workdir of a run; take another --output"
            )
    return parts


def folder_names(values: Sequence[str]) -> dict[str, str]:
    """Value -> a name that any file system takes, no two alike; '' is `none`.

    >>> folder_names(["", "A/B", "a:b", "none", "real-goods"]).values()
    dict_values(['none', 'A_B', 'a_b-2', 'none-2', 'real-goods'])
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for value in values:
        plain = re.sub(r"[^\w.+-]+", "_", value)[:LETTERS].strip("._") or "none"
        name, count = plain, 1
        while name.casefold() in taken:  # there are systems that know no case
            count += 1
            name = f"{plain}-{count}"
        taken.add(name.casefold())
        names[value] = name
    return names


def write_parts(
    output: Path,
    predictions: Predictions,
    parts: Parts,
    context: Mapping,
    write: Callable[[Path, Predictions, Mapping], None],
) -> dict:
    """Writes OUTPUT/by/VALUE for each value.

    Args:
      predictions: of all rows, in the order of `parts.values`.
      context: of the report on all rows.
      write: makes the report of a folder, predictions and context.

    Returns:
      What the report on all rows says of its parts, for its context.
    """
    _forget(output / FOLDER, set(parts.folders.values()))
    sections = {f"{k} of all values": v for k, v in context["sections"].items()}
    found = {}
    for value, name in progress(parts.folders.items(), parts.column, unit="values"):
        folder, rows = output / FOLDER / name, np.flatnonzero(parts.values == value)
        told = f"{context['part']}, {parts.column} = {value or 'none'}"
        own = {"part": told, "value": value, "sections": sections}
        # the table in the report on all rows is enough for a screen
        with contextlib.redirect_stdout(io.StringIO()):
            write(folder, predictions.select(rows), {**context, **own})
        if jax.process_index() == 0:
            found[value] = _metrics(folder)
    body = f"{parts_table(predictions, parts, found)}\n\n{NOTE}"
    return {
        "by": {"column": parts.column, "folders": parts.folders},
        "sections": {**context["sections"], f"By {parts.column}": body},
    }


def parts_table(
    predictions: Predictions, parts: Parts, found: Mapping[str, Mapping[str, float]]
) -> str:
    """A row for each value: accuracies, top-3 and top-5 of the deepest level, hF1.

    Args:
      found: value -> metrics of its report.
    """
    scored, deepest = labelled(predictions), predictions.num_levels
    aliases = digit_aliases(scored.truth, scored.separator)
    digits = {level: f" ({x[6:]} digits)" for x, level in aliases.items()}
    names = {}
    for level in range(1, deepest + 1):
        told = f"level {level}{digits.get(f'level{level}', '')}"
        names[f"level{level}/accuracy"] = f"{told} accuracy"
    names |= {f"level{deepest}/top{k}_accuracy": f"top-{k}" for k in (3, 5)}
    names["hierarchical/f1"] = "hF1"
    rows = []
    for value, metrics in found.items():
        folder = parts.folders[value]
        told = value if value == folder else f"{value} ({folder})".strip()
        count = metrics.get("count/rows", math.nan)
        rows.append([told, count, *(cell(metrics, name) for name in names)])
    return table([parts.column, "rows", *names.values()], rows)


def _metrics(folder: Path) -> dict[str, float]:
    """Of the report there, those that were measured."""
    found = json.loads((folder / "report.json").read_text())["metrics"]
    return {name: value for name, value in found.items() if value is not None}


def _forget(folder: Path, kept: set[str]) -> None:
    """What an earlier call has left of other values must not pass for today's."""
    if jax.process_index() or not folder.is_dir():
        return
    for other in folder.iterdir():
        if other.name not in kept and not (other / "config.json").exists():
            for name in FILES:
                (other / name).unlink(missing_ok=True)
