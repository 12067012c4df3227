"""Products as the vectors of a feature store, as scikit-learn would have them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hsjax.batch import IMAGE
from hsjax.data.features import text_key
from hsjax.data.prepared import StoredPicture
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.data.store import FeatureStore
from hsjax.data.text import stream_texts
from hsjax.features.live import embed

# what a vector is of: a text, or the picture of a record
Item = str | Record


class StoredVectors:
    """Unit-length vectors of texts or pictures; its encoder makes what a store lacks.

    Args:
      folder: of a feature store, one vector for each text or each picture.
      max_pixels: larger pictures are refused.

    Attributes:
      pictures: the store is one of pictures, otherwise of texts.

    Raises:
      CatalogueError: it is no store, or one of every token or cell.
    """

    def __init__(self, folder: Path | str, *, max_pixels: int):
        self.store, self.max_pixels = FeatureStore(folder), max_pixels
        self.pictures = self.store.facts.get("modality") == IMAGE
        if len(self.store.shape) != 1:
            held = "cell of a picture" if self.pictures else "token of a text"
            raise CatalogueError(
                f"baseline.features: {folder} holds every {held}; extract one vector"
                " each, without extract.states"
            )

    def items(self, records: Sequence[Record], columns: Sequence[str]) -> list[Item]:
        """What vectors are made of: the texts of these columns, or the pictures."""
        return list(records) if self.pictures else stream_texts(records, columns)

    def fit_transform(self, items: Sequence[Item]) -> Float[np.ndarray, "N D"]:
        """As `transform`: there is nothing to fit.

        Raises:
          CatalogueError: every item is empty; see `transform`.
        """
        if not any(self._keys(items)):
            told = (
                "no training row has a picture: check data.columns.image"
                if self.pictures
                else "every training text is empty: check columns.text"
            )
            raise CatalogueError(told)
        return self.transform(items)

    def transform(self, items: Sequence[Item]) -> Float[np.ndarray, "N D"]:
        """float32; zeros for an empty text, or where there is no picture.

        Raises:
          CatalogueError: an item is not stored, and the store's encoder is gone or the
            picture is not at hand.
        """
        keys = self._keys(items)
        vectors = self.store.take(self.store.rows(keys))
        pairs = zip(keys, items, strict=True)
        lacking = {k: item for k, item in pairs if k and k not in self.store}
        if lacking:
            contents, limit = self._contents(lacking), self.max_pixels
            made = embed(self.store.folder, contents, max_pixels=limit)
            place = {key: row for row, key in enumerate(lacking)}
            here = [i for i, key in enumerate(keys) if key in place]
            vectors[here] = made[[place[keys[i]] for i in here]]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms > 0, norms, 1)

    def _keys(self, items: Sequence[Item]) -> list[str]:
        """By which the store knows them, '' = empty."""
        return [r.image_key if self.pictures else text_key(r) for r in items]

    def _contents(self, lacking: Mapping[str, Item]) -> list[str | bytes | Path]:
        """What the encoder reads, in order.

        Pictures that were decoded for a model of other sizes, or that were only hashed,
        cannot be encoded.
        """
        if not self.pictures:
            return list(lacking.values())
        contents = [record.image for record in lacking.values()]
        away = [
            record
            for record, x in zip(lacking.values(), contents, strict=True)
            if not isinstance(x, bytes | Path | StoredPicture)
        ]
        if away:
            raise CatalogueError(
                f"baseline.features: {self.store.folder} lacks pictures that were not"
                f" kept as its encoder reads them ({len(away):,}, first: row"
                f" {away[0].row}, id {away[0].id}): name 'image' in model.modalities"
                " and the same folder in data.features.image, or extract them into it"
                " with --config.task=extract"
            )
        return contents
