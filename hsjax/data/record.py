"""One product, and how the fields of a row become one."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsjax.data.fields import as_text
from hsjax.data.prepared import StoredPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One product.

    Attributes:
      row: 1-based data row of the file.
      id: unique within the file.
      texts: text column -> stripped text; '' = absent.
      image: uint8 (H, W, 3) if pictures are cached, else checked bytes, a path or a
        picture of a prepared catalogue; None = absent or not seen.
      image_key: sha1 of the encoded bytes; '' = absent.
      broken_key: the same of a picture broken behind its header, '' = it is not;
        a run that decodes no pictures cannot tell, and has it as `image_key`.
      path: node codes of the label, coarsest first; () = no label.
      complete: the product ends at the last node of `path`; False = unknown below it,
        as far as the file tells: see `fit_labels` for what the tree tells.
      group: value of the group column; '' = to be computed.
      platform, date, split: values of these columns; the date is ISO (2024-01-31).
      edition: of the label as the file says, '' = the tree's own; admissible: paths of
        nodes of which one is right, `path` is what they share. See `EditionLabels`.
      extra: metadata column -> text.
    """

    row: int
    id: str
    texts: Mapping[str, str]
    image: np.ndarray | bytes | Path | StoredPicture | None
    image_key: str
    path: tuple[str, ...]
    complete: bool
    group: str
    platform: str
    date: str
    split: str
    extra: Mapping[str, str]
    edition: str = ""
    admissible: tuple[tuple[str, ...], ...] = ()
    broken_key: str = ""

    @property
    def shown_key(self) -> str:
        """Of its picture, sound or not: the same whatever a run reads of a product."""
        return self.image_key or self.broken_key


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which columns a record is made of; '' = the file has none for it."""

    id: str
    text: tuple[str, ...]
    image: str
    group: str
    platform: str
    date: str
    split: str
    edition: str
    metadata: tuple[str, ...]

    @classmethod
    def of(cls, columns) -> "Fields":
        """Of `config.data.columns`."""
        return cls(**{name: columns[name] for name in cls.__dataclass_fields__})

    def read(self, row: int, values: Mapping) -> dict:
        """What the columns say, without label and picture; the date as it is."""
        return {
            "row": row,
            "id": as_text(values.get(self.id)) or str(row),
            "texts": {name: as_text(values.get(name)) for name in self.text},
            "group": as_text(values.get(self.group)),
            "platform": as_text(values.get(self.platform)),
            "date": as_text(values.get(self.date)),
            "split": as_text(values.get(self.split)),
            "edition": as_text(values.get(self.edition)),
            "extra": {name: as_text(values.get(name)) for name in self.metadata},
        }


def iso_date(text: str) -> str:
    """A date like 2024-01-31, '' for none; ValueError where it is no date."""
    return datetime.date.fromisoformat(text[:10]).isoformat() if text else ""
