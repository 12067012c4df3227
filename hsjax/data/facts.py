"""The law behind the synthetic catalogue, and the best accuracy that it allows.

A product is a leaf y of a small HS 2022 tree together with five facts:

    y ~ prior,   (kind, shape), material, surface ~ uniform given y

The title states kind and material, the picture draws shape and surface. Each fact
passes through its own noise channel: it is left out (titles only), swapped for another
value of the same family (a shop's mistake), or kept. Given y's facts the channels are
independent, so p(y, observation) is a finite sum and the Bayes accuracy is exact:

    accuracy_m = sum over observations o of m:  max_y p(y, o)

Colour, brand, shop, length of the title and what is missing are independent of y.
"""

from collections import defaultdict
from functools import cache
from itertools import product as cross
from typing import NamedTuple

import numpy as np

LEVEL_DIGITS = (2, 4, 6)
TEXT_FACTS = ("kind", "material")
IMAGE_FACTS = ("shape", "surface")


class Leaf(NamedTuple):
    """A subheading: prior weight (percent) and the facts that its products may have."""

    code: str
    family: str  # mistakes stay inside a family
    weight: float
    forms: tuple[
        tuple[str, str], ...
    ]  # (kind named by the title, shape in the picture)
    materials: tuple[str, ...]
    surface: str


class Variant(NamedTuple):
    """One possible truth; `prob` is p(leaf, kind, shape, material, surface)."""

    leaf: int
    prob: float
    family: str
    kind: str
    shape: str
    material: str
    surface: str


class Channel(NamedTuple):
    """Share of products whose fact is left out, and whose fact is another value."""

    omit: float
    swap: float


NOISE = {
    "kind": Channel(omit=0.08, swap=0.03),
    "material": Channel(omit=0.06, swap=0.02),
    "shape": Channel(omit=0.0, swap=0.03),
    "surface": Channel(omit=0.0, swap=0.02),
}


