"""The column mapping of `config.data`, checked against the file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.fields import LONGEST_TEXT, MARKUP
from hsjax.data.quarantine import REPAIRED, CatalogueError, Quarantine
from hsjax.data.sources import SYNTHETIC, column_names
from hsjax.spelling import meant

# of the file that `task=prepare` makes of the built-in catalogue
_SYNTHETIC_COLUMNS = {
    "id": "id",
    "image": "image",
    "label": ("hs_code",),
    "group": "group",
}

DRAWN = ("id", "title", "brand", "hs_code", "shop", "group")  # of its rows

# keys of columns that a file has one of
SINGLE = ("id", "image", "group", "platform", "date", "split", "edition")

# what each of these splits goes by
SPLIT_COLUMNS = {"date": "date", "platform": "platform", "column": "split"}


def label_columns(config) -> tuple[str, ...]:
    label = config.columns.label
    return (label,) if isinstance(label, str) and label else tuple(label)


def label_kind(config) -> str:
    """What the label is once the label map is applied: a map gives one path."""
    mapped_levels = config.label_map and config.columns.label_kind == "levels"
    return "path" if mapped_levels else config.columns.label_kind


def label_separator(config) -> str:
    """Between the parts of a node code; '' for HS codes."""
    columns = config.data.columns
    return "" if columns.label_kind == "code" else columns.separator


def sees_pictures(config) -> bool:
    """Is the image a modality of the model of a whole config?"""
    return IMAGE in config.model.modalities


def model_columns(config) -> tuple[str, ...]:
    """Text columns that the model of a whole config reads, in the order of streams."""
    streams = config.data.text.streams
    columns = (c for name in config.model.modalities for c in streams.get(name, ()))
    return tuple(dict.fromkeys(columns))


def carrying(config, column: str, source: str | None):
    """A whole config by which the records carry this column: see `carried`.

    Args:
      source: file that is read, None = the config's own.

    Raises:
      CatalogueError: the file has no such column, or it holds pictures.
    """
    path = source or config.data.path
    names = DRAWN if path == SYNTHETIC else column_names(path, wanted=(column,))
    if column not in names:
        raise missing_column(path, column, "--by", names)
    if column == config.data.columns.image:
        raise CatalogueError(f"--by={column}: pictures have no values to be told by")
    config = config.copy_and_resolve_references().unlock()
    columns = config.data.columns
    columns.metadata = tuple(dict.fromkeys((*columns.metadata, column)))
    return config.lock()


def carried(record, column: str) -> str:
    """What a record has in a column that was carried along, or drawn with it."""
    if column in record.extra:
        return record.extra[column]
    code = record.path[-1] if record.path else ""
    drawn = {"hs_code": code, "shop": record.platform, **record.texts}
    return {"id": record.id, "group": record.group, **drawn}[column]


def columns_for(config, path, quarantine: Quarantine):
    """The data group of a config for another file, and the columns it has.

    Every row is read and none is required to have a field. Columns of ids, pictures,
    groups and splits may be missing, which is noted (row 0); metadata, in silence. For
    the built-in catalogue the columns are those of its file.

    Raises:
      CatalogueError: there is no such file, or it cannot be read.
    """
    data = config.copy_and_resolve_references().unlock()
    if data.path == SYNTHETIC:
        data.columns.update(_SYNTHETIC_COLUMNS)
    data.path, data.rows, data.required = str(path), None, ()
    data.split.by = "group"
    columns = data.columns
    if data.path == SYNTHETIC:
        return data
    if not Path(path).exists():
        raise CatalogueError(f"{path}: no such file")
    present = column_names(path, wanted=wanted_columns(data))
    for key in SINGLE:
        if columns[key] and columns[key] not in present:
            instead = "the row number stands in" if key == "id" else "all rows lack it"
            reason = f"column absent: {instead}"
            quarantine.add(
                file=path, row=0, column=columns[key], reason=reason, action="kept"
            )
            columns[key] = ""
    columns.metadata = tuple(c for c in columns.metadata if c in present)
    return data


def wanted_columns(config) -> dict[str, str]:
    """{column: key of config.data.columns that names it}."""
    c = config.columns
    wanted = {getattr(c, key): key for key in SINGLE if getattr(c, key)}
    wanted |= dict.fromkeys(c.metadata, "metadata")
    wanted |= dict.fromkeys(label_columns(config), "label")
    return wanted | dict.fromkeys(c.text, "text")


def checked_columns(config, labelled: bool) -> tuple[str, ...]:
    """The label columns; CatalogueError where the mapping does not fit the file."""
    c = config.columns
    _choose("label_kind", c.label_kind, ("code", "path", "levels", "node"))
    _choose("blank_level", c.blank_level, ("stop", "unknown"))
    label = label_columns(config)
    single = c.label_kind != "levels" and not config.label_map
    if labelled and (not label or (single and len(label) > 1)):
        raise CatalogueError(
            f"config.data.columns.label names {label}: label_kind {c.label_kind!r}"
            f" needs {'exactly' if single else 'at least'} one column"
        )
    key = SPLIT_COLUMNS.get(config.split.by)
    if labelled and key and not c[key]:
        raise CatalogueError(
            f"config.data.columns.{key} is empty: name the column, as"
            f" config.data.split.by is {config.split.by!r}"
        )
    wanted = wanted_columns(config)
    names = column_names(config.path, wanted=wanted)
    optional = () if labelled else ("label", *SINGLE[2:])
    for column, key in wanted.items():
        if column not in names and key not in optional:
            key = f"config.data.columns.{key}"
            raise missing_column(config.path, column, key, names)
    return label if all(name in names for name in label) else ()


def _choose(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise CatalogueError(
            f"config.data.columns.{key} is {value!r}; choose one of {allowed}"
        )


def check_table(path: Path | str, columns: Iterable[str], key: str) -> None:
    """Is this a file with these columns, as `key` of a config or a flag wants it?

    Raises:
      CatalogueError: there is no such file, or it lacks a column.
    """
    if not Path(path).is_file():
        raise CatalogueError(f"{key}: there is no file {path}")
    names = column_names(path)
    for column in columns:
        if column not in names:
            raise missing_column(path, column, key, names)


def missing_column(path, column: str, key: str, names: list[str]) -> CatalogueError:
    """The error of a column that the file lacks, with the one that may be meant."""
    shown = ", ".join(repr(name[:40]) for name in names[:40])
    return CatalogueError(
        f"{path}: no column {column!r} ({key}).{meant(column, names)}"
        f" The file has: {shown}. If these are values, the header line is missing"
    )


def checked_required(config) -> dict[str, tuple[str, ...]]:
    """{required name: text columns of which one must be filled}, labels apart."""
    columns = {"image": (), "label": (), "text": tuple(config.columns.text)}
    columns |= {name: (name,) for name in config.columns.text}
    columns |= {name: tuple(parts) for name, parts in config.text.streams.items()}
    for name in config.required:
        if name not in columns:
            raise CatalogueError(
                f"config.data.required names {name!r}; known are {sorted(columns)}"
            )
    return {name: columns[name] for name in config.required if name != "label"}


def read_streams(config) -> tuple[tuple[str, ...], ...]:
    """Columns of each text stream, without those streams of which none is read."""
    streams = map(tuple, config.text.streams.values())
    return tuple(s for s in streams if not {*s}.isdisjoint(config.columns.text))


def sound_texts(
    texts: Mapping[str, str], streams: Iterable[Sequence[str]]
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """(texts, {column: (reason, action)}): cut where they are absurdly long.

    HTML is told, and stays: what is meant by it the owner of the catalogue knows.

    Empty columns are a flaw where their whole stream is; else its others speak.

    Args:
      streams: of `read_streams`.
    """
    flaws = {
        ",".join(columns): ("empty text", "kept")
        for columns in streams
        if not any(texts.get(column) for column in columns)
    }
    for column, text in texts.items():
        if len(text) > LONGEST_TEXT:
            reason = f"very long text: {len(text):,} characters, cut"
            flaws[column] = reason, REPAIRED
        elif ("&" in text or "<" in text) and (found := MARKUP.search(text)):
            flaws[column] = (
                f"HTML in the text: {found[0][:40]!r}, read as it is",
                "kept",
            )
    return {column: text[:LONGEST_TEXT] for column, text in texts.items()}, flaws


def lacking(record, required: dict[str, tuple[str, ...]]) -> str:
    """Which field of `checked_required` a record lacks, in words; '' = none."""
    for name, columns in required.items():
        texts = [record.texts.get(column) for column in columns]
        if not (record.image_key if name == "image" else any(texts)):
            return f"required {name} is absent"
    return ""
