"""The law of the synthetic catalogue: exact Bayes accuracy, legible facts, no leaks."""

import io
import math
from functools import cache

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from tiny import data_config

from hsjax.data import facts, synthetic, titles
from hsjax.data.drawing import COLOURS, draw_picture
from hsjax.data.shapes import SHAPES

MODALITIES = {
    "text": facts.TEXT_FACTS,
    "image": facts.IMAGE_FACTS,
    "both": facts.TEXT_FACTS + facts.IMAGE_FACTS,
}


@pytest.fixture(scope="module")
def listings():
    """One listing of each of 1,800 products, many without a title or a picture."""
    config = data_config(1800, missing_text=0.15, missing_image=0.2, duplicates=0.0)
    return list(synthetic.listings(config))


def _channel(variant, fact, value):
    """p(value | variant), written anew from the stated noise."""
    omit, swap = facts.NOISE[fact]
    family = {getattr(v, fact) for v in facts.VARIANTS if v.family == variant.family}
    truth = getattr(variant, fact)
    if value == "":
        return omit
    if value == truth:
        return 1 - omit - (swap if len(family) > 1 else 0)
    return swap / (len(family) - 1) if value in family else 0.0


@cache
def _best_nodes(names, values):
    """Most probable node at each level given observed values: Bayes' rule by loops."""
    best = []
    for digits in facts.LEVEL_DIGITS:
        posterior = {}
        for variant in facts.VARIANTS:
            node = facts.LEAVES[variant.leaf].code[:digits]
            terms = (
                _channel(variant, f, v) for f, v in zip(names, values, strict=True)
            )
            posterior[node] = posterior.get(node, 0.0) + variant.prob * math.prod(terms)
        best.append(max(posterior, key=posterior.get))
    return tuple(best)


def test_bayes_accuracy_equals_monte_carlo():
    rng = np.random.default_rng(0)
    draws = [facts.draw_facts(rng) for _ in range(12_000)]
    exact = synthetic.bayes_accuracy(data_config())
    for modality, names in MODALITIES.items():
        hits = np.zeros(3)
        for variant, observed in draws:
            best = _best_nodes(names, tuple(observed[fact] for fact in names))
            hits += [facts.LEAVES[variant.leaf].code.startswith(node) for node in best]
        for level, found in enumerate(hits / len(draws), start=1):
            p = exact[modality][f"level{level}"]
            sigma = math.sqrt(p * (1 - p) / len(draws))
            assert abs(found - p) < 4 * sigma, (modality, level, found, p)


@pytest.mark.parametrize("modality", MODALITIES)
def test_enumerated_probabilities_sum_to_the_prior(modality):
    total = sum(facts.joint(MODALITIES[modality]).values())
    prior = np.array([leaf.weight for leaf in facts.LEAVES])
    np.testing.assert_allclose(total, prior / prior.sum(), rtol=1e-12)


def test_each_modality_knows_something_that_the_other_does_not():
    level3 = {
        k: v["level3"] for k, v in synthetic.bayes_accuracy(data_config()).items()
    }
    assert 0.93 < level3["both"] < 0.96
    assert 0.70 < level3["text"] < 0.78
    assert 0.55 < level3["image"] < 0.68


def test_catalogue_accuracy_is_the_mixture_over_what_is_missing():
    exact = synthetic.bayes_accuracy(data_config(missing_text=1.0, missing_image=0.0))
    assert exact["catalogue"] == exact["image"]
    exact = synthetic.bayes_accuracy(data_config(missing_text=0.25, missing_image=0.5))
    parts = 0.25 * exact["both"]["level2"] + 0.5 * exact["text"]["level2"]
    expected = parts + 0.25 * exact["image"]["level2"]
    assert exact["catalogue"]["level2"] == pytest.approx(expected, abs=1e-12)


def _read_title(title):
    """Observed text facts of a title, by looking each word up."""
    found = dict.fromkeys(facts.TEXT_FACTS, "")
    lexicons = zip(
        facts.TEXT_FACTS, (titles.KIND_WORDS, titles.MATERIAL_WORDS), strict=True
    )
    for fact, lexicon in lexicons:
        for value, words in lexicon.items():
            if set(words) & set(title.lower().split()):
                assert found[fact] == "", f"two values of {fact} in {title!r}"
                found[fact] = value
    return found


def test_no_word_stands_for_two_things():
    groups = [*titles.KIND_WORDS.values(), *titles.MATERIAL_WORDS.values()]
    groups += [titles.FILLERS, [brand.lower() for brand in titles.BRANDS], COLOURS]
    words = [word for group in groups for word in group]
    assert len(words) == len(set(words))
    assert all(word == word.lower() and word.isalnum() for word in words)
    for variant in facts.VARIANTS:
        assert variant.kind in titles.KIND_WORDS
        assert variant.material in titles.MATERIAL_WORDS
        assert variant.shape in SHAPES