def _same(*kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple((kind, kind) for kind in kinds)


BOOT, SHOE = ("footwear", "boot"), ("footwear", "shoe")
CUP_PLATE = _same("cup", "plate")
BAGS, WEAR, FEET, TABLE, TOYS = "bags", "wear", "feet", "table", "toys"
SOFT = ("textile", "plastic")

# fmt: off
LEAVES = (
    Leaf("420211", BAGS, 1.6, _same("suitcase"), ("leather",), "plain"),
    Leaf("420212", BAGS, 5.0, _same("suitcase"), SOFT, "plain"),
    Leaf("420221", BAGS, 5.2, _same("handbag"), ("leather",), "plain"),
    Leaf("420222", BAGS, 3.4, _same("handbag"), SOFT, "plain"),
    Leaf("420231", BAGS, 4.4, _same("wallet"), ("leather",), "plain"),
    Leaf("420232", BAGS, 1.8, _same("wallet"), SOFT, "plain"),
    Leaf("610342", WEAR, 2.4, _same("trousers"), ("cotton",), "knit"),
    Leaf("610343", WEAR, 3.0, _same("trousers"), ("synthetic",), "knit"),
    Leaf("620342", WEAR, 6.4, _same("trousers"), ("cotton",), "woven"),
    Leaf("620343", WEAR, 1.4, _same("trousers"), ("synthetic",), "woven"),
    Leaf("610442", WEAR, 1.2, _same("dress"), ("cotton",), "knit"),
    Leaf("610443", WEAR, 2.2, _same("dress"), ("synthetic",), "knit"),
    Leaf("620442", WEAR, 2.6, _same("dress"), ("cotton",), "woven"),
    Leaf("620443", WEAR, 4.6, _same("dress"), ("synthetic",), "woven"),
    Leaf("610510", WEAR, 3.2, _same("shirt"), ("cotton",), "knit"),
    Leaf("610520", WEAR, 1.0, _same("shirt"), ("synthetic",), "knit"),
    Leaf("620520", WEAR, 6.0, _same("shirt"), ("cotton",), "woven"),
    Leaf("620530", WEAR, 1.8, _same("shirt"), ("synthetic",), "woven"),
    Leaf("610910", WEAR, 7.0, _same("tshirt"), ("cotton",), "knit"),
    Leaf("610990", WEAR, 2.2, _same("tshirt"), ("synthetic",), "knit"),
    Leaf("640291", FEET, 2.0, (BOOT,), ("plastic",), "plain"),
    Leaf("640299", FEET, 3.4, (SHOE,), ("plastic",), "plain"),
    Leaf("640391", FEET, 4.2, (BOOT,), ("leather",), "plain"),
    Leaf("640399", FEET, 4.0, (SHOE,), ("leather",), "plain"),
    Leaf("640419", FEET, 3.0, (SHOE, BOOT), ("textile",), "plain"),
    Leaf("392410", TABLE, 2.0, CUP_PLATE, ("plastic",), "plain"),
    Leaf("691110", TABLE, 3.8, CUP_PLATE, ("porcelain",), "plain"),
    Leaf("691200", TABLE, 3.0, CUP_PLATE, ("stoneware",), "plain"),
    Leaf("701337", TABLE, 1.2, _same("cup"), ("glass",), "plain"),
    Leaf("701349", TABLE, 1.0, _same("plate"), ("glass",), "plain"),
    Leaf("950300", TOYS, 4.0, _same("teddy", "car"), ("plastic", "synthetic"), "plain"),
    Leaf("950662", TOYS, 2.0, _same("ball"), ("plastic", "leather"), "plain"),
)
# fmt: on


def _variants() -> tuple[Variant, ...]:
    total = sum(leaf.weight for leaf in LEAVES)
    return tuple(
        Variant(
            leaf=number,
            prob=leaf.weight / total / (len(leaf.forms) * len(leaf.materials)),
            family=leaf.family,
            kind=kind,
            shape=shape,
            material=material,
            surface=leaf.surface,
        )
        for number, leaf in enumerate(LEAVES)
        for (kind, shape), material in cross(leaf.forms, leaf.materials)
    )


VARIANTS = _variants()
VARIANT_PROBS = np.array([variant.prob for variant in VARIANTS])


@cache
def alternatives(family: str, fact: str) -> tuple[str, ...]:
    """Values that `fact` takes in a family, sorted: what a mistake chooses from."""
    found = {getattr(v, fact) for v in VARIANTS if v.family == family}
    return tuple(sorted(found))


@cache
def channel_law(variant: Variant, fact: str) -> dict[str, float]:
    """p(observed value | variant) of one fact; '' stands for left out."""
    omit, swap = NOISE[fact]
    truth = getattr(variant, fact)
    others = [v for v in alternatives(variant.family, fact) if v != truth]
    law = {"": omit} if omit else {}
    law |= {other: swap / len(others) for other in others}
    return law | {truth: 1.0 - sum(law.values())}


def draw_facts(rng: np.random.Generator) -> tuple[Variant, dict[str, str]]:
    """Draw one product's truth and its observed facts, '' where the title omits one."""
    variant = VARIANTS[rng.choice(len(VARIANTS), p=VARIANT_PROBS)]
    observed = {}
    for fact in TEXT_FACTS + IMAGE_FACTS:
        law = channel_law(variant, fact)
        observed[fact] = list(law)[rng.choice(len(law), p=list(law.values()))]
    return variant, observed


def joint(facts: tuple[str, ...]) -> dict[tuple[str, ...], np.ndarray]:
    """Enumerate p(y, observation): observed values of `facts` -> (leaves,) float64."""
    table = defaultdict(lambda: np.zeros(len(LEAVES)))
    for variant in VARIANTS:
        laws = [channel_law(variant, fact).items() for fact in facts]
        for outcome in cross(*laws):
            observation = tuple(value for value, _ in outcome)
            likelihood = np.prod([prob for _, prob in outcome])
            table[observation][variant.leaf] += variant.prob * likelihood
    return dict(table)


@cache
def exact_accuracy(facts: tuple[str, ...]) -> tuple[float, ...]:
    """Bayes accuracy of `facts` at 2, 4 and 6 digits, each level guessed by itself."""
    probs = np.stack(list(joint(facts).values()))  # (observations, leaves)
    accuracies = []
    for digits in LEVEL_DIGITS:
        codes = [leaf.code[:digits] for leaf in LEAVES]
        node = np.unique(codes, return_inverse=True)[1]
        membership = np.eye(node.max() + 1)[node]  # (leaves, nodes)
        accuracies.append(float((probs @ membership).max(axis=1).sum()))
    return tuple(accuracies)


def bayes_accuracy(config_data) -> dict[str, dict[str, float]]:
    """Best possible accuracy per modality and level, for the configured catalogue.

    `catalogue` is the best score on all listings: the mixture of both, text alone and
    image alone, with the configured shares of missing titles and pictures.
    """
    no_text = config_data.synthetic.missing_text
    no_image = config_data.synthetic.missing_image
    text, image = exact_accuracy(TEXT_FACTS), exact_accuracy(IMAGE_FACTS)
    both = exact_accuracy(TEXT_FACTS + IMAGE_FACTS)
    mixture = tuple(
        (1.0 - no_text - no_image) * b + no_image * t + no_text * i
        for b, t, i in zip(both, text, image, strict=True)
    )
    values = {"text": text, "image": image, "both": both, "catalogue": mixture}
    return {
        name: {f"level{level}": value for level, value in enumerate(row, start=1)}
        for name, row in values.items()
    }
