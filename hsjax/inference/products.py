"""Products that a trained run is to answer: from a file, or from Python."""

import base64
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.data.columns import (
    columns_for,
    label_columns,
    model_columns,
    sees_pictures,
    wanted_columns,
)
from hsjax.data.edition_labels import in_own_edition
from hsjax.data.features import stored_pictures
from hsjax.data.prepare import label_nodes
from hsjax.data.quarantine import (
    CatalogueError,
    Quarantine,
    nothing_usable,
    written_if_refused,
)
from hsjax.data.records import Record, load_records
from hsjax.data.sources import SYNTHETIC, column_names
from hsjax.data.stored_records import StoredRecords
from hsjax.data.tree_labels import fit_labels
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy

log = logging.getLogger("hsjax")


class Products(NamedTuple):
    """Rows of another file in the tree of a run.

    Attributes:
      labels: (N, L); outside: (N,) bool, both of `encode_labels`.
      unlabelled: why there is no label at all, in words; '' = some rows have one.
    """

    records: Sequence[Record]
    labels: np.ndarray
    outside: np.ndarray
    unlabelled: str


def read_another(
    config, source: Path | str, *, tree: Taxonomy, quarantine: Quarantine
) -> Products:
    """Rows of another file with the columns of a run.

    Every row counts, labelled or not, repeated ones, too. Columns of labels, ids,
    pictures, groups and splits may be missing.

    Raises:
      CatalogueError: an unreadable file, a missing column, no usable row, labels of
        which none is sound.
    """
    data, label = mapped_columns(config, Path(source), quarantine, labelled=True)
    missing = () if label_columns(data) else label
    before = len(quarantine.rows)
    found = _fitted(config, tree, data, name=str(source), notes=quarantine)
    records = found[0]
    without = sum(not (record.path or record.admissible) for record in records)
    told = f"no column {', '.join(map(repr, missing))}" if missing else ""
    if without == len(records):
        notes = quarantine.rows[before:]
        wrong = [(*x[:5], "dropped") for x in notes if x[4].startswith("malformed")]
        if wrong:  # labels were meant to be there
            raise nothing_usable(str(source), wrong)
        told = told or "all rows lack a label"
    elif without:
        quarantine.warn(
            f"{without:,} of {len(records):,} rows have no sound label: they are"
            " answered and not scored"
        )
    return Products(*found, told)


def read_products(
    config,
    tree: Taxonomy,
    source: Path | str | Iterable[Mapping],
    *,
    image_root: Path | str = "",
    quarantine: Path | str | None = None,
) -> Sequence[Record]:
    """What a file or a list of dicts says of products, by the columns of a run.

    The columns of labels, groups and splits may be missing, and those of ids and
    pictures, too. A key that a dict lacks is an empty field; pictures are bytes, base64
    or paths, which a model of text alone does not keep. A pandas table stands for the
    dicts of its rows. Rows that cannot be read are dropped, all other flaws leave a
    field empty; log lines count both.

    Args:
      image_root: folder of image paths; '' = the folder of the file, or the current
        one for dicts.
      quarantine: CSV file to write with row, column, reason and action of each flaw.

    Raises:
      CatalogueError: an unreadable file, a missing text column, no usable row; dicts
        without anything that the model reads.
    """
    if image_root and not Path(image_root).is_dir():
        raise CatalogueError(f"folder {image_root} (image_root) does not exist")
    notes, path = Quarantine(), None if quarantine is None else Path(quarantine)
    with tempfile.TemporaryDirectory() as folder, written_if_refused(notes, path):
        if isinstance(source, str | Path):
            name = str(source)
            data, _ = mapped_columns(config, Path(source), notes, labelled=False)
        else:
            name, image_root = "records", image_root or "."
            file = Path(folder) / "records.jsonl"
            data = _mapped_dicts(config, _as_dicts(source), file, notes)
        data.image_root = str(image_root)
        records, _, _ = _fitted(config, tree, data, name=name, notes=notes)
    notes.rows = [(name, *note[1:]) for note in notes.rows]
    if name == "records":  # dicts need no ids: their places tell
        stands_in = "the row number stands in"
        notes.rows = [note for note in notes.rows if not note[4].endswith(stands_in)]
    _log(name, notes)
    if path is not None:
        notes.write(path)
    return records


