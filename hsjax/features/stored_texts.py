"""Texts as the vectors of a feature store, as scikit-learn would have them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hsjax.batch import IMAGE
from hsjax.data.features import text_key
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import FeatureStore
from hsjax.features.live import embed


class StoredTexts:
    """Unit-length vectors of texts; what the store lacks, its encoder embeds.

    Args:
      folder: of a feature store of texts, one vector each.

    Raises:
      CatalogueError: it is no store, one of pictures, or one of every token.
    """

    def __init__(self, folder: Path | str):
        self.store = FeatureStore(folder)
        if self.store.facts.get("modality") == IMAGE:
            raise CatalogueError(
                f"baseline.features: {folder} holds features of pictures; name a store"
                " of texts"
            )
        if len(self.store.shape) != 1:
            raise CatalogueError(
                f"baseline.features: {folder} holds every token of a text; extract one"
                " vector each, without extract.states"
            )

    def fit_transform(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """As `transform`: there is nothing to fit."""
        return self.transform(texts)

    def transform(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """float32; zeros for an empty text.

        Raises:
          CatalogueError: a text is not stored, and the store's encoder is gone.
        """
        keys = [text_key(text) for text in texts]
        vectors = self.store.take(self.store.rows(keys))
        lacking = [i for i, k in enumerate(keys) if k and k not in self.store]
        if lacking:
            new = list(dict.fromkeys(texts[i] for i in lacking))
            made = embed(self.store.folder, new, max_pixels=1)  # there are no pictures
            place = {text: row for row, text in enumerate(new)}
            vectors[lacking] = made[[place[texts[i]] for i in lacking]]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms > 0, norms, 1)
