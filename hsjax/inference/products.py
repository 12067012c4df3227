"""Products that a trained run is to answer: from a file, or from Python."""

import base64
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.columns import columns_for, label_columns, wanted_columns
from hsjax.data.nomenclature import node_paths
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record, load_records
from hsjax.data.sources import column_names
from hsjax.data.tree_labels import fit_labels
from hsjax.taxonomy import Taxonomy

log = logging.getLogger("hsjax")


def read_products(
    config,
    tree: Taxonomy,
    source: Path | str | Iterable[Mapping],
    *,
    image_root: Path | str = "",
    quarantine: Path | str | None = None,
) -> list[Record]:
    """What a file or a list of dicts says of products, by the columns of a run.

    The columns of labels, groups and splits may be missing, and those of ids and
    pictures, too. A key that a dict lacks is an empty field; pictures are bytes, base64
    or paths. Rows that cannot be read are dropped, all other flaws leave a field empty;
    log lines count both.

    Args:
      image_root: folder of image paths; '' = the folder of the file, or the current
        one for dicts.
      quarantine: CSV file to write with row, column, reason and action of each flaw.

    Raises:
      CatalogueError: an unreadable file, a missing text column, no usable row.
    """
    notes, columns = Quarantine(), config.data.columns
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(source, str | Path):
            path, name = Path(source), str(source)
        else:
            path, name = Path(folder) / "records.jsonl", "records"
            image_root = image_root or "."
            _write_lines(path, source, fields=columns.text)
        data = _mapped(config, path, notes)
        data.image_root = str(image_root)
        records = load_records(
            data,
            quarantine=notes,
            digits=tuple(config.taxonomy.digits),
            labelled=False,
            nodes=node_paths(tree) if columns.label_kind == "node" else None,
        )
    records, _, _ = fit_labels(
        records, tree, config=config, quarantine=notes, file=name
    )
    notes.rows = [(name, *note[1:]) for note in notes.rows]
    for (phrase, action), count in notes.counts().items():
        log.warning("%s: %d x %s (%s)", name, count, phrase, action)
    if quarantine is not None:
        notes.write(quarantine)
    return records


def _write_lines(path: Path, rows: Iterable[Mapping], *, fields) -> None:
    empty = dict.fromkeys(fields)
    lines = [json.dumps({**empty, **row}, default=_plain) + "\n" for row in rows]
    if not lines:
        raise CatalogueError("there are no records: the list is empty")
    path.write_text("".join(lines))


def _plain(value) -> str:
    """What JSON has no word for, as a catalogue file says it."""
    if isinstance(value, bytes):
        return "data:;base64," + base64.b64encode(value).decode()
    return str(value)


def _mapped(config, path: Path, notes: Quarantine):
    """The data group of a run, for another file and the columns that are in it."""
    data = config.data.copy_and_resolve_references().unlock()
    if data.path == "synthetic":  # as `task=prepare` names them
        data.columns.id, data.columns.image = "id", "image"
    data = columns_for(data, path, notes)
    columns, streams = data.columns, data.text.streams
    present = set(column_names(path, wanted=wanted_columns(data)))
    if not present.issuperset(label_columns(data)):
        columns.label, data.label_map = (), ""
    read = {c for m in config.model.modalities if m != IMAGE for c in streams[m]}
    columns.text = tuple(c for c in columns.text if c in read or c in present)
    return data
