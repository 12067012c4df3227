"""artefact.json: what a program takes and gives, and what lies beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import file_hash

FORMAT = 1
NAME = "artefact.json"
PROGRAM, PARAMETERS = "program.stablehlo", "parameters.safetensors"
TAXONOMY, CALIBRATION = "taxonomy.json", "calibration.json"
TEMPERATURE, CONFIDENCE = "temperature", "confidence"  # inputs beside the products
LEVEL = "level"  # level/1, level/2, ...: outputs with p(node) of every node, by id
IMAGE = "image"


class ArtefactError(ValueError):
    """A folder that is no whole artefact, or rows that it cannot answer, in words."""


class TextInput(NamedTuple):
    """One text stream of a program.

    Attributes:
      columns: of a row, joined by ' ; '.
      length: tokens, longer texts are cut.
      tokenizer: file of the folder.
      prefix: put before each text.
      bare: does a text without any token but special ones count as there?
    """

    columns: tuple[str, ...]
    length: int
    tokenizer: str
    prefix: str = ""
    bare: bool = False


class PictureInput(NamedTuple):
    """The pictures of a program: (rows, 1, *size, 3) uint8.

    The whole picture is stretched to `resize`; the program sees `size` from `offset`
    on, and normalises it by `mean` and `std` itself.

    Attributes:
      column: of a row.
      resize, size, offset: (height, width).
      resample: Pillow's name of the filter.
      max_pixels: larger pictures are refused.
      mean, std: of pixels in 0..1, per channel.
    """

    column: str
    resize: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]
    resample: str
    max_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Document(NamedTuple):
    """artefact.json.

    Attributes:
      run: name and step of the run; versions: of what exported it, and its devices.
      platforms: that the program was lowered for.
      rows: of a batch.
      texts: stream -> its input; picture: None without pictures.
      inputs, outputs: name -> [shape, dtype].
      main: the decode that is the answer; temperature: of each level.
      taxonomy: hash of the tree; parameters: hash of names, shapes and bytes.
      files: name -> sha256.
    """

    run: Mapping
    versions: Mapping
    platforms: tuple[str, ...]
    rows: int
    texts: Mapping[str, TextInput]
    picture: PictureInput | None
    inputs: Mapping[str, list]
    outputs: Mapping[str, list]
    main: str
    temperature: tuple[float, ...]
    taxonomy: str
    parameters: str
    files: Mapping[str, str]


def as_json(document: Document) -> str:
    """The text of artefact.json."""
    values = document._asdict()
    values["texts"] = {name: x._asdict() for name, x in document.texts.items()}
    values["picture"] = document.picture and document.picture._asdict()
    return json.dumps({"format": FORMAT, **values}, indent=1) + "\n"


def read_document(folder: Path) -> Document:
    """What `as_json` wrote into a folder, whose other files are checked by their hash.

    Raises:
      ArtefactError: no artefact, one of another format, or a file that is not its.
    """
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: there is no such folder")
    try:
        values = json.loads((folder / NAME).read_text("utf-8"))
        found = values.pop("format")
        if found != FORMAT:
            raise ArtefactError(
                f"{folder / NAME} has format {found}, this hsjax reads {FORMAT}: export"
                " the run again, or take the hsjax that exported it"
            )
        document = _document(values)
    except FileNotFoundError:
        raise ArtefactError(f"{folder} has no {NAME}: {_told(folder)}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{folder / NAME} cannot be read: {error!r}") from None
    for name, digest in document.files.items():
        _check_file(folder / name, digest)
    return document


def _told(folder: Path) -> str:
    if (folder / "checkpoints").is_dir():
        return f"it is a workdir, which hsjax.load({str(folder)!r}) reads"
    return "it is none that python -m hsjax.export --artefact has finished"


def _document(values: dict) -> Document:
    texts = {k: TextInput(**_tuples(x)) for k, x in values.pop("texts").items()}
    picture = values.pop("picture")
    picture = picture and PictureInput(**_tuples(picture))
    return Document(texts=texts, picture=picture, **_tuples(values))


def _tuples(values: Mapping) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _check_file(path: Path, digest: str) -> None:
    if not path.is_file():
        told = "copy the whole folder, or export the run again"
        raise ArtefactError(f"{path} is missing: {told}")
    if file_hash(path) != digest:
        raise ArtefactError(
            f"{path} is not the file that {NAME} was written with: it is torn, or of"
            " another export; copy the folder again"
        )
