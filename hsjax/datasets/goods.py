"""What every public download becomes: one schema, and facts on where it is from."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hsjax.data.quarantine import NO_PICTURE, CatalogueError, Quarantine

Rows = Iterator[Mapping[str, str | bytes]]


@dataclass(frozen=True, kw_only=True)
class Download:
    """A public data set as it lies in a folder after unpacking.

    Attributes:
      name: of the builder; version: of what the reader makes of it.
      columns: text fields of a row, beside id, split and image.
      levels: those of `columns` that are the label, coarsest first.
      texts: those that a model may read: what names the class is none.
      group: the column whose rows are one product, '' = none.
      read: `read(folder, quarantine)` gives rows; each has `columns`, id, split (train,
        val, test or '' where there is no official one) and image (encoded, b'' = none).
      told: where it is from, by its names for people: homepage, licence, citation.
    """

    name: str
    version: str
    description: str
    columns: tuple[str, ...]
    levels: tuple[str, ...]
    texts: tuple[str, ...]
    read: Callable[[Path, Quarantine], Rows]
    group: str = ""
    told: Mapping[str, str] = field(default_factory=dict)

    def mapping(self) -> dict[str, str | tuple[str, ...]]:
        """Keys of a config by which a run reads it."""
        splits = "split" if self.told.get("splits") else ""
        return {
            "data.columns.id": "id",
            "data.columns.text": self.texts,
            "data.columns.image": "image",
            "data.columns.label": self.levels,
            "data.columns.label_kind": "levels",
            "data.columns.group": self.group,
            "data.columns.split": splits,
            "data.split.by": "column" if splits else "group",
        }


def there(path: Path, what: str) -> Path:
    """The path; CatalogueError where the download lacks it."""
    if not path.exists():
        raise CatalogueError(f"{path} is not there: {what}")
    return path


def csv_rows(
    path: Path, quarantine: Quarantine, *, id: str, needed: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """(1-based row, fields) of a well-known file.

    Text with commas and no quotes makes a row too long: where the last column is free
    text, as it is here, what is left over belongs to it, and the row is noted. A row
    that is too short is dropped.

    Raises:
      CatalogueError: the file lacks a column.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        for name in needed:
            if name not in names:
                raise CatalogueError(f"{path}: no column {name!r}; it has {names}")
        for row, fields in enumerate(reader, 1):
            known = fields[names.index(id)] if len(fields) > names.index(id) else ""
            note = {"file": path, "row": row, "id": known}
            if len(fields) < len(names):
                reason = f"wrong number of columns: {len(fields)} of {len(names)}"
                quarantine.add(**note, reason=reason, action="dropped")
                continue
            if len(fields) > len(names):
                reason = f"commas without quotes: {len(fields)} of {len(names)} columns"
                note |= {"column": names[-1], "action": "kept with repaired text"}
                quarantine.add(**note, reason=reason)
                last = len(names) - 1
                fields = [*fields[:last], ",".join(fields[last:])]
            yield row, dict(zip(names, fields, strict=True))


def listed_products(
    folder: Path,
    quarantine: Quarantine,
    *,
    file: str,
    id: str,
    columns: Mapping[str, str],
    picture: Callable[[str], str],
    of: str,
) -> Rows:
    """Rows of a download that is one CSV and a folder `images`.

    Args:
      columns: ours -> the file's; `id` is the file's, too.
      picture: id -> the name of its picture below `images`.
      of: what the download is called, for people.

    Raises:
      CatalogueError: it is another folder, or the file lacks a column.
    """
    path = there(folder / file, f"the folder of {of} has it")
    images = there(folder / "images", f"the folder of {of} has it")
    needed = (id, *columns.values())
    for row, fields in csv_rows(path, quarantine, id=id, needed=needed):
        place = {"file": path, "row": row, "id": fields[id]}
        image = picture_of(images / picture(fields[id]), quarantine, **place)
        known = {own: fields[column] for own, column in columns.items()}
        yield {"id": fields[id], "split": "", "image": image, **known}


def picture_of(
    path: Path, quarantine: Quarantine, *, file: Path, row: int, id: str
) -> bytes:
    """The bytes of a picture, b'' where it is not there, which is noted."""
    if path.is_file():
        return path.read_bytes()
    place = {"file": file, "row": row, "id": id, "column": "image"}
    reason = f"image file not found: {path.name}"
    quarantine.add(**place, reason=reason, action=NO_PICTURE)
    return b""
