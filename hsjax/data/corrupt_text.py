"""Damage to a text: what shops, hurried people and scanners make of it.

Every function takes (text, strength in 0..1, generator) and returns a text. What it
draws does not depend on the strength, so that with the same generator a stronger damage
hits what a weaker one hits, but for a letter that an earlier slip has taken along. An
empty text stays empty.

Keyboard slips and swapped letters as noise: Belinkov & Bisk 2018,
https://arxiv.org/abs/1711.02173.
"""

from collections.abc import Callable

import numpy as np

Damage = Callable[[str, float, np.random.Generator], str]

_KEY_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
NEXT_KEYS = {  # key -> its neighbours in the row
    key: row[max(i - 1, 0) : i] + row[i + 1 : i + 2]
    for row in _KEY_ROWS
    for i, key in enumerate(row)
}
# What a scanner reads -> what stands there for it: glyphs, or pairs, of like shape.
MISREAD = {
    **{"rn": ("m",), "cl": ("d",), "vv": ("w",), "ii": ("u",), "li": ("h",)},
    **{"m": ("rn", "nn"), "d": ("cl",), "w": ("vv",), "u": ("ii", "v"), "h": ("li",)},
    **{"o": ("0", "c"), "0": ("O", "o"), "O": ("0", "Q"), "Q": ("O",), "D": ("O",)},
    **{"l": ("1", "I"), "1": ("l", "I"), "I": ("l", "1"), "i": ("l", "j"), "t": ("f",)},
    **{
        "s": ("5",),
        "5": ("S",),
        "S": ("5",),
        "b": ("6", "h"),
        "6": ("b",),
    },
    **{
        "f": ("t",),
        "8": ("B",),
        "B": ("8", "R"),
        "g": ("9", "q"),
        "9": ("g",),
        "q": ("g",),
    },
    **{"z": ("2",), "2": ("Z",), "Z": ("2",), "e": ("c",), "c": ("e",), "a": ("o",)},
    **{"n": ("ri", "h"), "v": ("y",), "y": ("v",), "E": ("F",), "F": ("E",)},
}
SHORTENED = 5  # letters of the shortest word that is abbreviated
VOWELS = frozenset("aeiouAEIOU")


def typos(text: str, strength: float, rng: np.random.Generator) -> str:
    """Each character is, with probability `strength`, the victim of one slip.

    One of: the next key, lost, typed twice, swapped with the one after it. The
    first letter of a word is never lost, so that none vanishes.
    """
    hit = rng.random(len(text)) < strength
    slips, sides = rng.integers(4, size=len(text)), rng.random(len(text))
    typed, i = [], 0
    while i < len(text):
        here, after = text[i], text[i + 1 : i + 2]
        first = i == 0 or text[i - 1].isspace()
        written, used = here, 1
        if hit[i] and not here.isspace():
            written = 2 * here
            if slips[i] == 0:
                written = _next_key(here, sides[i])
            elif slips[i] == 1 and not first:
                written = ""
            elif slips[i] == 2 and after.strip():
                written, used = after + here, 2
        typed.append(written)
        i += used
    return "".join(typed)


def _next_key(letter: str, side: float) -> str:
    """A neighbour on the keyboard, in the letter's case; the letter twice if none."""
    keys = NEXT_KEYS.get(letter.lower(), "")
    key = keys[int(side * len(keys))] if keys else 2 * letter
    return key.upper() if letter.isupper() else key


def ocr(text: str, strength: float, rng: np.random.Generator) -> str:
    """Each glyph or pair of `MISREAD` is misread with probability `strength`."""
    hit, pick = rng.random(len(text)) < strength, rng.random(len(text))
    read, i = [], 0
    while i < len(text):
        found = [p for p in (text[i : i + 2], text[i]) if p in MISREAD]
        piece = found[0] if found and hit[i] else text[i]
        options = MISREAD[piece] if found and hit[i] else (piece,)
        read.append(options[int(pick[i] * len(options))])
        i += len(piece)
    return "".join(read)


def word_drop(text: str, strength: float, rng: np.random.Generator) -> str:
    """Each whitespace-separated word is dropped with probability `strength`."""
    words = text.split()
    kept = rng.random(len(words)) >= strength
    return " ".join(w for w, k in zip(words, kept, strict=True) if k)


def shuffle(text: str, strength: float, rng: np.random.Generator) -> str:
    """Words, each taken with probability `strength`, change places at random."""
    words = np.array(text.split(), object)
    moved = np.flatnonzero(rng.random(len(words)) < strength)
    keys = rng.random(len(words))
    words[moved] = words[moved[np.argsort(keys[moved])]]
    return " ".join(words)


def truncate(text: str, strength: float, rng: np.random.Generator) -> str:
    """The last words are cut off, as many as `strength` is of all, rounded down."""
    words = text.split()
    lost = int(strength * len(words) + 1e-9)
    return " ".join(words[: len(words) - lost])


def abbreviate(text: str, strength: float, rng: np.random.Generator) -> str:
    """Each word of 5 letters or more is abbreviated with probability `strength`.

    Half of them lose their vowels but the first letter (lthr), the others all behind
    the third letter (lea.).
    """
    words = text.split()
    hit, form = rng.random(len(words)) < strength, rng.random(len(words)) < 0.5
    drawn = zip(words, hit.tolist(), form.tolist(), strict=True)
    return " ".join(_abbreviation(w, bones) if h else w for w, h, bones in drawn)


def _abbreviation(word: str, skeleton: bool) -> str:
    if len(word) < SHORTENED or not word.isalpha():
        return word
    bones = word[0] + "".join(c for c in word[1:] if c not in VOWELS)
    return bones if skeleton and 1 < len(bones) < len(word) else word[:3] + "."


TEXT_DAMAGE: dict[str, Damage] = {
    "abbreviate": abbreviate,
    "word_drop": word_drop,
    "shuffle": shuffle,
    "typos": typos,
    "ocr": ocr,
    "truncate": truncate,
}
