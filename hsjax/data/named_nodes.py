"""Nodes of a tree by their codes, as somebody has written them."""

from collections.abc import Mapping, Sequence

from hsjax.data.records import CatalogueError
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, split_path


def find_nodes(
    codes: Sequence[str], tree: Taxonomy, own: Mapping[str, Sequence[str]]
) -> set[str]:
    """The nodes of a tree that are meant, as they are written in labels.

    Dots and spaces of HS codes do not matter, nor do spaces around a separator.

    Args:
      own: own code of a node -> its path, which may be given as well.

    Raises:
      CatalogueError: no such node, with the one that may be meant.
    """
    pairs = zip(tree.codes, tree.stop, strict=True)
    known = {str(code) for level, stop in pairs for code in level[~stop]}
    try:
        read = {code: read_code(code, tree.separator, own) for code in codes}
    except TaxonomyError as error:
        raise CatalogueError(f"data.leave_out: {error}") from None
    unknown = [code for code, node in read.items() if node not in known]
    if unknown:
        node = read[unknown[0]]
        more = f", as are {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise CatalogueError(
            f"data.leave_out: {unknown[0]!r} is no node of the tree{more}."
            f"{meant(node, sorted(known | own.keys()))} Without taxonomy.path its nodes"
            " are those of the training rows"
        )
    return set(read.values())


def read_code(code: str, separator: str, own: Mapping[str, Sequence[str]]) -> str:
    """A code as a tree has it; see `find_nodes`.

    Raises:
      TaxonomyError: a path with an empty part.
    """
    if code in own:
        return own[code][-1]
    if not separator:
        return code.replace(".", "").replace(" ", "")
    return split_path(code, separator)[-1]
