"""Which state of a catalogue is read: the file, and the pictures beside it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from hsjax.data.image import encoded_image
from hsjax.data.pixels import ImageError
from hsjax.data.prepared import MANIFEST, described_source, is_prepared
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import read_rows
from hsjax.progress import progress


def source_facts(data) -> dict:
    """What tells one state of a catalogue from another, wherever it lies.

    A file is known by its content, a prepared folder by its manifest, and pictures that
    a file names by their sizes and times: a picture that is there at last makes another
    state of the catalogue.

    Args:
      data: the data group whose columns are mapped; no column of pictures = they do not
        count.
    """
    path = Path(data.path)
    if is_prepared(path):
        facts = described_source(path / MANIFEST)
    else:
        facts = described_source(path)
    facts.pop("name")
    if data.columns.image and not is_prepared(path) and path.is_file():
        facts["pictures"] = _pictures(data)
    return facts


def _pictures(data) -> str:
    """A hash of size and time of every picture that is a file."""
    root, column = Path(data.image_root or Path(data.path).parent), data.columns.image
    digest = hashlib.sha256()
    rows = read_rows(data.path, Quarantine(), columns=(column,))
    for row, values in progress(rows, "pictures named"):
        try:
            source = encoded_image(values.get(column), root=root)
            if isinstance(source, Path):
                state = source.stat()
                digest.update(f"{row} {state.st_size} {state.st_mtime_ns}\n".encode())
        except (ImageError, OSError) as error:
            digest.update(f"{row} {error}\n".encode())
    return digest.hexdigest()


class Unchanged:
    """`unchanged()`: is the catalogue the file that it was at first?"""

    def __init__(self, source: Path) -> None:
        self.file = source / MANIFEST if is_prepared(source) else source
        self.before = self._state()

    def _state(self) -> tuple[int, int, int]:
        state = self.file.stat()
        return state.st_size, state.st_mtime_ns, state.st_ino

    def __call__(self) -> bool:
        return self._state() == self.before


def check_apart(
    output: Path, inputs: Mapping[str, Path | None], *, flag: str = "--output"
) -> None:
    """Is an output none of the inputs, and not in the folder of one?

    Args:
      inputs: by the flags that name them, None = there is none; flag: of the output.

    Raises:
      CatalogueError: it is.
    """
    own = output.resolve()
    for name, path in inputs.items():
        if path is None:
            continue
        other = path.resolve()
        if own == other or (path.is_dir() and own.is_relative_to(other)):
            raise CatalogueError(
                f"{flag}={output} would be written over or into {name}={path}: name"
                " another file"
            )
