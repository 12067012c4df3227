"""Labels as people write them -> node codes; what cannot be right is refused."""

import re
from collections.abc import Sequence

STOP = "STOP"
# 1.01E+05, '0101.21 and ="0101.21", as spreadsheets write them
SPREADSHEET = re.compile(r"""=".*"|'.*|\d(\.\d+)?[eE]\+?\d+""")
LONGEST = 14  # digits of a national code


class TaxonomyError(ValueError):
    """A tree, a code or a path that cannot be right, with the reason in words."""


def hs_path(code: str, digits: Sequence[int] = (2, 4, 6)) -> tuple[str, ...]:
    """Node codes of a Harmonized System code, coarsest first.

    Dots and spaces are accepted, digits beyond the deepest level are cut, a shorter
    code gives a shorter path. An odd number of digits is refused, never padded, and so
    is a spreadsheet's 10121.0, which would read as another code.

    >>> hs_path("0101.21")
    ('01', '0101', '010121')
    >>> hs_path("0101 21 00 00"), hs_path("6109")
    (('01', '0101', '010121'), ('61', '6109'))

    Raises:
      TaxonomyError: not digits, an odd number of them, fewer than the coarsest level
        has, or chapter 00.
    """
    parts = code.strip().replace(" ", ".").split(".")
    bare = "".join(parts)
    if not (bare.isascii() and bare.isdigit()):
        spreadsheet = SPREADSHEET.fullmatch(code.strip())
        hint = ": export the column as text" if spreadsheet else ""
        raise TaxonomyError(
            f"not an HS code: {code[:40]!r} has characters that are no digits{hint}"
        )
    # an odd first part alone, as in 101.21, is a lost zero
    if any(len(part) % 2 for part in parts[1:]):
        raise TaxonomyError(
            f"not an HS code: {code!r} looks like a number read as float: export the"
            " column as text"
        )
    if len(bare) > LONGEST:
        raise TaxonomyError(
            f"not an HS code: {code[:20]!r}... has {len(bare)} digits, and national"
            f" codes have at most {LONGEST}"
        )
    if len(bare) % 2:
        raise TaxonomyError(
            f"probably a lost zero: {code!r} has {len(bare)} digits, and HS codes have"
            " an even number; read the column as text and keep leading zeros"
        )
    if len(bare) < digits[0]:
        raise TaxonomyError(
            f"HS code too short: {code!r} has fewer than {digits[0]} digits"
        )
    if bare.startswith("00"):
        raise TaxonomyError(f"no HS code: {code!r} is of chapter 00, the first is 01")
    return tuple(bare[:n] for n in digits if n <= len(bare))


def split_path(path: str, separator: str = " > ") -> tuple[str, ...]:
    """Node codes of a path, coarsest first: the joined prefixes.

    A separator with spaces splits only where there are spaces, as many as one likes;
    `>` needs none.

    >>> split_path("Men > Shoes"), split_path("Men>Shoes")
    (('Men', 'Men > Shoes'), ('Men', 'Men > Shoes'))
    >>> split_path("Men - T-Shirts", " - ")
    ('Men', 'Men - T-Shirts')

    Raises:
      TaxonomyError: an empty part.
    """
    mark = separator.strip()
    before = r"(?<=\s)" if mark != ">" and separator[0].isspace() else ""
    after = r"(?=\s)" if mark != ">" and separator[-1].isspace() else ""
    # the outer spaces show a separator at either end, whose part is empty
    parts = re.split(f"{before}{re.escape(mark)}{after}", f" {path} ")
    return join_levels([part.strip() for part in parts], separator)


def join_levels(parts: Sequence[str], separator: str = " > ") -> tuple[str, ...]:
    """Node codes of level names: each is the path down to it.

    Raises:
      TaxonomyError: an empty part, a part that holds the separator or is the word STOP.
    """
    for part in parts:
        if not part:
            told = f"empty part in the path {separator.join(parts)!r}"
            if part is parts[-1] or part is parts[0]:
                told += f": no {separator.strip()!r} may stand at either end"
            raise TaxonomyError(told)
        if separator in part:
            raise TaxonomyError(
                f"the label {part!r} contains the separator {separator!r}"
            )
        if part == STOP:
            raise TaxonomyError(f"the label {part!r} is a reserved word")
    return tuple(separator.join(parts[: i + 1]) for i in range(len(parts)))


def check_name(name: str, separator: str = " > ") -> None:
    """Is a path that ends in this name read back as such?

    Raises:
      TaxonomyError: it would be read as several names, or as none.
    """
    join_levels([name], separator)
    if len(parts := split_path(name, separator)) > 1:
        raise TaxonomyError(
            f"the label {name!r} would be read as {len(parts)} levels, as"
            f" {separator.strip()!r} stands between them"
        )
