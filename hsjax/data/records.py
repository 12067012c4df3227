"""Products as the rest of the project sees them: `Record`, read from any catalogue."""

from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from hsjax.data.columns import (
    checked_columns,
    checked_required,
    lacking,
    read_streams,
    sound_texts,
    wanted_columns,
)
from hsjax.data.fields import as_text
from hsjax.data.image import cores, read_image
from hsjax.data.labels import LabelError, Labels
from hsjax.data.lost_pictures import LostPictures
from hsjax.data.prepared import is_prepared
from hsjax.data.quarantine import (
    NO_PICTURE,
    RENAMED,
    CatalogueError,
    Quarantine,
    most_dropped,
    nothing_usable,
)
from hsjax.data.record import Fields, Record, iso_date
from hsjax.data.repeats import Repeats
from hsjax.data.sources import SYNTHETIC, read_rows
from hsjax.data.stored_reading import stored_records
from hsjax.progress import progress

__all__ = ["CatalogueError", "Quarantine", "Record", "load_records"]

_WINDOW = 256  # rows whose pictures are decoded ahead of the row that is finished


def load_records(
    config_data,
    *,
    quarantine: Quarantine,
    digits=(2, 4, 6),
    labelled: bool = True,
    drop_repeats: bool = False,
    pictures: bool = True,
    stored: Container[str] | None = None,
    nodes: Mapping[str, tuple[str, ...]] | None = None,
) -> Sequence[Record]:
    """Reads the catalogue of `config.data`; every flaw goes to `quarantine`.

    A text stream or picture that is empty or unreadable is noted and absent; a row with
    neither stays. With `labelled`, rows without a sound label are dropped; without,
    they are kept for prediction, and columns of labels, groups and splits may be
    missing. A row is also dropped where it lacks what `required` names, and with
    `drop_repeats`, for training, where id, text, picture and label repeat another row.
    With label_kind `node`, `nodes` gives the path of each code (see `node_paths`).
    Each dropped row has one note `dropped`: records + dropped rows = rows of the file.
    Without `pictures`, for models of text alone, they are hashed and not decoded: one
    that is broken behind its header is then not noted, and counts as there. Those of
    `stored`, keys for which there are features, are hashed alone; others stay encoded.
    Of a prepared folder the records are read when they are needed: `StoredRecords`.

    Raises CatalogueError: an unreadable file, a missing column, no usable row at all.
    """
    if not config_data.path:
        raise CatalogueError("data.path is empty: give --config.data.path=FILE")
    prepared = is_prepared(config_data.path)
    if stored is not None or prepared:
        config_data = config_data.copy_and_resolve_references().unlock()
        config_data.image.cache = False
    if config_data.path == SYNTHETIC:
        from hsjax.data import synthetic  # which imports Record from here

        return synthetic.make_records(config_data, pictures=pictures)
    labels = {"digits": digits, "nodes": nodes or {}}
    flags = {"labelled": labelled, "drop_repeats": drop_repeats}
    looks = {"seen": pictures, "stored": stored or ()}
    loader = Loader(config_data, quarantine, labels=labels, looks=looks, **flags)
    before = len(quarantine.rows)
    records = stored_records(loader) if prepared else [*loader.records("catalogue")]
    if not records:
        raise nothing_usable(config_data.path, quarantine.rows[before:])
    loader.warn(records)
    return records


