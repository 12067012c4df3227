"""Titles of the synthetic catalogue: words for facts, and the styles of shops."""

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Words of a title for each value of a fact; the last one is the trade abbreviation. No
# word stands for two values, so a title's facts can be read back without doubt.
KIND_WORDS = {
    "suitcase": ("suitcase", "luggage", "briefcase", "scse"),
    "handbag": ("handbag", "tote", "clutch", "hbag"),
    "wallet": ("wallet", "billfold", "cardholder", "wllt"),
    "trousers": ("trousers", "chinos", "slacks", "trsrs"),
    "dress": ("dress", "gown", "sundress", "drs"),
    "shirt": ("shirt", "buttondown", "overshirt", "shrt"),
    "tshirt": ("tshirt", "tee", "singlet", "tsh"),
    "footwear": ("footwear", "shoes", "laceups", "ftwr"),
    "cup": ("cup", "mug", "tumbler", "cp"),
    "plate": ("plate", "dish", "platter", "plt"),
    "teddy": ("teddy", "bear", "plushie", "tdy"),
    "car": ("car", "racer", "roadster", "vhcl"),
    "ball": ("ball", "football", "volleyball", "bll"),
}
MATERIAL_WORDS = {
    "leather": ("leather", "cowhide", "calfskin", "lthr"),
    "textile": ("canvas", "nylon", "fabric", "txtl"),
    "plastic": ("plastic", "pvc", "vinyl", "plstc"),
    "cotton": ("cotton", "pima", "supima", "cttn"),
    "synthetic": ("polyester", "acrylic", "microfibre", "pes"),
    "porcelain": ("porcelain", "china", "bonechina", "prcl"),
    "stoneware": ("stoneware", "earthenware", "terracotta", "stnw"),
    "glass": ("glass", "borosilicate", "tempered", "gls"),
}
BRANDS = (
    "Norvik", "Aldermoor", "Calmera", "Tindra", "Orlo", "Vespera", "Brisa", "Kestrin",
    "Lumora", "Haverly", "Solenne", "Quillon", "Marlune", "Zephra", "Pinewell",
    "Ostara", "Fennmark", "Dovrell", "Juniva", "Ravello",
)  # fmt: skip
MOST_SHOPS = 100  # that can be drawn at once
FILLERS = (
    "new", "classic", "premium", "original", "modern", "everyday", "gift", "basic",
    "value", "limited", "popular", "bestseller", "quality", "exclusive", "vintage",
    "eco", "standard", "deluxe", "trend", "essential",
)  # fmt: skip
TELLS_COLOUR, TELLS_MODEL = 0.6, 0.5  # shares of titles


class Style(NamedTuple):
    """How a shop writes titles, and how it lights its pictures.

    Attributes:
      order: of the parts of a title; case: a method of str.
      abbreviated: half of the words of facts are the trade's abbreviation.
      own: share of titles in the shop's own order and case, and of facts in its own
        word, which is always the same one; the rest is as everywhere.
      number: of the shop, which its own words are drawn by; -1 = it has none.
      light: of the pictures, a factor for red, green and blue.
    """

    order: tuple[str, ...]
    case: str
    abbreviated: bool
    own: float = 1.0
    number: int = -1
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


SHOPS = {
    "northmart": Style(
        ("brand", "colour", "material", "kind", "fillers", "model"), "title", False
    ),
    "bazaar24": Style(
        ("kind", "material", "fillers", "colour", "model", "brand"), "upper", False
    ),
    "tradeport": Style(
        ("model", "kind", "colour", "material", "fillers", "brand"), "lower", True
    ),
    "petitmarket": Style(
        ("fillers", "kind", "brand", "material", "model", "colour"), "capitalize", False
    ),
}


CASES = ("title", "upper", "lower", "capitalize")
LIGHT = (-0.45, 0.15)  # how far a colour of a shop's pictures is from 1, at most


@functools.cache
def shop_styles(count: int, distance: float, seed: int = 0) -> dict[str, Style]:
    """Name -> style of drawn shops, shop00, shop01, ..., or of the four named ones.

    Args:
      count: of drawn shops, 0 = the named ones. More shops begin with the fewer.
      distance: 0 = all shops are alike, 1 = each has its own words, order, case and
        light.
      seed: other seeds draw other styles.
    """
    if not count:
        return SHOPS
    parts, found = SHOPS["northmart"].order, {}
    for place in range(count):
        number = place + MOST_SHOPS * seed
        rng = np.random.Generator(np.random.Philox(key=number, counter=[0, 0, 0, 1]))
        order = tuple(parts[i] for i in rng.permutation(len(parts)))
        light = 1 + distance * rng.uniform(*LIGHT, 3)
        style = Style(order, pick(rng, CASES), False, distance, number, tuple(light))
        found[f"shop{place:02d}"] = style
    return found


def _own_word(number: int, value: str, lexicon: Sequence[str]) -> str:
    """The word that a shop has for a fact, whatever the product."""
    digest = hashlib.sha1(f"{number}/{value}".encode()).digest()
    return lexicon[digest[0] % len(lexicon)]


def pick(rng: np.random.Generator, options: Sequence):
    """Choose one of `options`, each as likely."""
    return options[int(rng.random() * len(options))]


def write_title(
    rng: np.random.Generator,
    *,
    observed: dict[str, str],
    brand: str,
    style: Style,
    colour: str,
) -> str:
    """Write a title in a shop's style; facts that are left out stay out."""
    words = {"brand": brand, "colour": "", "model": "", "kind": "", "material": ""}
    for fact, lexicon in (("kind", KIND_WORDS), ("material", MATERIAL_WORDS)):
        position = rng.random()  # drawn always: the rest must not depend on the facts
        if observed[fact]:
            words[fact] = _word(style, observed[fact], lexicon, position)
    chosen = rng.permutation(len(FILLERS))[: int(rng.random() * 5)]
    words["fillers"] = " ".join(FILLERS[i] for i in chosen)
    if rng.random() < TELLS_COLOUR:
        words["colour"] = colour
    if rng.random() < TELLS_MODEL:
        words["model"] = f"{pick(rng, 'kqwxz')}{100 + int(900 * rng.random())}"
    if style.number >= 0 and rng.random() >= style.own:
        style = SHOPS["northmart"]
    title = " ".join(words[part] for part in style.order if words[part])
    return getattr(title, style.case)()


def _word(style: Style, value: str, lexicon, position: float) -> str:
    """For the value of a fact; `position` is uniform in 0..1."""
    *full, abbreviation = lexicon[value]
    if style.number < 0:
        short = style.abbreviated and position < 0.5
        return abbreviation if short else full[int(position * len(full))]
    if position < style.own:
        return _own_word(style.number, value, lexicon[value])
    rest = (position - style.own) / (1 - style.own)
    return full[int(rest * len(full))]
