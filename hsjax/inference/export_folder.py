"""The folder of exported encoders: what may lie there, and the README.md in it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import write_atomically
from hsjax.batch import IMAGE
from hsjax.models.published_files import HUB_NAME, PublishedError

CARD = "README.md"
TITLE = "# Encoders that hsjax exported\n"  # by which a card is known again


class Exported(NamedTuple):
    """One line of a card.

    Attributes:
      modality: of the run; encoder: the `encoder_name` of the published one that it
        started from; family: its `model_type`; pool: what makes one vector of its
        states.
    """

    modality: str
    encoder: str
    family: str
    pool: str


def encoder_name(source: str) -> str:
    """A hub name, or the last name of a folder: others have it in another place.

    >>> encoder_name("org/model@v1"), encoder_name("/home/me/minilm/")
    ('org/model@v1', 'minilm')
    """
    return source if HUB_NAME.fullmatch(source) else Path(source).name


def write_card(
    output: Path, run: str, encoders: Sequence[Exported], notes: Sequence[str]
) -> None:
    """Writes README.md into the folder of one encoder or of a pair.

    Args:
      run: name of the run.
      notes: a sentence each, as the command prints them.
    """
    layout = "VisionTextDualEncoder" if len(encoders) > 1 else encoders[0].family
    lines = [
        TITLE,
        f"Of the run `{run}`, in the layout of transformers' {layout}.\n",
        "| modality | encoder | family | pooled by |\n| --- | --- | --- | --- |",
        *(f"| {' | '.join(encoder)} |" for encoder in encoders),
    ]
    if notes:
        lines += ["\nWhat to know:\n", *(f"- {note}" for note in notes)]
    lines += ["\nhsjax trains on from it, or makes features with it, by\n"]
    for encoder in encoders:
        side = IMAGE if encoder.modality == IMAGE else "text"
        lines += [
            f"    --config.model.{side}.published=FOLDER",
            f"    --config.task=extract --config.extract.modality={encoder.modality}"
            " --config.extract.encoder=FOLDER",
        ]
    write_atomically(output / CARD, "\n".join(lines) + "\n")


def check_output(output: Path, kind: str) -> None:
    """Is the folder free, or does it hold a pair that was exported before?

    Args:
      kind: `model_type` of a pair, '' of an encoder alone, which goes over nothing.

    Raises:
      PublishedError: it holds something else.
    """
    names = [n for n in ("store.json", "taxonomy.json") if (output / n).exists()]
    path = output / "config.json"
    if path.exists() and not (kind and _model_type(path) == kind):
        names.append(path.name)
    path = output / CARD
    if path.exists() and not path.read_text("utf-8", "replace").startswith(TITLE):
        names.append(CARD)
    _refuse(output, names)


def check_free(output: Path, *own: str) -> None:
    """Is the folder free, or does it hold one of such an export's own files?

    Raises:
      PublishedError: it holds something else.
    """
    if output.is_dir() and not any((output / name).is_file() for name in own):
        _refuse(output, sorted(path.name for path in output.iterdir()))
    elif output.exists() and not output.is_dir():
        raise PublishedError(f"{output} is a file; --output is a folder")


def _refuse(output: Path, names: Sequence[str]) -> None:
    if names:
        raise PublishedError(
            f"{output} holds something else ({names[0]}); take another --output"
        )


def _model_type(path: Path) -> str:
    try:
        return str(json.loads(path.read_text()).get("model_type"))
    except (OSError, ValueError, AttributeError):  # torn, or another program's
        return ""
