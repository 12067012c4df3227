"""Labels that are written in another edition than the model's tree.

Such a label stands for the nodes of the tree that its code became. Where that is one
node the label is that node, an ordinary label from here on. Where the code was divided,
the products may be any of several: these nodes are *admissible*, and the label is known
as far down as they have one path.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hsjax.data.columns import label_columns, label_kind, label_separator
from hsjax.data.correlation import Correlation, Link
from hsjax.data.correlation_tables import read_correlation
from hsjax.data.named_nodes import node_places
from hsjax.data.nomenclature import load_taxonomy, node_paths
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record
from hsjax.data.stored_records import relabelled
from hsjax.taxonomy import Taxonomy

Node = tuple[int, int]  # level, id


class Read(NamedTuple):
    """What a label of another edition says in the tree.

    Attributes:
      path, complete, admissible: as of `Record`.
      note: for the quarantine, '' = there is nothing to be told.
    """

    path: tuple[str, ...]
    complete: bool
    admissible: tuple[tuple[str, ...], ...] = ()
    note: str = ""


class EditionLabels:
    """Reads labels of any edition that a correlation knows.

    `(path, complete, edition)` to `Read`. A code that the table names is what became of
    it. One that the tree has and the table does not name is itself. Below the node of
    another edition lie the codes of that edition, so that a label which ends early is
    any of what these became. A code that neither knows stands for its deepest ancestor
    that the table names.

    Attributes:
      editions: that can be read: the tree's own, and those that tables lead from.
    """

    def __init__(self, tree: Taxonomy, correlation: Correlation):
        self.tree, self.correlation = tree, correlation
        self.places = node_places(tree)
        self._known: dict[tuple, Read] = {}
        chains = {e: correlation.chain(e, tree.edition) for e in correlation.editions}
        others = sorted(filter(chains.get, chains), key=lambda e: len(chains[e]))
        self._named = {e: correlation.named(of=e, into=tree.edition) for e in others}
        self.editions = (tree.edition, *others)

    def read(self, path: tuple[str, ...], complete: bool, edition: str) -> Read:
        """The label in the tree; '' = no edition is given: the tree's own.

        Raises:
          KeyError: no table leads from the edition to the tree's.
        """
        key = path, complete, edition
        if key not in self._known:
            own = edition in ("", self.tree.edition)
            self._known[key] = self._own(*key[:2]) if own else self._other(*key)
        return self._known[key]

    def _own(self, path: tuple[str, ...], complete: bool) -> Read:
        """A label without an edition: one that has left the tree may be retired."""
        if path[-1] in self.places:
            return Read(path, complete)
        for edition, named in self._named.items():
            if path[-1] in named:
                found = self._other(path, complete, edition)
                note = f"{found.note}; taken so, as the label names no other edition"
                return found._replace(note=note)
        return Read(path, complete)

    def _other(self, path: tuple[str, ...], complete: bool, edition: str) -> Read:
        code, named = path[-1], self._named[edition]
        if links := self._links(code, edition):
            gone = code not in self.places
            note = self._told(code, edition, links) if gone else ""
            nodes = topmost({self.places[link.code] for link in links}, self.tree)
            return self._read(nodes, note=note)
        below = () if complete else [c for c in named if self._is_below(c, code)]
        nodes = {self.places[x.code] for c in below for x in self._links(c, edition)}
        if code in self.places:
            if not below:
                return Read(path, complete or self._ends(self.places[code]))
            nodes |= self._leaves(self.places[code], named)
        for above in () if nodes else reversed(path[:-1]):
            nodes = {self.places[x.code] for x in self._links(above, edition)}
            if nodes:
                break
        return self._read(covered(nodes, self.tree)) if nodes else Read(path, complete)

    def _ends(self, place: Node) -> bool:
        return bool(self.tree.leaf[place[0]][place[1]])

    def _links(self, code: str, edition: str) -> tuple[Link, ...]:
        links = self.correlation.links(code, of=edition, into=self.tree.edition)
        return tuple(link for link in links if link.code in self.places)

    def _told(self, code: str, edition: str, links: Sequence[Link]) -> str:
        own, others = self.tree.edition, ", ".join(map(str, links))
        if self.correlation.forward(edition, own):
            return f"retired code: {code!r} of {edition} became {others} in {own}"
        return f"later code: {code!r} of {edition} was {others} in {own}"

    def _is_below(self, code: str, above: str) -> bool:
        return code != above and code.startswith(above + self.tree.separator)

    def _leaves(self, node: Node, named: Collection[str]) -> set[Node]:
        """The leaves below a node that the other edition had under the same code."""
        level, i = node
        return {
            place
            for code, place in self.places.items()
            if code not in named
            and place[0] > level
            and self.tree.leaf[place[0]][place[1]]
            and self.tree.ancestors[place[0]][place[1], level] == i
        }

    def _read(self, nodes: set[Node], note: str = "") -> Read:
        """One node is a label; of several the path that they have in common is."""
        paths = sorted(self.tree.decode(self.tree.ancestors[k][i]) for k, i in nodes)
        if len(nodes) == 1:
            return Read(paths[0], self._ends(*nodes), note=note)
        shared = [len(set(codes)) == 1 for codes in zip(*paths, strict=False)]
        depth = shared.index(False) if False in shared else len(shared)
        return Read(paths[0][:depth], False, tuple(paths), note)


def topmost(nodes: set[Node], tree: Taxonomy) -> set[Node]:
    """The nodes without those that lie below another one of them."""
    return {
        (level, i)
        for level, i in nodes
        if not any((k, int(tree.ancestors[level][i, k])) in nodes for k in range(level))
    }


def covered(nodes: set[Node], tree: Taxonomy) -> set[Node]:
    """The fewest nodes above the same leaves: one in place of all its children.

    An only child stays, as its label says more.

    >>> tree = Taxonomy.from_paths([("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")])
    >>> sorted(covered({(1, 0), (1, 1), (1, 2)}, tree))
    [(0, 0), (1, 2)]
    """
    chosen = [np.zeros(size, bool) for size in tree.sizes]
    for level, i in nodes:
        chosen[level][i] = True
    for level in range(tree.num_levels - 1, 0, -1):
        above, size = tree.parents[level], tree.sizes[level - 1]
        missing = np.bincount(above, ~chosen[level], minlength=size)
        several = np.bincount(above, minlength=size) > 1
        chosen[level - 1] |= (missing == 0) & several
    levels = enumerate(chosen)
    found = {(level, int(i)) for level, own in levels for i in np.flatnonzero(own)}
    return topmost(found, tree)


def in_own_edition(
    records: Sequence[Record],
    config,
    *,
    tree: Taxonomy | None = None,
    quarantine: Quarantine,
    labelled: bool,
) -> Sequence[Record]:
    """Records whose labels are of the tree's edition, or sets of its nodes.

    A row of an edition that no tables lead from has no label: it is dropped where they
    have to be `labelled`, else kept without.

    Args:
      config: of the whole run; without `taxonomy.correlation` nothing is done.
      tree: of a run; None = read from taxonomy.path.

    Raises:
      CatalogueError: a table that cannot be used, or no row is left.
    """
    paths = config.taxonomy.correlation
    if not paths:
        return records
    if tree is None:
        tree = load_taxonomy(config.taxonomy, separator=label_separator(config))
    known, own = node_places(tree), ("", tree.edition)
    asked = (r for r in records if r.path)
    if not labelled and all(r.edition in own and r.path[-1] in known for r in asked):
        return records  # the tables need not be there any more
    nodes = node_paths(tree) if label_kind(config.data) == "node" else None
    labels = EditionLabels(tree, read_correlation(paths, [tree], nodes=nodes))
    options = {"config_data": config.data, "quarantine": quarantine}
    kept = relabelled(
        records, lambda r: _in_own(r, labels, labelled=labelled, **options)
    )
    others = sum(r.edition not in own for r in kept)
    quarantine.tally["labels of another edition"] += others
    sets = sum(r.admissible != () for r in kept)
    quarantine.tally["labels with several admissible classes"] += sets
    if not kept:
        told = ", ".join(map(repr, labels.editions))
        raise CatalogueError(f"{config.data.path}: no row is of the editions {told}")
    return kept


def _in_own(
    record: Record, labels: EditionLabels, *, config_data, quarantine, labelled: bool
) -> Record | None:
    """See `in_own_edition`; None = dropped."""
    place = {"file": config_data.path, "row": record.row, "id": record.id}
    if not record.path:
        return record
    if record.edition not in ("", *labels.editions):
        reason = f"unknown edition: {_unknown(record.edition, labels)}"
        place |= {"column": config_data.columns.edition, "reason": reason}
        quarantine.add(**place, action="dropped" if labelled else "kept")
        return None if labelled else replace(record, path=(), complete=False)
    read = labels.read(record.path, record.complete, record.edition)
    if read.note:
        column = ",".join(label_columns(config_data))
        quarantine.add(**place, column=column, reason=read.note, action="kept")
    sets = {"complete": read.complete, "admissible": read.admissible}
    return replace(record, path=read.path, **sets)


def _unknown(edition: str, labels: EditionLabels) -> str:
    if edition not in labels.correlation.editions:
        return f"{edition!r} is in no correlation table"
    return f"no correlation tables lead from {edition!r} to {labels.tree.edition!r}"
