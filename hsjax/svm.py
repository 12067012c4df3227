"""TF-IDF and a linear support vector machine, with probabilities."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from scipy import optimize
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.svm import LinearSVC

from hsjax.data.quarantine import CatalogueError

WEIGHTS = 2 * 10**8  # classes x features kept in memory: 1.6 GB
HELD_OUT = 0.1  # of the training groups, for the temperature
NodePath = tuple[str, ...]


class SvmBaseline:
    """TF-IDF of word n-grams (sublinear), a linear SVM per last node against the rest.

    An SVM has no probabilities. softmax(margins / T) stands for them, where the one
    number T is fitted by likelihood on a held-out tenth of the training groups; then
    the SVM is fitted again on all rows. That makes them roughly calibrated on average,
    not per class. `calibrate=False` keeps T = 1 and halves the time: only the order
    then means anything.
    """

    def __init__(
        self,
        *,
        ngrams: tuple[int, int] = (1, 2),
        penalty: float = 1.0,
        calibrate: bool = True,
        seed: int = 0,
    ):
        if len(ngrams) != 2 or not 1 <= ngrams[0] <= ngrams[1] or penalty <= 0:
            raise CatalogueError(
                f"svm.ngrams={tuple(ngrams)}, svm.penalty={penalty}: give the fewest"
                " and the most words of a feature, and a penalty above 0"
            )
        self.ngrams, self.penalty = tuple(ngrams), penalty
        self.calibrate, self.seed = calibrate, seed
        self.temperature = 1.0

    def fit(
        self,
        texts: Sequence[str],
        paths: Sequence[NodePath],
        *,
        groups: Integer[np.ndarray, "N"] | None = None,
    ) -> "SvmBaseline":
        """Learns from texts and their paths of node codes; the classes are whole paths.

        Raises:
          CatalogueError: fewer than two different paths, or no text at all.
        """
        self.paths = sorted(set(paths))
        if len(self.paths) < 2:
            raise CatalogueError(
                f"the SVM needs two different labels, found {len(self.paths)}"
            )
        number = {path: index for index, path in enumerate(self.paths)}
        target = np.array([number[path] for path in paths])
        limit = max(WEIGHTS // len(self.paths), 1)
        self.vectorizer = TfidfVectorizer(
            ngram_range=self.ngrams, sublinear_tf=True, max_features=limit
        )
        if not any(text.strip() for text in texts):
            raise CatalogueError("every training text is empty: check columns.text")
        features = self.vectorizer.fit_transform(texts)
        if self.calibrate:
            groups = np.arange(len(target)) if groups is None else groups
            self.temperature = self._fit_temperature(features, target, groups)
        self.svm = self._svm().fit(features, target)
        return self

    def log_probs(self, texts: Sequence[str]) -> Float[np.ndarray, "N C"]:
        """Log-probability of each of `paths`."""
        margins = _margins(self.svm, self.vectorizer.transform(texts))
        return log_softmax(margins / self.temperature, axis=1)

    def _svm(self) -> LinearSVC:
        return LinearSVC(C=self.penalty, dual=True, random_state=self.seed)

    def _fit_temperature(self, features, target, groups) -> float:
        """The T of highest likelihood on held-out groups; 1 if it cannot be told."""
        if len(np.unique(groups)) < 2:
            return 1.0
        split = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=self.seed)
        kept, held = next(split.split(target, groups=groups))
        seen = np.unique(target[kept])
        held = held[np.isin(target[held], seen)]
        if len(seen) < 2 or not len(held):
            return 1.0
        svm = self._svm().fit(features[kept], target[kept])
        margins = _margins(svm, features[held])
        true = np.searchsorted(seen, target[held])

        def loss(log_temperature: float) -> float:
            log_probs = log_softmax(margins / np.exp(log_temperature), axis=1)
            return -log_probs[np.arange(len(true)), true].mean()

        best = optimize.minimize_scalar(loss, bounds=(-4, 2), method="bounded")
        return float(np.exp(best.x))


def _margins(svm: LinearSVC, features) -> Float[np.ndarray, "N C"]:
    margins = svm.decision_function(features)
    return np.stack([-margins, margins], axis=1) / 2 if margins.ndim == 1 else margins
