"""Nodes of a tree by their codes, as somebody has written them."""

import functools
from collections.abc import Mapping, Sequence

from hsjax.data.records import CatalogueError
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, hs_path, split_path

Own = Mapping[str, Sequence[str]]


@functools.lru_cache(8)
def node_places(tree: Taxonomy) -> Mapping[str, tuple[int, int]]:
    """Code -> (level, id) of every node; STOP children are none."""
    levels = enumerate(zip(tree.codes, tree.stop, strict=True))
    return {
        code: (level, i)
        for level, (codes, stop) in levels
        for i, code in enumerate(codes.tolist())
        if not stop[i]
    }


def find_node(text: str, tree: Taxonomy, own: Own, *, guess: bool = False) -> str:
    """The code of a node, as somebody has written it; '' = nothing is said.

    Dots and spaces of HS codes do not matter, nor do spaces around a separator. Digits
    of a national code below the tree are cut, as those of labels are.

    Args:
      own: own code of a node -> its path, which may be given as well.
      guess: name the node that may be meant: for files of people, as it takes time.

    Raises:
      TaxonomyError: it is none, and what is odd of it.
    """
    if not text:
        return ""
    places = node_places(tree)
    code = _plain(text, tree.separator, own)
    if code in places:
        return code
    if not tree.separator and (digits := _digits(tree)):
        cut = hs_path(text, digits)[-1]  # or says what is odd of a code that is none
        if len(cut) == digits[-1] and cut in places:
            return cut
    near = meant(code, sorted(places.keys() | own.keys())) if guess else ""
    raise TaxonomyError(f"{text!r} is no node of the tree{near and '.' + near}")


def find_nodes(codes: Sequence[str], tree: Taxonomy, own: Own) -> set[str]:
    """The nodes of a tree that are meant, see `find_node`.

    Raises:
      CatalogueError: no such node, with the one that may be meant.
    """
    found, unknown = set(), []
    for code in codes:
        try:
            found.add(find_node(code, tree, own, guess=not unknown))
        except TaxonomyError as error:
            unknown.append(str(error))
    if unknown:
        more = f", the first of {len(unknown)} codes" if len(unknown) > 1 else ""
        told = unknown[0] + "." * (not unknown[0].endswith("?"))
        raise CatalogueError(
            f"data.leave_out{more}: {told} Without taxonomy.path its nodes are those of"
            " the training rows"
        )
    return found


@functools.lru_cache(8)
def _digits(tree: Taxonomy) -> tuple[int, ...]:
    """How many the codes of a tree have."""
    return tuple(sorted({len(code) for code in node_places(tree) if code.isdigit()}))


def _plain(code: str, separator: str, own: Own) -> str:
    """A code as a tree has it; TaxonomyError: a path with an empty part."""
    if code in own:
        return own[code][-1]
    if not separator:
        return code.replace(".", "").replace(" ", "")
    return split_path(code, separator)[-1]
