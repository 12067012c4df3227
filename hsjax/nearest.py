"""The nearest training text by TF-IDF or by features, with probabilities."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from hsjax.text_baseline import TextBaseline

CELLS = 2 * 10**7  # cosines of texts held at once: 80 MB, and as much again if sparse


class Texts(NamedTuple):
    """Training texts, sorted by class.

    Attributes:
      index: (F, N) features of texts, unit length per text; sparse of TF-IDF.
      starts: (C,) the first text of each class.
    """

    index: sparse.csr_matrix | np.ndarray
    starts: np.ndarray


class NearestBaseline(TextBaseline):
    """The score of a path is the cosine of a text and the path's nearest training text.

    A text that shares no feature with any training text makes all paths equally likely,
    and the first is answered.

    Without calibration T = 0.05: one text of cosine 0.43 then weighs as much as 5,000
    classes that share no word, and an equal text leaves them next to nothing. Where the
    best T lies depends on how long texts are and how many the classes, so that it is
    better fitted.
    """

    temperature = 0.05
    log_temperatures = (-6.0, 1.0)  # cosines lie closer together than margins
    most_held = 2000  # enough for one number; each is compared with every text

    @property
    def parameters(self) -> int:
        """Numbers that are kept: nothing is learnt but the weights of features."""
        if not sparse.issparse(self.model.index):
            return self.model.index.size
        return self.model.index.nnz + len(self.vectorizer.idf_)

    def flops(self, texts: Sequence[str]) -> float:
        """2 x training texts that have a feature, summed over those of a text.

        Of vectors all texts have all features; what their encoder costs is not counted.
        """
        if not sparse.issparse(self.model.index):
            return 2.0 * self.model.index.size
        features = self.vectorizer.transform(texts)
        texts_of = np.diff(self.model.index.indptr)
        return 2.0 * float(texts_of[features.indices].sum()) / len(texts)

    def _vectorizer(self) -> TfidfVectorizer:
        return super()._vectorizer(dtype=np.float32)

    def _learn(self, features, target) -> Texts:
        order = np.argsort(target, kind="stable")
        starts = np.unique(target[order], return_index=True)[1]
        index = features[order].T
        return Texts(index.tocsr() if sparse.issparse(index) else index, starts)

    def _scores(self, model: Texts, features) -> Float[np.ndarray, "N C"]:
        found = np.zeros((features.shape[0], len(model.starts)))
        rows = max(CELLS // model.index.shape[1], 1)
        for start in range(0, len(found), rows):
            part = slice(start, start + rows)
            cosines = features[part] @ model.index
            cosines = cosines.toarray() if sparse.issparse(cosines) else cosines
            found[part] = np.maximum.reduceat(cosines, model.starts, axis=1)
        return found
