"""What baselines share: features, classes, and scores made probabilities."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupShuffleSplit

from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.data.text import stream_texts
from hsjax.evaluation.temperature_fit import likeliest

ANALYZERS = ("word", "char_wb")
HELD_OUT = 0.1  # of the training groups, for the temperature
NodePath = tuple[str, ...]


@runtime_checkable
class Vectors(Protocol):
    """Texts or pictures as rows of a matrix, as scikit-learn's vectorizers do it."""

    def items(self, records, columns): ...

    def fit_transform(self, items): ...

    def transform(self, items): ...


class TextBaseline(ABC):
    """TF-IDF (sublinear) of words or letters, or vectors, and a score for every path.

    It answers items: texts, or what `vectors` makes of records, such as their pictures.

    Scores are no probabilities. softmax(scores / T) stands for them, where the one
    number T is fitted by likelihood on a held-out tenth of the training groups; then
    the scores are learnt again from all rows. That makes them roughly calibrated on
    average, not per class. `calibrate=False` keeps the T of the class and saves the
    time: only the order then means much.

    A kind of baseline says what is learnt (`_learn`), and what scores that gives
    (`_scores`).

    Args:
      analyzer: features are `ngrams` of words, or of characters within words (char_wb).
      ngrams: the fewest and the most of them in a feature.
      vectors: in place of TF-IDF, of texts or of pictures: `features.StoredVectors`.
      seed: of the held-out groups, and of what is random in the learning.

    Attributes:
      paths: the classes, whole paths of node codes, sorted.
      model: what `_learn` gave.
    """

    temperature = 1.0  # without calibration
    log_temperatures = (-4.0, 2.0)  # where the best is sought
    most_held = 0  # rows that are held out at most, 0 = all of the tenth

    def __init__(
        self,
        *,
        analyzer: str = "word",
        ngrams: tuple[int, int] = (1, 2),
        vectors: Vectors | None = None,
        calibrate: bool = True,
        seed: int = 0,
    ):
        if len(ngrams) != 2 or not 1 <= ngrams[0] <= ngrams[1]:
            raise CatalogueError(
                f"baseline.ngrams={tuple(ngrams)}: give the fewest and the most words,"
                " or characters, of a feature"
            )
        if analyzer not in ANALYZERS:
            raise CatalogueError(
                f"baseline.analyzer={analyzer!r}: known are {', '.join(ANALYZERS)}"
            )
        self.analyzer, self.ngrams = analyzer, tuple(ngrams)
        self.vectors, self.calibrate, self.seed = vectors, calibrate, seed

    def items(self, records: Sequence[Record], columns: Sequence[str]) -> Sequence:
        """What is asked for each record, (N,): its text of these columns, if no other.

        Args:
          columns: of text, joined by ' ; '.
        """
        read = self.vectors.items if self.vectors else stream_texts
        return read(records, columns)

    def fit(
        self,
        items: Sequence,
        paths: Sequence[NodePath],
        *,
        groups: Integer[np.ndarray, "N"] | None = None,
    ) -> "TextBaseline":
        """Learns from items and their paths of node codes; the classes are whole paths.

        Raises:
          CatalogueError: fewer than two different paths, or no text, word or picture at
            all; `vectors` that cannot be had.
        """
        self.paths = sorted(set(paths))
        if len(self.paths) < 2:
            raise CatalogueError(
                f"a baseline needs two different labels, found {len(self.paths)}"
            )
        number = {path: index for index, path in enumerate(self.paths)}
        target = np.array([number[path] for path in paths])
        features = self._first_features(items)
        if self.calibrate:
            groups = np.arange(len(target)) if groups is None else groups
            self.temperature = self._fit_temperature(features, target, groups)
        self.model = self._learn(features, target)
        return self

    def log_probs(self, items: Sequence) -> Float[np.ndarray, "N C"]:
        """Log-probability of each of `paths`.

        Raises:
          CatalogueError: `vectors` that cannot be had.
        """
        scores = self._scores(self.model, self.vectorizer.transform(items))
        return log_softmax(scores / self.temperature, axis=1)

    def _first_features(self, items: Sequence):
        """Of the training items, with whatever makes them."""
        if self.vectors:
            self.vectorizer = self.vectors
            return self.vectors.fit_transform(items)
        if not any(text.strip() for text in items):
            raise CatalogueError("every training text is empty: check columns.text")
        self.vectorizer = self._vectorizer()
        try:
            return self.vectorizer.fit_transform(items)
        except ValueError as error:  # "empty vocabulary": words are of two letters
            raise CatalogueError(
                f"no training text has a {self.analyzer} of the kind that is counted"
                f" ({error}): baseline.analyzer=char_wb counts single letters, too"
            ) from None

    def _vectorizer(self, **options) -> TfidfVectorizer:
        return TfidfVectorizer(
            analyzer=self.analyzer,
            ngram_range=self.ngrams,
            sublinear_tf=True,
            **options,
        )

    @abstractmethod
    def _learn(self, features, target):
        """What `_scores` needs of (N, F) sparse features and (N,) class numbers."""

    @abstractmethod
    def _scores(self, model, features) -> Float[np.ndarray, "N C"]:
        """float64; columns are the classes that `model` was learnt from, sorted."""

    def _fit_temperature(self, features, target, groups) -> float:
        """The T of highest likelihood on held-out groups; as it is if none can tell."""
        if len(np.unique(groups)) < 2:
            return self.temperature
        split = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=self.seed)
        kept, held = next(split.split(target, groups=groups))
        seen = np.unique(target[kept])
        held = held[np.isin(target[held], seen)]
        if self.most_held:  # evenly spread
            held = held[:: max(-(-len(held) // self.most_held), 1)]
        if len(seen) < 2 or not len(held):
            return self.temperature
        model = self._learn(features[kept], target[kept])
        scores = self._scores(model, features[held])
        true = np.searchsorted(seen, target[held])

        def loss(temperature: float) -> float:
            log_probs = log_softmax(scores / temperature, axis=1)
            return -log_probs[np.arange(len(true)), true].mean()

        return likeliest(loss, bounds=self.log_temperatures)
