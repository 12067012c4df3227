"""Answers in another edition: the probability of every leaf, moved along a correlation.

    q(b) = sum over a of p(a) w(b | a),  sum over b of w(b | a) = 1

so that no mass is lost: the leaves of the new tree sum to what the old ones did.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import sparse

from hsjax.data.correlation import Correlation
from hsjax.data.named_nodes import node_places
from hsjax.data.quarantine import CatalogueError
from hsjax.hierarchy import leaf_paths
from hsjax.taxonomy import Taxonomy

NAMED = 5  # codes of which nobody knows what they became, in a message


class Projection:
    """Moves distributions over the leaves of a tree to those of another edition.

    A leaf goes where the correlation says. One that it does not name goes to the node
    of its own code, and where there is none, to what an ancestor became by the tables.
    What goes to an inner node is shared equally by the leaves below it; what ended at
    one (STOP) goes to its STOP child, where the other tree has that.

    Attributes:
      source, target: the trees.
      matrix: (C, D) of the leaves of both, in the order of `leaf_paths`; rows sum to 1.
    """

    def __init__(self, correlation: Correlation, source: Taxonomy, target: Taxonomy):
        """
        Raises:
          CatalogueError: lists leaves of which neither table nor tree knows more, or no
            table leads from the one edition to the other.
        """
        self.source, self.target = source, target
        ways = {"of": source.edition, "into": target.edition}
        if not correlation.chain(**ways):
            raise CatalogueError(
                f"no correlation leads from {source.edition!r} to {target.edition!r};"
                f" the tables name {', '.join(map(repr, correlation.editions))}"
            )
        below = _leaves_below(target)
        rows, lost = [], []
        for ids in leaf_paths(source):
            path, stops = source.decode(ids), _stops(source, ids)
            shares: dict[int, float] = {}
            for code, weight in _reached(path, correlation, below, ways):
                leaves = below[code]
                ends = [i for i, stop in leaves if stop] if stops else []
                for i in ends or [i for i, _ in leaves]:
                    shares[i] = shares.get(i, 0.0) + weight / len(ends or leaves)
            rows.append(shares)
            lost += [] if shares else [path[-1]]
        if lost:
            more = f" and {len(lost) - NAMED:,} more" if len(lost) > NAMED else ""
            raise CatalogueError(
                f"{', '.join(map(repr, lost[:NAMED]))}{more} of {source.edition!r} are"
                f" in no correlation table, and {target.edition!r} has no such codes:"
                " add rows that say what they became"
            )
        self.matrix = _matrix(rows, len(leaf_paths(target)))

    def project(self, probs: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N D"]:
        """Probabilities of the target's leaves, in float64; rows keep their sum."""
        return np.asarray(probs, np.float64) @ self.matrix

    def node_shares(self) -> list[sparse.csr_array]:
        """Per level (D nodes, C nodes) by id: which share of a source node went where.

        The leaves of a node count alike.
        """
        pairs = zip(node_members(self.target), node_members(self.source), strict=False)
        found = []
        for into, of in pairs:
            leaves = np.asarray(of.sum(axis=0)).ravel()
            moved = (into.T @ self.matrix.T @ of).tocsr()
            found.append(moved @ sparse.diags_array(1 / np.maximum(leaves, 1)).tocsr())
        return [sparse.csr_array(x) for x in found]


def node_members(tree: Taxonomy) -> list[sparse.csr_array]:
    """Per level (leaves, C) by id: does the path to a leaf lead through a node?"""
    found = []
    for column, size in zip(leaf_paths(tree).T, tree.sizes, strict=True):
        there = np.flatnonzero(column >= 0)
        entries = (np.ones(len(there)), (there, column[there]))
        found.append(sparse.csr_array(entries, shape=(len(column), size)))
    return found


def _reached(path: Sequence[str], correlation: Correlation, known, ways):
    """(code, weight) of the nodes that a leaf goes to, [] = nobody knows."""
    if links := correlation.links(path[-1], **ways):
        found = [(x.code, x.weight) for x in links if x.code in known]
    elif path[-1] in known:
        return [(path[-1], 1.0)]
    else:
        above = (correlation.links(code, **ways) for code in reversed(path[:-1]))
        links = next(filter(None, above), ())
        found = [(x.code, x.weight) for x in links if x.code in known]
    total = sum(weight for _, weight in found)
    return [(code, weight / total) for code, weight in found]


def _stops(tree: Taxonomy, ids: np.ndarray) -> bool:
    level = int((ids >= 0).sum()) - 1
    return bool(tree.stop[level][ids[level]])


def _leaves_below(tree: Taxonomy) -> dict[str, list[tuple[int, bool]]]:
    """Code of each node -> (number of a leaf, is it the node's own STOP child?)."""
    found: dict[str, list[tuple[int, bool]]] = {code: [] for code in node_places(tree)}
    for number, ids in enumerate(leaf_paths(tree)):
        path, stops = tree.decode(ids), _stops(tree, ids)
        for code in path:
            found[code].append((number, stops and code == path[-1]))
    return found


def _matrix(rows: Sequence[dict[int, float]], width: int) -> sparse.csr_array:
    values = [weight for row in rows for weight in row.values()]
    columns = [column for row in rows for column in row]
    places = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return sparse.csr_array((values, (places, columns)), shape=(len(rows), width))