class Loader:
    """Turns rows into records and tells the quarantine what it met on the way."""

    def __init__(self, config, quarantine, *, labelled, drop_repeats, looks, labels):
        self.config, self.quarantine, self.labelled = config, quarantine, labelled
        self.drop_repeats, self.looks = drop_repeats, looks
        columns = checked_columns(config, labelled)
        self.required, self.streams = checked_required(config), read_streams(config)
        self.fields = Fields.of(config.columns)
        self.labels = Labels(config, quarantine, columns=columns, **labels)
        root = Path(config.image_root or Path(config.path).parent)
        self.lost, self.repeats = LostPictures(root, seen=looks["seen"]), Repeats()

    def note(self, record, reason, *, column="", action="kept") -> None:
        self.quarantine.add(
            file=self.config.path,
            row=record.row,
            id=record.id,
            column=column,
            reason=reason,
            action=action,
        )

    def rows(
        self, wanted_row: Callable[[int], bool] | None = None
    ) -> Iterator[Record | None]:
        """A record per row, None = dropped, before `judged`; threads decode pictures.

        Pillow frees the GIL, so that they do so together.

        Args:
          wanted_row: is the row of this number looked at? None = all are.
        """
        config = self.config
        options = {"config_image": config.image, **self.looks}
        decode = partial(read_image, root=self.lost.root, **options)
        wanted = {"columns": wanted_columns(config), "rows": config.rows}
        wanted["id_column"] = config.columns.id
        rows = read_rows(config.path, self.quarantine, **wanted)
        if wanted_row is not None:
            rows = (row for row in rows if wanted_row(row[0]))
        waiting: deque = deque()
        with ThreadPoolExecutor(cores()) as pool:
            for row, values in rows:
                if (record := self.labelled_record(row, values)) is not None:
                    future = pool.submit(decode, values.get(config.columns.image))
                    waiting.append((record, future))
                if len(waiting) > _WINDOW:
                    yield self.with_image(*waiting.popleft())
            for record, future in waiting:
                yield self.with_image(record, future)

    def records(self, told: str = "") -> Iterator[Record]:
        """Those of `rows` that stay; `told`: what the progress bar says."""
        for record in progress(self.rows(), told):
            if record is not None and (judged := self.judged(record)) is not None:
                yield judged

    def labelled_record(self, row: int, values: dict) -> Record | None:
        """The record with its label; None where the row had to be dropped."""
        columns = self.config.columns
        bare = {"image": None, "image_key": "", "path": (), "complete": False}
        record = Record(**self.fields.read(row, values), **bare)
        if columns.id and not as_text(values.get(columns.id)):
            self.note(record, "empty id: the row number stands in", column=columns.id)
        try:
            path = self.labels.path(values)
            complete = columns.blank_level == "stop" or len(path) == self.labels.depth
            record = replace(record, path=path, complete=complete)
        except LabelError as error:
            column = ",".join(self.labels.columns)
            if self.labelled:
                self.note(record, str(error), column=column, action="dropped")
                return None
            if str(error) != "no label":  # no flaw of a product to be predicted
                self.note(record, str(error), column=column)
        return self.with_date(record)

    def with_date(self, record: Record) -> Record | None:
        text, date, reason = record.date, "", ""
        needed = self.labelled and self.config.split.by == "date"
        try:
            date = iso_date(text)
        except ValueError:
            reason = f"unreadable date: {text[:40]!r} is not like 2024-01-31"
        if needed and not text:
            reason = "no date: config.data.split.by is 'date'"
        if reason:
            action = "dropped" if needed else "kept"
            self.note(record, reason, column=self.config.columns.date, action=action)
        return None if reason and needed else replace(record, date=date)

    def with_image(self, record: Record, future) -> Record | None:
        """The finished record; None where the row had to be dropped."""
        texts, flaws = sound_texts(record.texts, self.streams)
        for name, (reason, action) in flaws.items():
            self.note(record, reason, column=name, action=action)
        image, key, flaw = future.result()
        if column := self.config.columns.image:
            self.lost.add(flaw)
            if flaw:
                self.note(record, flaw, column=column, action=NO_PICTURE)
        keys = {"broken_key" if flaw else "image_key": key}
        record = replace(record, texts=texts, image=image, **keys)
        if reason := lacking(record, self.required):
            self.note(record, reason, action="dropped")
            return None
        if not record.image_key and not any(record.texts.values()):
            self.note(record, "nothing to classify: neither text nor picture")
        return record

    def judged(self, record: Record) -> Record | None:
        """The record with an id of its own; None where it repeats another."""
        if reason := self.repeats.repeated(record):
            self.note(record, reason, action="dropped" if self.drop_repeats else "kept")
            if self.drop_repeats:
                return None
        if self.labelled and (reason := self.repeats.contradicted(record)):
            self.note(record, reason, column=",".join(self.labels.columns))
        id = self.repeats.unique(record.id)
        if id == record.id:
            return record
        self.note(record, f"repeated id: renamed to {id}", action=RENAMED)
        return replace(record, id=id)

    def warn(self, records: Sequence[Record]) -> None:
        """What is wrong with many rows at once."""
        told = (
            most_dropped(self.quarantine.rows, len(records)),
            self.lost.told(),
            self.labels.special_chapters(records),
        )
        for sentence in filter(None, told):
            self.quarantine.warn(sentence)
