"""Decided answers as labelled rows, in the columns of the catalogue they came from."""

import base64
import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished
from hsjax.data.cells import safe_cell
from hsjax.data.columns import columns_for, label_columns
from hsjax.data.labels import LabelError, Labels
from hsjax.data.named_nodes import node_places
from hsjax.data.nomenclature import node_paths
from hsjax.data.prepared import StoredPicture, is_prepared
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import column_names, read_rows
from hsjax.taxonomy import Taxonomy


def labelled_rows(
    config, tree: Taxonomy, source: Path, codes: Mapping[int, str]
) -> tuple[list[str], list[dict]]:
    """(columns, rows) of a catalogue, of which these rows have these codes.

    Args:
      config: of the run, whose label columns are filled.
      codes: row -> node of the tree.

    Raises:
      CatalogueError: the catalogue cannot be read, lacks a row, or a code cannot be
        said in its label columns.
    """
    data = columns_for(config.data, source, Quarantine())
    said = _labelling(config, data, tree)
    found = {
        row: {**_with_pictures(values), **said(codes[row])}
        for row, values in read_rows(source, Quarantine(), rows=max(codes, default=1))
        if row in codes
    }
    if missing := codes.keys() - found.keys():
        raise CatalogueError(f"{source} has no row {min(missing)}: it is another file")
    names = [*dict.fromkeys((*column_names(source), *label_columns(data)))]
    return names, [found[row] for row in sorted(found)]


def _with_pictures(values: Mapping) -> dict:
    """A row with the bytes of its picture; None where a prepared catalogue has none."""
    stored = {k: x for k, x in values.items() if isinstance(x, StoredPicture)}
    found = {k: x.read_bytes() if x.number >= 0 else None for k, x in stored.items()}
    return {**values, **found}


def _labelling(config, data, tree: Taxonomy) -> Callable[[str], dict[str, str]]:
    """`said(code) -> {label column: text}`, which training reads as that node."""
    columns, places = label_columns(data), node_places(tree)
    if not columns:
        raise CatalogueError("the run has no label column (data.columns.label)")
    if data.label_map:
        return _natively(config, data, tree)
    kind, separator = data.columns.label_kind, data.columns.separator

    def said(code: str) -> dict[str, str]:
        if code not in places:
            raise CatalogueError(f"--labelled: the run's tree has no {code!r}")
        level, node = places[code]
        path = tree.decode(tree.ancestors[level][node])
        if kind == "levels":
            parts = path[-1].split(separator)
            return {c: dict(enumerate(parts)).get(i, "") for i, c in enumerate(columns)}
        own = path[-1]
        if kind == "node" and tree.separator:
            own = own.split(tree.separator)[-1]
        return {columns[0]: own}

    return said


def _natively(config, data, tree: Taxonomy) -> Callable[[str], dict[str, str]]:
    """By the words of a label map, of which the first that leads there is taken."""
    (column, *more), notes = label_columns(data), Quarantine()
    nodes = node_paths(tree) if data.columns.label_kind == "node" else {}
    options = {"digits": tuple(config.taxonomy.digits), "nodes": nodes}
    labels, native = Labels(data, notes, columns=(column,), **options), {}
    for word in labels.map:
        try:
            native.setdefault(labels.path({column: word})[-1], word)
        except LabelError:
            continue

    def said(code: str) -> dict[str, str]:
        if more or code not in native:
            raise CatalogueError(
                f"--labelled: no row of {data.label_map} leads to {code!r}; add one"
            )
        return {column: native[code]}

    return said


def write_labelled(
    path: Path, names: list[str], rows: list[dict], *, source: Path
) -> None:
    """A .csv whose cells are no formulas, or a .parquet with the types of the source.

    Raises:
      CatalogueError: another suffix.
    """
    if path.suffix not in WRITERS:
        known = ", ".join(WRITERS)
        raise CatalogueError(f"--labelled={path}: its suffix has to be one of {known}")
    with finished(path) as partial:
        WRITERS[path.suffix](partial, names, rows, source)


def _csv(path: Path, names: list[str], rows: list[dict], source: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([safe_cell(name) for name in names])
        for row in rows:
            writer.writerow([safe_cell(_text(row.get(name))) for name in names])


def _text(value):
    """A field as a CSV has it: pictures in base64, lists as JSON."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        value = value["bytes"]  # a picture, as Hugging Face has it
    if isinstance(value, bytes):
        return "data:;base64," + base64.b64encode(value).decode()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else value


def _parquet(path: Path, names: list[str], rows: list[dict], source: Path) -> None:
    known: dict[str, pa.DataType] = {}
    if source.suffix == ".parquet" and not is_prepared(source):
        known = {field.name: field.type for field in pq.read_schema(source)}
    columns = {
        name: _column([row.get(name) for row in rows], known.get(name))
        for name in names
    }
    pq.write_table(pa.table(columns), path)


def _column(values: list, kind: pa.DataType | None) -> pa.Array:
    """As the source has it; else as the values are, or as text."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if x is None else str(x) for x in values], pa.string())


WRITERS: dict[str, Callable[[Path, list[str], list[dict], Path], None]] = {
    ".csv": _csv,
    ".parquet": _parquet,
}
