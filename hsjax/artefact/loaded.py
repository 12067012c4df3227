"""An artefact in memory: rows in, answers out."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jax import export
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hsjax.artefact.answers import Answers, make_answers
from hsjax.artefact.document import (
    CONFIDENCE,
    LEVEL,
    PARAMETERS,
    PROGRAM,
    TAXONOMY,
    TEMPERATURE,
    ArtefactError,
    Document,
    read_document,
)
from hsjax.artefact.inputs import Note, as_rows, make_batch, open_tokenizers
from hsjax.taxonomy import Taxonomy


class Artefact:
    """A program with its parameters, its tree and its tokenizers; threads may share it.

    Attributes:
      folder: where it lies; document: its artefact.json; tree: the taxonomy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.document = folder, read_document(folder)
        self.tree = _tree(folder, self.document)
        self._tokenizers = open_tokenizers(folder, self.document)
        call = _program(folder, self.document)
        self._params = jax.device_put(_parameters(folder))
        self._call = jax.jit(call)

    def predict(
        self,
        rows: Iterable[Mapping],
        *,
        image_root: Path | str = ".",
        confidence: float | None = None,
    ) -> Answers:
        """Answers for dicts {column: value}, in order.

        A key that a row lacks is an empty field; a picture is bytes, base64 or a path.

        Args:
          image_root: folder of image paths.
          confidence: also answer with the deepest node of at least this probability.

        Raises:
          ArtefactError: there are no rows, something else was given, or nothing that
            the model reads.
          ValueError: the confidence is no probability above 0.
        """
        if confidence is not None and not 0 < confidence <= 1:
            raise ValueError(f"confidence is {confidence}; it lies in 0 < p <= 1")
        parts, notes = [], []
        for found, own in self._batches(rows, image_root, confidence or 1.0):
            whole = f"{LEVEL}/"  # of every node, which nobody asked for
            parts.append({k: x for k, x in found.items() if not k.startswith(whole)})
            notes += own
        joined = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        return make_answers(
            joined,
            self.tree,
            main=self.document.main,
            asked=confidence is not None,
            notes=notes,
        )

    def distribution(
        self, rows: Iterable[Mapping], *, image_root: Path | str = "."
    ) -> tuple[np.ndarray, ...]:
        """(N, C) p(node) per level, in the order of `tree.codes`; see `predict`."""
        found = [x for x, _ in self._batches(rows, image_root, 1.0)]
        names = [f"{LEVEL}/{k}" for k in range(1, self.tree.num_levels + 1)]
        return tuple(np.concatenate([x[name] for x in found]) for name in names)

    def _batches(
        self, rows: Iterable[Mapping], image_root: Path | str, confidence: float
    ) -> Iterator[tuple[dict[str, np.ndarray], list[Note]]]:
        """Outputs of the rows of each batch, with notes by the numbers of all rows."""
        document, root = self.document, Path(image_root)
        if not root.is_dir():
            raise ArtefactError(f"folder {root} (image_root) does not exist")
        rows = as_rows(rows, document)
        for first in range(0, len(rows), document.rows):
            some = rows[first : first + document.rows]
            batch, notes = make_batch(some, document, self._tokenizers, image_root=root)
            batch[TEMPERATURE] = np.array(document.temperature, np.float32)
            batch[CONFIDENCE] = np.array(confidence, np.float32)
            found = self._call(self._params, batch)
            own = {k: np.asarray(v)[: len(some)] for k, v in found.items()}
            yield own, [note._replace(row=note.row + first) for note in notes]


def open_artefact(folder: Path | str) -> Artefact:
    """The artefact of a folder.

    Raises:
      ArtefactError: it is none, is not whole, or is for other platforms.
    """
    return Artefact(Path(folder).expanduser())


def _tree(folder: Path, document: Document) -> Taxonomy:
    tree = Taxonomy.load(folder / TAXONOMY)
    if tree.hash != document.taxonomy:
        raise ArtefactError(f"{folder / TAXONOMY} is another tree than the program's")
    return tree


def _program(folder: Path, document: Document):
    here = jax.default_backend()
    here = {"gpu": "cuda"}.get(here, here)
    if here not in document.platforms:
        raise ArtefactError(
            f"{folder} was exported for {', '.join(document.platforms)}, and jax"
            f" computes on {here}: set JAX_PLATFORMS={document.platforms[0]}, or export"
            " the run again"
        )
    try:
        return export.deserialize(bytearray((folder / PROGRAM).read_bytes())).call
    except Exception as error:  # of whatever a newer or older jax makes of it
        raise ArtefactError(
            f"{folder / PROGRAM}, of jax {document.versions['jax']}, cannot be read by"
            f" jax {jax.__version__} ({error}): export the run again"
        ) from None


def _parameters(folder: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(folder / PARAMETERS)
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{folder / PARAMETERS} cannot be read: {error}") from None
