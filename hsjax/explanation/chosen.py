"""The products that evidence is asked about, read as predict reads them."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from hsjax.data.columns import sees_pictures
from hsjax.data.fields import as_text
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Loader, Record
from hsjax.data.sources import SYNTHETIC, read_rows
from hsjax.inference.products import mapped_columns
from hsjax.prediction.blocks import NO_LABELS
from hsjax.spelling import meant

log = logging.getLogger("hsjax")

MOST_READ = 100_000  # ids among which a misspelt one is looked for


def chosen_rows(
    config, source: Path, *, rows: Sequence[int], ids: Sequence[str], first: int
) -> list[int]:
    """Row numbers of the products that are asked about, ascending.

    Raises:
      CatalogueError: none is named, a row below 1, an id that the file has not.
    """
    if not (rows or ids or first):
        raise CatalogueError("name products: --rows=1,5,9, --ids=a,b or --first=20")
    if wrong := [row for row in rows if row < 1]:
        raise CatalogueError(f"--rows={wrong[0]}: rows count from 1")
    found = {*rows, *range(1, first + 1)}
    return sorted(found.union(*rows_of(config, source, ids).values()))


def rows_of(config, source: Path, ids: Sequence[str]) -> dict[str, list[int]]:
    """The row numbers of each id; CatalogueError: one that the file has not."""
    if not ids:
        return {}
    data, _ = mapped_columns(config, source, Quarantine(), labelled=False)
    column, wanted = data.columns.id, {*ids}
    found: dict[str, list[int]] = {}
    known = []
    columns = (column,) if column else tuple(data.columns.text)
    for row, values in read_rows(source, Quarantine(), columns=columns):
        id = as_text(values.get(column)) or str(row)
        if id in wanted:
            found.setdefault(id, []).append(row)
        elif len(known) < MOST_READ:
            known.append(id)
    for id in ids:
        if id not in found:
            raise CatalogueError(f"--ids: {source} has no id {id!r}.{meant(id, known)}")
    return found


def read_chosen(
    config,
    source: Path,
    rows: Collection[int],
    *,
    image_root: Path | str = "",
    carried: Sequence[str] = (),
    lacking: Collection[int] = (),
) -> list[Record]:
    """These rows of a catalogue, in order, with pictures as they are encoded.

    Args:
      image_root: folder of image paths, '' = the folder of the file.
      carried: further columns, for `Record.extra`.
      lacking: of these rows, those that the file need not have; one that it has, and
        that cannot be read, is told.

    Raises:
      CatalogueError: an unreadable file, a missing column, another row that the file
        has not or that cannot be read.
    """
    if image_root and not Path(image_root).is_dir():
        raise CatalogueError(f"--image_root={image_root}: there is no such folder")
    notes, wanted = Quarantine(), {*rows}
    data, _ = mapped_columns(config, source, notes, labelled=False)
    data.columns.update(label=(), group="")
    data.columns.metadata = tuple(dict.fromkeys((*data.columns.metadata, *carried)))
    data.label_map, data.image_root = "", str(image_root)
    data.image.cache, data.rows = False, max(wanted)
    looks = {"seen": sees_pictures(config), "stored": ()}
    read = {"labelled": False, "drop_repeats": False}
    loader = Loader(data, notes, labels=NO_LABELS, looks=looks, **read)
    found = [x for x in loader.rows(wanted.__contains__) if x is not None]
    _tell_missing(source, wanted - {x.row for x in found}, {*lacking}, notes.rows)
    if not found:
        raise CatalogueError(f"{source}: no usable row among those that are asked for")
    return found


def _tell_missing(
    source: Path, missing: set[int], lacking: set[int], notes: Sequence[tuple]
) -> None:
    """Raises CatalogueError where a row is missing that may not be."""
    dropped = (note for note in notes if note[-1] == "dropped")
    reasons = {row: reason for _, row, _, _, reason, _ in dropped}
    for row in sorted(missing):
        told = f"cannot be read: {reasons[row]}" if row in reasons else ""
        if row not in lacking:
            told = told or "is not in the file"
            raise CatalogueError(f"{source}: row {row} {told}")
        if told:
            log.warning("%s: row %d %s", source, row, told)


def pictures_of(config, rows: Collection[int]) -> dict[int, Record]:
    """The records of these rows of the run's own catalogue, with their pictures.

    {} where it cannot be read any more: pictures are shown and nothing else.
    """
    if not rows or not sees_pictures(config):
        return {}
    try:
        if config.data.path == SYNTHETIC:
            return _drawn(config, {*rows})
        root = config.data.image_root
        path = Path(config.data.path)
        found = read_chosen(config, path, rows, image_root=root, lacking=rows)
    except (CatalogueError, OSError):
        return {}
    return {record.row: record for record in found}


def _drawn(config, rows: set[int]) -> dict[int, Record]:
    from hsjax.data.synthetic import make_records

    data = config.data.copy_and_resolve_references().unlock()
    data.image.cache = False
    return {r.row: r for r in make_records(data) if r.row in rows}
