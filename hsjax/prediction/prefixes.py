"""What is known of products' codes already: nodes of the tree, as people write them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from hsjax.data.named_nodes import node_places, read_code
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, hs_path

Own = Mapping[str, Sequence[str]]


def find_node(text: str, tree: Taxonomy, own: Own) -> str:
    """The code of a node, as somebody has written it; '' = nothing is said.

    Raises:
      TaxonomyError: it is none.
    """
    if not text:
        return ""
    code, places = read_code(text, tree.separator, own), node_places(tree)
    if code in places:
        return code
    if not tree.separator:  # national codes go on below the tree
        digits = sorted({len(known) for known in places if known.isdigit()})
        cut = hs_path(text, digits)[-1]  # or says what is odd of a code that is none
        if len(cut) == digits[-1] and cut in places:
            return cut
    raise TaxonomyError(f"{text!r} is no node of the tree")


def read_prefixes(
    texts: Sequence[str], tree: Taxonomy, own: Own
) -> tuple[Int[np.ndarray, "N L"], list[str]]:
    """Ids of the path to each node, -1 below it, and why it is none, '' = it is."""
    places, paths, reasons = node_places(tree), {}, {}
    nothing = np.full(tree.num_levels, -1, np.int32)
    for text in dict.fromkeys(texts):
        paths[text], reasons[text] = nothing, ""
        try:
            if code := find_node(text, tree, own):
                level, number = places[code]
                paths[text] = tree.ancestors[level][number]
        except TaxonomyError as error:
            reasons[text] = f"prefix: {error}"
    found = [paths[text] for text in texts]
    ids = np.array(found, np.int32).reshape(-1, tree.num_levels)
    return ids, [reasons[text] for text in texts]
