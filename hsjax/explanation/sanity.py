"""Do attributions say something of the model, or only of its input?

Adebayo et al. 2018, "Sanity checks for saliency maps" (https://arxiv.org/abs/
1810.03292): what stays as it is when the parameters are drawn anew says nothing of what
the model has learnt. And what is said to count must count: without the words of the
largest attribution the answer must lose more than without others.
"""

import warnings
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.stats import ConstantInputWarning, spearmanr

from hsjax.batch import IMAGE
from hsjax.explanation.asked import Asked
from hsjax.explanation.attribution import Attribution
from hsjax.explanation.occlusion import SPANS, without_words

DRAWS = 5  # of random words to take away
SHARE = 0.25  # of the words of a text that are taken away


class Sanity(NamedTuple):
    """Means over the products that were asked about, nan where there was none.

    Attributes:
      words, fields: rank correlation of the size of attributions with those of the
        model of the same parameters in another order.
      top, random: fall of log p(answer) without the words that count most for it, and
        without as many random ones.
      texts: with words to be taken away.
    """

    words: float
    fields: float
    top: float
    random: float
    texts: int

    def told(self) -> str:
        """A sentence for the user."""
        pairs = {"words": self.words, "picture": self.fields}
        alike = [f"{name} {x:.2f}" for name, x in pairs.items() if np.isfinite(x)]
        told = f"rank correlation with a randomised model: {', '.join(alike) or 'none'}"
        if self.texts:
            told += (
                f"; log p(answer) falls by {self.top:.2f} without the words that count"
                f" most, by {self.random:.2f} without as many random ones ({self.texts}"
                " texts)"
            )
        return told


def sanity(asked: Asked, *, seed: int = 0) -> Sanity:
    """The checks, for all products that are asked about."""
    rng = np.random.default_rng(seed)
    mixed = asked.with_parameters(*shuffled((asked.params, asked.stats), rng))
    own, other = Attribution(asked), Attribution(mixed)
    words, fields, falls = [], [], []
    for place in range(len(asked.records)):
        pairs = zip(*(_values(x(place)) for x in (own, other)), strict=True)
        for (name, a), (_, b) in pairs:
            (fields if name == IMAGE else words).append(alike(a, b))
            if name != IMAGE and 1 < len(a) <= SPANS:  # longer ones are taken in runs
                falls.append(_fall(asked, place, name, a, rng))
    top, random = np.array(falls).reshape(-1, 2).T
    means = (_mean(x) for x in (words, fields, top, random))
    return Sanity(*means, len(falls))


def shuffled(tree, rng: np.random.Generator):
    """Every array with its numbers in another order: as large, and without meaning."""
    return jax.tree.map(
        lambda x: rng.permutation(np.asarray(x).reshape(-1)).reshape(x.shape), tree
    )


def alike(a: Float[np.ndarray, "N"], b: Float[np.ndarray, "N"]) -> float:
    """Rank correlation of the absolute values, nan where there is nothing to rank."""
    if len(a) < 3:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(np.abs(a), np.abs(b)).statistic)


def _values(found: dict) -> list[tuple[str, np.ndarray]]:
    """(modality, its numbers) of what could be attributed."""
    values = []
    for name, own in found.items():
        if "grid" in own:
            values.append((name, np.array(own["grid"]).reshape(-1)))
        elif "words" in own:
            read = [w["attribution"] for w in own["words"]]
            values.append((name, np.array([x for x in read if x is not None])))
    return values


def _fall(asked: Asked, place: int, stream: str, values, rng) -> tuple[float, float]:
    """Of log p(answer) without the words that count most, and without random ones."""
    count = max(1, round(SHARE * len(values)))
    top = np.argsort(-values)[:count]
    spans = [rng.permutation(len(values))[:count] for _ in range(DRAWS)]
    spans = [set(), set(top.tolist()), *(set(span.tolist()) for span in spans)]
    whole, without, *others = without_words(asked, place, stream, spans).tolist()
    return whole - without, whole - float(np.mean(others))


def _mean(values) -> float:
    found = np.array([x for x in values if np.isfinite(x)])
    return float(found.mean()) if len(found) else np.nan
