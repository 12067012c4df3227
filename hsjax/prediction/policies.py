"""What to file for a product that has a code already, or has none."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from hsjax.data.named_nodes import Own, find_node, node_places
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError


def filed_codes(
    policy: str,
    current: Sequence[str],
    ours: Shaped[np.ndarray, "N"],
    tree: Taxonomy,
    own: Own,
) -> Shaped[np.ndarray, "N"]:
    """The code to file for each product.

    `suggest` leaves all as they are. `fill_missing` takes ours where there is none.
    `replace` does so, too, and takes ours where it says another thing than the current
    code: not where it says the same, less far down.

    Args:
      policy: of `POLICIES`, '' = ours.
      current: as the catalogue has them, '' = none.
      ours: '' where we are not sure enough.
    """
    before = np.array(current, object)
    if policy == "suggest":
        return before
    missing = np.array([not text for text in current], bool)
    taken = missing | (policy == "")
    if policy == "replace":
        pairs = zip(ours.tolist(), current, strict=True)
        taken |= [bool(new) and not _says(old, new, tree, own) for new, old in pairs]
    return np.where(taken, ours, before)


def _says(text: str, code: str, tree: Taxonomy, own: Own) -> bool:
    """Is a node, as somebody has written it, this one or one below it?"""
    try:
        found = find_node(text, tree, own)
    except TaxonomyError:
        return False
    if not found:
        return False
    level, number = node_places(tree)[found]
    return code in tree.decode(tree.ancestors[level][number])
