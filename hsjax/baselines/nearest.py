"""The nearest training products by TF-IDF or by features, with probabilities."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from hsjax.baselines.text import TextBaseline

CELLS = 2 * 10**7  # cosines held at once: 80 MB, twice that if sparse or if they vote
VOTE = 0.07  # temperature of a vote, of Wu et al. 2018
EQUAL = 1e-6  # cosines that are closer differ by rounding alone


class Items(NamedTuple):
    """Training items, texts or pictures, sorted by class.

    Attributes:
      index: (F, N) features of items, unit length per item; sparse of TF-IDF.
      starts: (C,) the first item of each class.
    """

    index: sparse.csr_matrix | np.ndarray
    starts: np.ndarray


class NearestBaseline(TextBaseline):
    """The score of a path is the cosine to the nearest of the path's training items.

    With `neighbours` = k above 1, the k nearest of all training items vote, each for
    its path, and of every path without a vote its own nearest item:

        score(path) = tau log sum_i exp(cos_i / tau),  tau = 0.07

    The weighted vote by which features that were learnt without labels are judged (Wu
    et al. 2018, section 3.4, https://arxiv.org/abs/1805.01978), written as a soft
    maximum: softmax(score / tau) are the shares of the votes, and an item that votes
    alone scores its cosine. Paths with none of the k nearest come behind those that
    have one, so that the order of answers is that of the vote, and no path is
    impossible. Items as near as the k-th are among the k; those of cosine 0 or less
    are not.

    An item that shares no feature with any training item makes all paths equally
    likely, and the first is answered.

    Without calibration T = 0.05: one text of cosine 0.43 then weighs as much as 5,000
    classes that share no word, and an equal text leaves them next to nothing; of votes
    T = tau. Where the best T lies depends on how long texts are and how many the
    classes, so that it is better fitted.

    Args:
      neighbours: k.
      options: of `TextBaseline`.
    """

    temperature = 0.05
    log_temperatures = (-6.0, 1.0)  # cosines lie closer together than margins
    most_held = 2000  # enough for one number; each is compared with every item

    def __init__(self, *, neighbours: int = 1, **options):
        super().__init__(**options)
        if neighbours < 1:
            raise ValueError(f"baseline.neighbours={neighbours}: give 1 or more")
        self.neighbours = neighbours
        if neighbours > 1:
            self.temperature = VOTE

    @property
    def parameters(self) -> int:
        """Numbers that are kept: nothing is learnt but the weights of features."""
        if not sparse.issparse(self.model.index):
            return self.model.index.size
        return self.model.index.nnz + len(self.vectorizer.idf_)

    def flops(self, items: Sequence) -> float:
        """2 x training items that have a feature, summed over those of an item.

        Of vectors all items have all features; what their encoder costs is not counted,
        and neither is a vote.
        """
        if not sparse.issparse(self.model.index):
            return 2.0 * self.model.index.size
        features = self.vectorizer.transform(items)
        items_of = np.diff(self.model.index.indptr)
        return 2.0 * float(items_of[features.indices].sum()) / len(items)

    def _vectorizer(self) -> TfidfVectorizer:
        return super()._vectorizer(dtype=np.float32)

    def _learn(self, features, target) -> Items:
        order = np.argsort(target, kind="stable")
        starts = np.unique(target[order], return_index=True)[1]
        index = features[order].T
        return Items(index.tocsr() if sparse.issparse(index) else index, starts)

    def _scores(self, model: Items, features) -> Float[np.ndarray, "N C"]:
        found = np.zeros((features.shape[0], len(model.starts)))
        rows = max(CELLS // model.index.shape[1], 1)
        for start in range(0, len(found), rows):
            part = slice(start, start + rows)
            cosines = features[part] @ model.index
            cosines = cosines.toarray() if sparse.issparse(cosines) else cosines
            found[part] = np.maximum.reduceat(cosines, model.starts, axis=1)
            if self.neighbours > 1:
                votes = _votes(cosines, model.starts, self.neighbours)
                voted = np.nonzero(votes)
                found[part][voted] = VOTE * np.log(votes[voted])
        return found


def _votes(
    cosines: Float[np.ndarray, "N M"], starts: Integer[np.ndarray, "C"], count: int
) -> Float[np.ndarray, "N C"]:
    """For each class, the weights of its items among the `count` nearest."""
    last = -min(count, cosines.shape[1])
    least = np.partition(cosines, last, axis=1)[:, last, None] - EQUAL
    row, item = np.nonzero((cosines >= least) & (cosines > 0))
    weights = np.exp(cosines[row, item].astype(np.float64) / VOTE)
    votes = np.zeros((len(cosines), len(starts)))
    np.add.at(votes, (row, np.searchsorted(starts, item, side="right") - 1), weights)
    return votes
