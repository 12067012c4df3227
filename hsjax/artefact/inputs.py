"""Rows of a catalogue -> the arrays of a program, as the run itself would read them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from hsjax.artefact.document import IMAGE, ArtefactError, Document, PictureInput
from hsjax.data.fields import BAD_CHARACTERS, LONGEST_TEXT, UNREADABLE, as_text
from hsjax.data.pixels import ImageError, decode_image, picture_source
from hsjax.data.tokens import BETWEEN_COLUMNS, fill_tokens, no_tokens


class Note(NamedTuple):
    """A field that could not be read, and is taken as empty: row counts from 0."""

    row: int
    column: str
    reason: str


def as_rows(rows: Iterable, document: Document) -> list[Mapping]:
    """The rows of a list, or of a pandas table.

    Raises:
      ArtefactError: there are none; one is no dict; no field is of any use.
    """
    if hasattr(rows, "iterrows"):
        rows = rows.to_dict(orient="records")
    if isinstance(rows, str | Path | Mapping):
        raise ArtefactError("predict answers a list of dicts, {column: value} each")
    rows = list(rows)
    if not rows:
        raise ArtefactError("there are no rows to answer")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            told = f"row {number} is {str(row)[:40]!r}, no dict"
            raise ArtefactError(f"{told}; give a list of {{column: value}}")
    reads = [c for text in document.texts.values() for c in text.columns]
    reads += [document.picture.column] if document.picture else []
    keys = dict.fromkeys(str(key) for row in rows for key in row)
    if not keys.keys() & {*reads}:
        raise ArtefactError(
            f"no row has {' or '.join(map(repr, dict.fromkeys(reads)))}, all that the"
            f" model reads; they have {', '.join(map(repr, keys)) or 'nothing'}"
        )
    return rows


def open_tokenizers(folder: Path, document: Document) -> dict[str, Tokenizer]:
    """Of each stream one of its own, set once: threads may answer side by side."""
    found = {}
    for stream, text in document.texts.items():
        found[stream] = Tokenizer.from_file(str(folder / text.tokenizer))
        found[stream].no_padding()
        found[stream].enable_truncation(text.length)
    return found


def make_batch(
    rows: Sequence[Mapping],
    document: Document,
    tokenizers: Mapping[str, Tokenizer],
    *,
    image_root: Path,
) -> tuple[dict[str, np.ndarray], list[Note]]:
    """(inputs, notes) of at most `document.rows` rows; the others are empty.

    Args:
      tokenizers: of each stream, see `open_tokenizers`.
    """
    batch, notes = {}, []
    for name, (shape, dtype) in document.inputs.items():
        batch[name] = np.zeros(shape, dtype)
    count = len(rows)
    for stream, text in document.texts.items():
        texts = [_text(row, text.columns) for row in rows]
        there = np.array([bool(x.strip()) for x in texts], bool)
        read = [text.prefix + x if x.strip() else "" for x in texts]
        tokens = no_tokens(count, text.length)
        fill_tokens(tokens, tokenizers[stream], read, bare=text.bare)
        batch[f"{stream}_ids"][:count] = tokens.ids
        batch[f"{stream}_mask"][:count] = tokens.mask
        here = there if text.bare else tokens.mask.any(axis=1)
        batch[f"has_{stream}"][:count] = here
    if document.picture:
        for row, values in enumerate(rows):
            pixels, flaw = _picture(values, document.picture, image_root)
            if flaw:
                notes.append(Note(row, document.picture.column, flaw))
            elif pixels is not None:
                batch[IMAGE][row, 0], batch["has_image"][row] = pixels, True
    return batch, notes


def _text(row: Mapping, columns: Sequence[str]) -> str:
    texts = (as_text(_readable(row.get(column)))[:LONGEST_TEXT] for column in columns)
    return BETWEEN_COLUMNS.join(filter(None, texts))


def _readable(value):
    """What UTF-8 has no bytes for is replaced, as in a file."""
    return BAD_CHARACTERS.sub(UNREADABLE, value) if isinstance(value, str) else value


def _picture(row: Mapping, look: PictureInput, root: Path):
    """(pixels or None, flaw or '')."""
    value = row.get(look.column)
    try:
        value = str(value) if isinstance(value, Path) else value
        if isinstance(value, np.ndarray):  # of which nobody knows the range
            raise ImageError("unreadable image field: ndarray; give encoded bytes")
        source = picture_source(value, root=root)
        if source is None:
            return None, ""
        data = source.read_bytes() if isinstance(source, Path) else source
        options = {"resample": look.resample, "max_pixels": look.max_pixels}
        pixels = decode_image(data, resize=look.resize, **options)
    except (ImageError, OSError) as error:
        return None, str(error)
    (top, left), (height, width) = look.offset, look.size
    return pixels[top : top + height, left : left + width], ""
