"""What is known of products' codes already: nodes of the tree, as people write them."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from hsjax.data.named_nodes import Own, find_node, node_places
from hsjax.data.record import Record
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError


def prefixes_of(
    records: Sequence[Record], column: str, tree: Taxonomy, own: Own
) -> tuple[Int[np.ndarray, "N L"] | None, list[str]]:
    """What a column says of the products; None where no column is named."""
    if not column:
        return None, [""] * len(records)
    return read_prefixes([x.extra.get(column, "") for x in records], tree, own)


def strange_codes(
    records: Sequence[Record], column: str, tree: Taxonomy, own: Own
) -> Iterator[tuple[Record, str]]:
    """Products whose column holds something else than a node of the tree, and what."""
    for record in records:
        try:
            find_node(record.extra.get(column, ""), tree, own)
        except TaxonomyError as error:
            yield record, str(error)


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
