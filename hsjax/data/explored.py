"""A catalogue that is looked at before anything is asked of it."""

from collections.abc import Sequence

from hsjax.data.columns import (
    checked_columns,
    label_columns,
    missing_column,
    wanted_columns,
)
from hsjax.data.prepare import label_nodes
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import Record, load_records
from hsjax.data.repeats import Repeats
from hsjax.data.sources import SYNTHETIC, column_names

LABELS = "depth, imbalance and classes of labels"
# keys of data.columns whose columns may be missing, and what is left out then
OPTIONAL = {"label": LABELS, "platform": "shops", "image": "pictures"}


def read_what_is_there(
    config, quarantine: Quarantine
) -> tuple[Sequence[Record], dict[str, str]]:
    """All rows, those without a label, too; and what has to be left out -> why.

    Args:
      config: unlocked; columns that the file lacks are taken out of it.

    Raises:
      CatalogueError: as of `load_records`, but not where there are no labels, shops or
        pictures.
    """
    data, left_out, labelled = config.data, {}, True
    drawn = data.path == SYNTHETIC
    data.split.by = "group"  # nothing is split, so that no column is needed for it
    if not drawn:
        left_out = _left_out(data)
        labelled = LABELS not in left_out
        checked_columns(data, labelled)
    records = load_records(
        data,
        quarantine=quarantine,
        digits=tuple(config.taxonomy.digits),
        labelled=False,
        nodes=label_nodes(config) if labelled else {},
    )
    if labelled and not any(r.path for r in records):
        left_out[LABELS] = "no row has a sound label"
    elif labelled and not drawn:
        _note_labels(data, records, quarantine)
    return records, left_out


def _left_out(data) -> dict[str, str]:
    """What there is no column for -> why; a column that is absent is unnamed.

    Raises:
      CatalogueError: a column of no key of `OPTIONAL` is absent.
    """
    wanted, told = wanted_columns(data), {}
    names = column_names(data.path, wanted=wanted)
    for column, key in wanted.items():
        if column not in names:
            place = f"config.data.columns.{key}"
            error = missing_column(data.path, column, place, names)
            if key not in OPTIONAL:
                raise error
            told.setdefault(OPTIONAL[key], str(error))
            data.columns[key] = () if key == "label" else ""
    for key, what in OPTIONAL.items():
        if not data.columns[key]:
            told.setdefault(what, f"data.columns.{key} names no column")
    return told


def _note_labels(data, records: Sequence[Record], quarantine: Quarantine) -> None:
    """Flaws that reading passes over where labels are not asked for."""
    column, repeats = ",".join(label_columns(data)), Repeats()
    unsound = {row for _, row, _, where, *_ in quarantine.rows if where == column}
    for r in records:
        reason = repeats.contradicted(r)
        if not r.path and r.row not in unsound:
            reason = "no label"
        if reason:
            place = {"file": data.path, "row": r.row, "id": r.id, "column": column}
            quarantine.add(**place, reason=reason, action="kept")
