"""Vectors of products from several stores: the space in which clusters are found."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer

from hsjax.batch import IMAGE
from hsjax.data.features import Features

FITTED = 20_000  # rows at most that components are fitted on
BLOCK = 2048  # rows that are read at once


class Mixed:
    """`mixed(rows) -> (B, D)`: of each modality principal components, side by side.

    A modality's vectors are brought to unit length first, so that each counts alike. Of
    a picture's cells all are kept, one behind the other, as where a cell is tells of
    the shape; of a text's tokens their mean. What a product lacks is zeros. A modality
    of a single product has no components, and is left out.

    Args:
      features: of the modalities' stores.
      components: of each modality at most.
      arrays: name -> (N, D) vectors beside those of stores, such as joint embeddings;
        rows of zeros are absent.

    Attributes:
      reductions: name -> its components; empty where no product has a vector.
    """

    def __init__(
        self,
        features: Mapping[str, Features],
        *,
        components: int,
        arrays: Mapping[str, Float[np.ndarray, "N D"]],
        seed: int,
    ):
        self.features, self.arrays = dict(features), dict(arrays)
        self.reductions = {}
        for name in (*self.features, *self.arrays):
            here = self._there(name)
            if len(here) > 1:
                self.reductions[name] = self._fitted(name, here, components, seed)

    @property
    def present(self) -> Integer[np.ndarray, "N"]:
        """Rows that have a vector of some modality, in order."""
        rows = [self._there(name) for name in self.reductions]
        return np.unique(np.concatenate(rows)) if rows else np.zeros(0, int)

    def __call__(self, rows: Integer[np.ndarray, "B"]) -> Float[np.ndarray, "B D"]:
        parts = []
        for name, pca in self.reductions.items():
            blocks = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
            found = []
            for block in blocks:
                x = self._unit(name, block)
                there = x.any(axis=1)
                reduced = pca.transform(x).astype(np.float32)
                found.append(np.where(there[:, None], reduced, 0))
            parts.append(np.concatenate(found))
        return np.concatenate(parts, axis=1)

    def _there(self, name: str) -> np.ndarray:
        if name in self.features:
            everything = np.arange(len(self.features[name].rows))
            return np.flatnonzero(self.features[name].present(everything))
        return np.flatnonzero(self.arrays[name].any(axis=1))

    def _fitted(self, name: str, here: np.ndarray, components: int, seed: int):
        from sklearn.decomposition import PCA

        if len(here) > FITTED:
            rng = np.random.default_rng(seed)
            here = np.sort(rng.choice(here, FITTED, replace=False))
        x = self._unit(name, here)
        count = min(components, *x.shape)
        solver = "full" if count > min(x.shape) // 2 else "randomized"
        return PCA(count, svd_solver=solver, random_state=0).fit(x)

    def _unit(self, name: str, rows: np.ndarray) -> np.ndarray:
        if name in self.arrays:
            x = self.arrays[name][rows]
        else:
            x = _flat(name, self.features[name], rows)
        x = x.astype(np.float32)
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(norms > 0, norms, 1)


def _flat(name: str, features: Features, rows: np.ndarray) -> np.ndarray:
    """(B, D), or of (B, T, D) all cells of a picture, and the mean token of a text."""
    x = features.take(rows)
    if x.ndim == 2:
        return x
    if name == IMAGE:
        return x.reshape(len(x), -1)
    there = features.masks(rows)[:, :, None]
    return (x * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def joint_vectors(
    embeddings: Mapping[str, Float[np.ndarray, "N E"]], modalities: Sequence[str]
) -> Float[np.ndarray, "N E"]:
    """The mean of a product's unit vectors in the common space, text and picture.

    Args:
      embeddings: `text` and `image`, zeros where there is none.
      modalities: that count: a name other than `image` stands for the text.
    """
    wanted = {IMAGE if m == IMAGE else "text" for m in modalities}
    return sum(np.asarray(x) for name, x in embeddings.items() if name in wanted)