def check_records(records) -> None:
    """CatalogueError: nothing to answer, or something else than records."""
    listed = isinstance(records, Sequence)
    stored = isinstance(records, StoredRecords)  # not to be read for that
    if not listed or not (stored or all(isinstance(x, Record) for x in records)):
        raise CatalogueError(
            "predict answers records; make them of dicts or of a file first:"
            " run.predict(run.records(...))"
        )
    if not records:
        raise CatalogueError("there are no records to answer")


def _log(name: str, notes: Quarantine) -> None:
    """A line for each kind of flaw and column."""
    counts = Counter((c, r.split(": ")[0], a) for _, _, _, c, r, a in notes.rows)
    for (column, phrase, action), count in counts.most_common():
        place = f"{name}, column {column}" if column else name
        log.warning("%s: %d x %s (%s)", place, count, phrase, action)


def _fitted(config, tree: Taxonomy, data, *, name: str, notes):
    """(records, labels, outside) of a file whose columns are mapped."""
    records = load_records(
        data,
        quarantine=notes,
        digits=tuple(config.taxonomy.digits),
        labelled=False,
        pictures=sees_pictures(config),
        stored=stored_pictures(config),
        nodes=label_nodes(config, tree),
    )
    records = in_own_edition(
        records, config, tree=tree, quarantine=notes, labelled=False
    )
    return fit_labels(records, tree, config=config, quarantine=notes, file=name)


def mapped_columns(config, path: Path, notes: Quarantine, *, labelled: bool):
    """The data group of a run for the columns of another file, and its label columns.

    Labels that are not there are no longer asked for; with `labelled` only if all of
    their columns are missing.

    Raises:
      CatalogueError: an unreadable file, a missing text column.
    """
    data = columns_for(config.data, path, notes)
    columns, read, label = data.columns, model_columns(config), label_columns(data)
    if data.path == SYNTHETIC:
        return data, label
    present = set(column_names(path, wanted=wanted_columns(data)))
    here = present.intersection(label)
    if len(here) < len(label) and not (labelled and here):
        columns.label, data.label_map = (), ""
    columns.text = tuple(c for c in columns.text if c in read or c in present)
    return data, label


def _as_dicts(rows) -> list[Mapping]:
    if hasattr(rows, "iterrows"):
        rows = rows.to_dict(orient="records")
    rows = list(rows)
    if not rows:
        raise CatalogueError("there are no records: the list is empty")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise CatalogueError(
                f"record {number} is {str(row)[:40]!r}, no dict; give a list of"
                " {column: value}, or the name of a file"
            )
    return rows


def _mapped_dicts(config, rows: list[Mapping], path: Path, notes: Quarantine):
    """The data group of a run for dicts, which are written to a file.

    Raises:
      CatalogueError: no dict has a key that the model reads.
    """
    empty = dict.fromkeys(config.data.columns.text)
    lines = (json.dumps({**empty, **row}, default=_plain) + "\n" for row in rows)
    path.write_text("".join(lines))
    data, _ = mapped_columns(config, path, notes, labelled=False)
    reads = model_columns(config)
    if sees_pictures(config):
        reads += (data.columns.image or config.data.columns.image or "image",)
    keys = list(dict.fromkeys(str(key) for row in rows for key in row))
    if not set(reads).intersection(keys):
        told = next(filter(None, (meant(key, reads) for key in keys)), "")
        raise CatalogueError(
            f"no record has {' or '.join(map(repr, reads))}, all that the model reads;"
            f" they have {', '.join(map(repr, keys)) or 'nothing'}.{told}"
        )
    return data


def _plain(value) -> str:
    """What JSON has no word for, as a catalogue file says it."""
    if isinstance(value, bytes):
        return "data:;base64," + base64.b64encode(value).decode()
    return str(value)
