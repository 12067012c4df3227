"""Titles of the synthetic catalogue: words for facts, and the styles of four shops."""

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
FILLERS = (
    "new", "classic", "premium", "original", "modern", "everyday", "gift", "basic",
    "value", "limited", "popular", "bestseller", "quality", "exclusive", "vintage",
    "eco", "standard", "deluxe", "trend", "essential",
)  # fmt: skip
TELLS_COLOUR, TELLS_MODEL = 0.6, 0.5  # shares of titles


class Style(NamedTuple):
    """How a shop writes titles: the order of the parts, the case, the last words."""

    order: tuple[str, ...]
    case: str  # a method of str
    abbreviated: bool


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


def pick(rng: np.random.Generator, options: Sequence):
    """Choose one of `options`, each as likely."""
    return options[int(rng.random() * len(options))]


def write_title(
    rng: np.random.Generator,
    *,
    observed: dict[str, str],
    brand: str,
    shop: str,
    colour: str,
) -> str:
    """Write a title in the shop's style; facts that are left out stay out."""
    style = SHOPS[shop]
    words = {"brand": brand, "colour": "", "model": "", "kind": "", "material": ""}
    for fact, lexicon in (("kind", KIND_WORDS), ("material", MATERIAL_WORDS)):
        position = rng.random()  # drawn always: the rest must not depend on the facts
        if observed[fact]:
            *full, abbreviation = lexicon[observed[fact]]
            short = style.abbreviated and position < 0.5
            words[fact] = abbreviation if short else full[int(position * len(full))]
    chosen = rng.permutation(len(FILLERS))[: int(rng.random() * 5)]
    words["fillers"] = " ".join(FILLERS[i] for i in chosen)
    if rng.random() < TELLS_COLOUR:
        words["colour"] = colour
    if rng.random() < TELLS_MODEL:
        words["model"] = f"{pick(rng, 'kqwxz')}{100 + int(900 * rng.random())}"
    title = " ".join(words[part] for part in style.order if words[part])
    return getattr(title, style.case)()
