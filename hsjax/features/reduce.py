"""Fewer dimensions of stored vectors: principal components of the training rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hsjax.atomic import finished
from hsjax.data.features import FITTED_FILE, PCA_FILE
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import FeatureStore, add_part, start_store
from hsjax.data.store_parts import as_stored
from hsjax.models.published_files import write_tensors

ROWS = 8192  # vectors that are transformed at once
FITTED = 65536  # tokens, patches or cells at most that components are fitted on
# what the store of a reduction says beside what is said of the vectors themselves
PCA_FACTS = ("pca", "fitted_on", "fitted_hash")


class Reduction(NamedTuple):
    """x -> (x - mean) @ components.

    Of a token, patch or cell as of a whole item; a mean over them commutes with it.

    Attributes:
      mean: (D,); components: (D, K).
    """

    mean: Float[np.ndarray, "D"]
    components: Float[np.ndarray, "D K"]

    def __call__(self, x: Float[np.ndarray, "*N D"]) -> Float[np.ndarray, "*N K"]:
        return (x - self.mean) @ self.components


def fit_pca(x: Float[np.ndarray, "N D"], *, share: float) -> Reduction:
    """As few principal components as keep `share` (0..1) of the variance."""
    from sklearn.decomposition import PCA  # a second that predictions do without

    solver = "full" if len(x) < 4 * x.shape[1] else "covariance_eigh"
    pca = PCA(n_components=share, svd_solver=solver).fit(x)
    components = np.ascontiguousarray(pca.components_.T, np.float32)
    return Reduction(pca.mean_.astype(np.float32), components)


def reduce_store(
    store: FeatureStore, folder: Path, training: Sequence[str], *, share: float
) -> FeatureStore:
    """A second store with the principal components of a first.

    Where every token, patch or cell is kept, each of them is reduced; padding stays 0.

    Args:
      training: keys of the training rows; on them alone the components are fitted.

    Raises:
      CatalogueError: `folder` holds other features, or there are too few rows.
    """
    used = check_training(training)
    vectors = _fitted_on(store, store.rows(used))
    if not np.ptp(vectors, axis=0).any():
        raise CatalogueError("extract.pca: all vectors of the training part are equal")
    reduction = fit_pca(vectors, share=share)
    shape = [*store.shape[:-1], reduction.components.shape[1]]
    digest = hashlib.sha256("".join(used).encode()).hexdigest()
    own = dict(zip(PCA_FACTS, (share, len(used), digest), strict=True))
    instead = f"delete {folder}: it is made again in seconds"
    start_store(folder, store.facts | {"shape": shape} | own, instead=instead)
    if (kept := load_reduction(folder)) is None:
        write_tensors(folder / PCA_FILE, reduction._asdict())
    else:
        reduction = kept  # of the same rows; its last bits are those of the old parts
    with finished(folder / FITTED_FILE) as partial:
        partial.write_text("".join(f"{key}\n" for key in used))
    keys = store.keys()
    held = FeatureStore(folder)
    for first in range(0, len(keys), ROWS):
        some = keys[first : first + ROWS]
        new = [key for key in some if key not in held]
        if new:
            rows, lengths = store.rows(new), None
            vectors = reduction(store.take(rows))  # (n, K) or (n, T, K)
            if len(store.shape) > 1:
                there = store.masks(rows)
                vectors[~there], lengths = 0, there.sum(axis=1, dtype=np.int32)
            stored = as_stored(vectors, store.facts["dtype"])
            add_part(folder, new, stored, lengths)
    return FeatureStore(folder)


def _fitted_on(
    store: FeatureStore, rows: Integer[np.ndarray, "M"]
) -> Float[np.ndarray, "N D"]:
    """The vectors of these rows; of tokens, patches or cells those of every n-th row.

    Keys are hashes, so every n-th of the sorted ones is a draw.
    """
    if len(store.shape) == 1:
        return store.take(rows)
    some = rows[:: -(-len(rows) * store.shape[0] // FITTED)]
    return store.take(some)[store.masks(some)]


def check_training(training: Sequence[str]) -> list[str]:
    """The different keys of the training rows that have the modality, sorted.

    Raises:
      CatalogueError: too few for components.
    """
    used = sorted({key for key in training if key})
    if len(used) < 2:
        raise CatalogueError(
            f"extract.pca: the training part has {len(used)} different items, and"
            " components need 2 or more"
        )
    return used


def load_reduction(folder: Path) -> Reduction | None:
    """The reduction of a store, None where it holds an encoder's own vectors.

    Raises:
      CatalogueError: its file is torn.
    """
    path = folder / PCA_FILE
    if not path.exists():
        return None
    try:
        return Reduction(**load_file(path))
    except (SafetensorError, OSError, TypeError) as error:
        raise CatalogueError(
            f"{path} is torn ({error}): delete {folder} and run --config.task=extract"
            " again"
        ) from None
