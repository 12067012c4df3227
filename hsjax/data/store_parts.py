"""Parts of a feature store: written whole or not at all, and read back."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from hsjax.atomic import finished
from hsjax.data.quarantine import CatalogueError


class Part(NamedTuple):
    """Some items of a store.

    Attributes:
      lengths: tokens of each item, None = all of it counts.
    """

    keys: Sequence[str]
    vectors: Float[np.ndarray, "N *shape"]
    lengths: Integer[np.ndarray, "N"] | None


def add_part(
    folder: Path,
    keys: Sequence[str],
    vectors: Float[np.ndarray, "N *shape"],
    lengths: Integer[np.ndarray, "N"] | None = None,
) -> None:
    """Adds vectors under their keys; whole or not at all.

    A part is named by its keys: processes and resumed runs never collide.

    Args:
      lengths: tokens of each item, None = all.
    """
    path = folder / hashlib.sha1("".join(keys).encode()).hexdigest()[:16]
    arrays = {".npy": vectors} | ({} if lengths is None else {".lengths.npy": lengths})
    for suffix, array in arrays.items():
        with finished(Path(f"{path}{suffix}")) as partial, open(partial, "wb") as file:
            np.save(file, array)
    with finished(Path(f"{path}.keys")) as partial:
        partial.write_text("".join(f"{key}\n" for key in keys))


def read_part(path: Path, shape: tuple[int, ...]) -> Part:
    """Of files `path`.keys, .npy and, where there are any, .lengths.npy.

    Raises:
      CatalogueError: one is cut off or missing, or they do not fit each other.
    """
    name, lengths = Path(f"{path}.npy"), Path(f"{path}.lengths.npy")
    try:
        part = Part(
            Path(f"{path}.keys").read_text().split(),
            np.load(name, mmap_mode="r"),
            np.load(lengths) if lengths.exists() else None,
        )
    except (OSError, ValueError, EOFError) as error:
        raise CatalogueError(f"{name} cannot be read ({error}): {_MEND}") from None
    expected = (len(part.keys), *shape)
    if part.vectors.shape != expected:
        raise CatalogueError(
            f"{name} holds {part.vectors.shape}, expected {expected}: {_MEND}"
        )
    if part.lengths is not None and part.lengths.shape != expected[:1]:
        raise CatalogueError(f"{lengths} holds {part.lengths.shape}: {_MEND}")
    return part


_MEND = "delete this file and the one of the same name with .keys, and extract again"


def as_stored(
    vectors: Float[np.ndarray, "N *shape"], dtype: str
) -> Float[np.ndarray, "N *shape"]:
    """Vectors in the dtype of a store.

    Raises:
      CatalogueError: one is not finite, or is too large for the dtype.
    """
    with np.errstate(over="ignore"):
        stored = vectors.astype(dtype)
    if np.isfinite(stored).all():
        return stored
    if not np.isfinite(vectors.astype(np.float32)).all():
        raise CatalogueError("the encoder's vectors are not finite (NaN or infinite)")
    raise CatalogueError(
        f"the encoder's vectors reach {float(np.abs(vectors).max()):.3g}, which {dtype}"
        " cannot hold: set extract.stored=float32"
    )
