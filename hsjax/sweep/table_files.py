"""What a table of a sweep shows, as a file that is committed: NAME.json."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hsjax.settings.json_objects import read_object, text_of
from hsjax.spelling import meant
from hsjax.train.workdir import ConfigError

# kind -> fields beside the title
KINDS = {
    "": ("rows", "metrics", "levels", "folder"),
    "curves": ("rows", "curves", "x"),
    "series": ("series", "x", "metrics", "levels", "folder"),
    "budget": ("budget", "metrics", "levels"),
    "stopping": ("rows", "stopping", "folder"),
    "decodes": ("rows", "decodes", "metrics", "levels", "folder"),
}
ALONE = ", ".join(repr(kind) for kind in KINDS if kind)
FIELDS = tuple(dict.fromkeys(("title", "like", *sum(KINDS.values(), ()))))
AXES = ("epoch", "step")


class Table(NamedTuple):
    """What a table shows.

    Attributes:
      title: its first line.
      rows: row of the list -> how it is called.
      metrics: metric -> heading; empty = the main ones of the deepest level.
      levels: the metrics are measured at each of these levels; (0,) = at all that there
        are, (-1,) = at the deepest, () = metrics are named with their level.
      folder: below each run, with the report to read; '' = the run's own.
      curves: metrics against `x`, which is `epoch` or `step`; () = no curves.
      series: name -> number on the axis `x` -> row; empty = no series.
      x: what the axis is.
      stopping: values of hP, at which hR is told; () = no curves of hP and hR.
      budget: model -> rows that are its trials; empty = no budget.
      decodes: decode -> how it is called, each compared with the first of the same
        runs; empty = the answer alone.
      missing: row -> why it is dashes as long as no run of it is done; it need not be
        a row of the list.
    """

    title: str
    rows: Mapping[str, str]
    metrics: Mapping[str, str]
    levels: tuple[int, ...] = ()
    folder: str = ""
    curves: tuple[str, ...] = ()
    series: Mapping[str, Mapping[float, str]] = MappingProxyType({})
    x: str = ""
    budget: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    stopping: tuple[float, ...] = ()
    missing: Mapping[str, str] = MappingProxyType({})
    decodes: Mapping[str, str] = MappingProxyType({})


def definition(path: Path, name: str) -> Path:
    """NAME.json in the folder that is named as the list, else beside the list.

    Args:
      path: of the list, FILE.jsonl: the folder is FILE.
    """
    own = path.with_suffix("") / f"{name}.json"
    return own if own.is_file() else path.with_name(f"{name}.json")


def read_table(path: Path, rows: Sequence[str]) -> Table:
    """What a file says; without one all rows and the main metrics.

    Args:
      rows: that there are.

    Raises:
      ConfigError: an unknown field or row, a value that is not understood, or another
        table that it cannot be like.
    """
    if not path.is_file():
        return Table(path.stem, {row: row for row in rows}, {})
    found = _fields(path)
    kind = next((k for k in KINDS if k and k in found), "")
    if strange := [key for key in found if key not in ("title", *KINDS[kind])]:
        told = f"with {kind!r}" if kind else f"without one of {ALONE}"
        raise ConfigError(f"{path}: {strange[0]!r} means nothing {told}")
    series = _series(found.get("series", {}), path)
    told = found.get("rows", list(rows))
    missing = _reasons(told, kind, path)
    shown = _names(_called(told), "rows", path)
    if kind == "series":
        shown = {row: row for of in series.values() for row in of.values()}
    budget = _budget(found.get("budget", {}), path)
    if kind == "budget":
        shown = {row: row for of in budget.values() for row in of}
    for row in shown:
        if row not in rows and row not in missing:
            raise ConfigError(f"{path}: {row!r} is no row.{meant(row, rows)}")
    axis = found.get("x", AXES[0] if kind == "curves" else "")
    if kind == "curves" and axis not in AXES:
        raise ConfigError(f"{path}: x is {axis!r}, and not {' or '.join(AXES)}")
    return Table(
        str(found.get("title", path.stem)),
        shown,
        _names(found.get("metrics", {}), "metrics", path),
        _levels(found, path),
        str(found.get("folder", "")),
        tuple(_names(found.get("curves", []), "curves", path)),
        series,
        str(axis),
        budget,
        _stopping(found, path),
        missing,
        _decodes(found, path),
    )


def _fields(path: Path, asking: tuple[Path, ...] = ()) -> dict:
    """What a file says, and where it does not, what the table says that it is like."""
    found = read_object(text_of(path), str(path), FIELDS)
    if "like" not in found:
        return found
    name = found.pop("like")
    other = path.with_name(f"{name}.json")
    if not isinstance(name, str) or not other.is_file():
        known = [x.stem for x in sorted(path.parent.glob("*.json")) if x != path]
        raise ConfigError(
            f"{path}: like is {name!r}, no table beside it.{meant(str(name), known)}"
        )
    if other in (path, *asking):
        raise ConfigError(f"{path}: it is like {name!r}, which is like it")
    return _fields(other, (path, *asking)) | found


def _decodes(found: Mapping, path: Path) -> dict[str, str]:
    decodes = _names(found.get("decodes", {}), "decodes", path)
    if "decodes" in found and len(decodes) < 2:
        raise ConfigError(f"{path}: decodes are two or more, the reference first")
    if decodes and not found.get("metrics"):
        raise ConfigError(f"{path}: decodes want metrics, {{'path/accuracy': 'Path'}}")
    return decodes


def _stopping(found: Mapping, path: Path) -> tuple[float, ...]:
    value = found.get("stopping")
    if value is None:
        return ()
    shares = isinstance(value, list) and all(type(x) in (int, float) for x in value)
    if not shares or not value or not all(0 < x < 1 for x in value):
        raise ConfigError(
            f"{path}: stopping is a list of hP between 0 and 1, such as [0.9, 0.95]"
        )
    return tuple(map(float, value))


def _reasons(value, kind: str, path: Path) -> dict[str, str]:
    """Row -> why it may be missing, of those that say it."""
    reasons = {}
    for row, of in value.items() if isinstance(value, dict) else ():
        if not isinstance(of, dict):
            continue
        if kind:
            raise ConfigError(
                f"{path}: {row!r} says why it is missing, which means nothing with"
                f" {kind!r}"
            )
        texts = all(isinstance(x, str) and x.strip() for x in of.values())
        if of.keys() != {"called", "missing"} or not texts:
            raise ConfigError(
                f"{path}: {row!r} is {of}, and not"
                ' {"called": NAME, "missing": REASON}'
            )
        reasons[row] = of["missing"].strip().removesuffix(".")
    return reasons


def _called(value):
    """Rows with what they are called alone."""
    if not isinstance(value, dict):
        return value
    return {k: v["called"] if isinstance(v, dict) else v for k, v in value.items()}


def _names(value, field: str, path: Path) -> dict[str, str]:
    """Name -> what it is called; of a list, itself."""
    pairs = {x: x for x in map(str, value)} if isinstance(value, list) else value
    if not isinstance(pairs, dict) or not all(
        isinstance(x, str) and x for x in pairs.values()
    ):
        raise ConfigError(
            f"{path}: {field} is a list of names, or names with what they are called"
        )
    called = [*pairs.values()]
    if twice := [name for name in called if called.count(name) > 1]:
        raise ConfigError(f"{path}: two of {field} are called {twice[0]!r}")
    return pairs


def _levels(found: Mapping, path: Path) -> tuple[int, ...]:
    value = found.get("levels", [])
    levels = {"all": [0], "deepest": [-1]}.get(str(value), value)
    ints = isinstance(levels, list) and all(type(x) is int for x in levels)
    if not ints or (levels not in ([0], [-1]) and min(levels, default=1) < 1):
        raise ConfigError(
            f"{path}: levels is 'all', 'deepest' or a list such as [1, 3]"
        )
    if levels and not found.get("metrics"):
        raise ConfigError(f"{path}: levels wants metrics, {{'accuracy': 'Accuracy'}}")
    return tuple(levels)


def _budget(value, path: Path) -> dict[str, tuple[str, ...]]:
    usage = f"{path}: budget is {{model: [row, row, ...]}}"
    if not isinstance(value, dict):
        raise ConfigError(usage)
    for name, rows in value.items():
        if not isinstance(rows, list) or not rows:
            raise ConfigError(f"{usage}; {name!r} has no trials")
    return {name: tuple(map(str, rows)) for name, rows in value.items()}


def _series(value, path: Path) -> dict[str, dict[float, str]]:
    """Numbers in rising order."""
    usage = f"{path}: series is {{name: {{number: row}}}}"
    if not isinstance(value, dict):
        raise ConfigError(usage)
    found = {}
    for name, points in value.items():
        if not isinstance(points, dict) or not points:
            raise ConfigError(f"{usage}; {name!r} has no points")
        try:
            pairs = {float(x): str(row) for x, row in points.items()}
        except ValueError:
            raise ConfigError(f"{usage}; {name!r} has an x that is no number") from None
        if len(pairs) < len(points) or not all(map(math.isfinite, pairs)):
            raise ConfigError(f"{usage}; {name!r} has an x twice, or an infinite one")
        found[name] = dict(sorted(pairs.items()))
    return found
