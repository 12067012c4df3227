"""A linear support vector machine on TF-IDF or features, with probabilities."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from hsjax.baselines.text import TextBaseline
from hsjax.data.quarantine import CatalogueError

MANY_CLASSES = "The number of unique classes is greater than 50% of the number"
WEIGHTS = 2 * 10**8  # classes x features kept in memory: 1.6 GB


class SvmBaseline(TextBaseline):
    """A linear SVM per path against the rest (B1 of Paper A); scores are its margins.

    Args:
      penalty: C, of margins that are violated.
      options: of `TextBaseline`.
    """

    def __init__(self, *, penalty: float = 1.0, **options):
        super().__init__(**options)
        if penalty <= 0:
            raise CatalogueError(f"baseline.penalty={penalty}: give one above 0")
        self.penalty = penalty

    @property
    def parameters(self) -> int:
        """Numbers that are learnt."""
        return self.model.coef_.size + self.model.intercept_.size

    def flops(self, items: Sequence) -> float:
        """2 x features of an item that are not zero, on average x classes."""
        features = self.vectorizer.transform(items)
        dense = isinstance(features, np.ndarray)
        filled = features.shape[1] if dense else features.nnz / len(items)
        return 2.0 * filled * len(self.model.coef_)

    def _vectorizer(self) -> TfidfVectorizer:
        return super()._vectorizer(max_features=max(WEIGHTS // len(self.paths), 1))

    def _learn(self, features, target) -> LinearSVC:
        svm = LinearSVC(C=self.penalty, dual=True, random_state=self.seed)
        with warnings.catch_warnings():
            # scikit-learn asks whether labels are numbers; the report has rare classes
            warnings.filterwarnings("ignore", MANY_CLASSES, UserWarning)
            return svm.fit(features, target)

    def _scores(self, model: LinearSVC, features) -> Float[np.ndarray, "N C"]:
        margins = model.decision_function(features)
        two = margins.ndim == 1
        return np.stack([-margins, margins], axis=1) / 2 if two else margins