def test_titles_tell_the_observed_facts_exactly(listings):
    for item in listings:
        if item.title:
            observed = {fact: item.observed[fact] for fact in facts.TEXT_FACTS}
            assert _read_title(item.title) == observed, item.title


def _edges(pixels):
    """Histograms of edge directions in 4 x 4 cells: (B, 32, 32) -> (B, 4 * 4 * 9)."""
    dy, dx = np.gradient(pixels, axis=(1, 2))
    size = np.hypot(dx, dy)
    direction = ((np.arctan2(dy, dx) % np.pi) / np.pi * 9).astype(int) % 9
    layers = [np.where(direction == k, size, 0) for k in range(9)]
    cells = [x.reshape(-1, 4, 8, 4, 8).sum((2, 4)) for x in layers]
    features = np.stack(cells, axis=-1).reshape(len(pixels), -1)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def _spectrum(pixels):
    """Log power of the middle: the surface, wherever its threads begin."""
    middle = pixels[:, 6:26, 6:26]
    middle = middle - middle.mean((1, 2), keepdims=True)
    window = np.outer(np.hanning(20), np.hanning(20))
    power = np.abs(np.fft.rfft2(middle * window))
    return np.log1p(power).reshape(len(pixels), -1)


def _as_model_sees(pixels):
    small = Image.fromarray(pixels).resize((36, 36), Image.Resampling.BICUBIC)
    return np.asarray(small.convert("L"), float)[2:34, 2:34]


def _linear_accuracy(draw, values, *, features, train, test):
    """Accuracy of logistic regression on features of `draw(rng, value)` pictures."""
    rng = np.random.default_rng(5)
    truth = [values[i % len(values)] for i in range(train + test)]
    pixels = np.stack([_as_model_sees(draw(rng, value)) for value in truth])
    inputs = features(pixels)
    model = LogisticRegression(C=10, max_iter=2000)
    model.fit(inputs[:train], truth[:train])
    return model.score(inputs[train:], truth[train:])


def test_shapes_are_legible_at_32_pixels():
    def draw(rng, shape):
        wear = facts.alternatives("wear", "shape")
        surface = rng.choice(["knit", "woven"]) if shape in wear else "plain"
        return draw_picture(
            rng, shape=shape, surface=surface, colour=rng.choice(list(COLOURS))
        )

    assert (
        _linear_accuracy(draw, list(SHAPES), features=_edges, train=1400, test=700)
        > 0.97
    )


def test_surfaces_are_legible_at_32_pixels():
    garments = facts.alternatives("wear", "shape")

    def draw(rng, surface):
        shape, colour = rng.choice(garments), rng.choice(list(COLOURS))
        return draw_picture(rng, shape=shape, surface=surface, colour=colour)

    assert (
        _linear_accuracy(
            draw, ["knit", "woven"], features=_spectrum, train=700, test=500
        )
        > 0.97
    )


def _chi_square(a, b):
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / len(a)
    return ((table - expected) ** 2 / expected).sum()


def _independence(values, leaves):
    """p-value of chi-square against 400 shuffles, which small cells do not upset."""
    a, b = (np.unique(x, return_inverse=True)[1] for x in (values, leaves))
    rng = np.random.default_rng(0)
    found = _chi_square(a, b)
    return np.mean([_chi_square(rng.permutation(a), b) >= found for _ in range(400)])


def _corner(image):
    pixels = np.asarray(Image.open(io.BytesIO(image)))
    return int(pixels[:4, :4].mean()) // 8


ATTRIBUTES = {
    "colour": lambda item: item.colour,
    "brand": lambda item: item.brand,
    "shop": lambda item: item.shop,
    "words beside the facts": lambda item: (
        len(item.title.split()) - sum(item.observed[f] != "" for f in facts.TEXT_FACTS)
    ),
    "words": lambda item: len(item.title.split()),
    "missing": lambda item: (item.title == "") + 2 * (item.image == b""),
    "background": lambda item: _corner(item.image),
}
NEEDS = {"words": "title", "words beside the facts": "title", "background": "image"}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_attribute_is_independent_of_the_class(listings, attribute):
    """Not significant at 1 % (the seed is fixed)."""
    needed = NEEDS.get(attribute, "id")
    rows = [item for item in listings if getattr(item, needed)]
    values = np.array([ATTRIBUTES[attribute](item) for item in rows])
    assert len(np.unique(values)) > 2
    assert _independence(values, np.array([item.leaf for item in rows])) > 0.01
