"""A change of a label tree, applied to the tree and to the paths of products."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from hsjax.codes import STOP, TaxonomyError
from hsjax.nodes import stop_code
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.taxonomy_diff import Diff, Operation

Rows = list[list[tuple[str, str, str, bool]]]  # per level: code, name, parent, stop


def apply_diff(diff: Diff, tree: Taxonomy) -> Taxonomy:
    """The new tree.

    Nodes that stay keep their code, and their id unless a merge takes a node of their
    level away: ids above it then close up. New nodes come behind all others of their
    level. A leaf that is split or gets a child becomes an inner node, and its products
    stay there until they are moved.

    Raises:
      TaxonomyError: another tree than `base`, or an operation that is impossible there;
        names it by its number.
    """
    if diff.base and diff.base != tree.hash:
        raise TaxonomyError(
            f"the diff was made for the tree {diff.base[:8]}, and this one is"
            f" {tree.hash[:8]}: make it anew, or empty its `base` if both have the same"
            " codes"
        )
    rows = _named_rows(tree)
    for number, operation in enumerate(diff.operations, 1):
        try:
            _KINDS[operation.kind](rows, operation, tree.separator)
        except TaxonomyError as error:
            raise TaxonomyError(
                f"operation {number} ({operation.kind}): {error}"
            ) from None
    edition = diff.edition or tree.edition
    return _tree(rows, edition=edition, separator=tree.separator)


def moved_path(diff: Diff, path: Sequence[str]) -> tuple[str, ...]:
    """A product's path in the new tree; merged nodes are replaced, all else stays."""
    path = tuple(path)
    for operation in diff.operations:
        place = operation.level - 1
        merged = operation.kind == "merge" and len(path) > place
        if merged and path[place] in operation.codes:
            path = (*path[:place], operation.code, *path[place + 1 :])
    return path


def _named_rows(tree: Taxonomy) -> Rows:
    """Rows whose parents are named, so that ids may move."""
    rows = []
    for level in range(tree.num_levels):
        above = tree.codes[level - 1] if level else None
        columns = (tree.codes, tree.names, tree.parents, tree.stop)
        rows.append(
            [
                (str(c), str(n), str(above[p]) if level else "", bool(s))
                for c, n, p, s in zip(*(x[level] for x in columns), strict=True)
            ]
        )
    return rows


def _tree(rows: Rows, *, edition: str, separator: str) -> Taxonomy:
    levels, ids = [], {"": 0}
    for level in rows:
        levels.append([(c, n, ids[parent], s) for c, n, parent, s in level])
        ids = {row[0]: i for i, row in enumerate(level)}
    return Taxonomy.from_nodes(levels, edition=edition, separator=separator)


def _place(rows: Rows, level: int, code: str) -> int:
    """Where a node stands in its level."""
    if not 1 <= level <= len(rows):
        raise TaxonomyError(f"there is no level {level}; the tree has {len(rows)}")
    codes = [c for c, _, _, stop in rows[level - 1] if not stop]
    if code not in codes:
        raise TaxonomyError(f"level {level} has no node {code!r}.{meant(code, codes)}")
    return [c for c, *_ in rows[level - 1]].index(code)


def _add(rows: Rows, operation: Operation, separator: str) -> None:
    level, parent = operation.level, operation.code
    _place(rows, level, parent)
    if not operation.into:
        raise TaxonomyError("it names no new node")
    while len(rows) <= level:
        rows.append([])
    known = {code for code, *_ in rows[level]}
    names = {name for _, name, above, _ in rows[level] if above == parent}
    for code, name in operation.into:
        if not code.strip() or not name.strip():
            raise TaxonomyError("a new node needs a code and a name")
        if name == STOP:
            raise TaxonomyError(f"the name {name!r} is taken; choose another")
        if code in known:
            raise TaxonomyError(f"level {level + 1} has a node {code!r} already")
        if name in names:
            raise TaxonomyError(f"{parent!r} has a child called {name!r} already")
        known.add(code)
        names.add(name)
        rows[level].append((code, name, parent, False))


def _split(rows: Rows, operation: Operation, separator: str) -> None:
    _place(rows, operation.level, operation.code)
    below = rows[operation.level] if operation.level < len(rows) else []
    if any(parent == operation.code and not stop for _, _, parent, stop in below):
        raise TaxonomyError(
            f"{operation.code!r} has children: a leaf is split, and `add` gives an"
            " inner node more of them"
        )
    if len(operation.into) < 2:
        raise TaxonomyError("a leaf is split into two nodes or more")
    _add(rows, operation, separator)


def _rename(rows: Rows, operation: Operation, separator: str) -> None:
    place = _place(rows, operation.level, operation.code)
    if not operation.name.strip():
        raise TaxonomyError("the new name is empty")
    code, _, parent, stop = rows[operation.level - 1][place]
    rows[operation.level - 1][place] = (code, operation.name, parent, stop)


def _merge(rows: Rows, operation: Operation, separator: str) -> None:
    level, kept = operation.level, operation.code
    places = [_place(rows, level, code) for code in operation.codes]
    gone = set(operation.codes) - {kept}
    if kept not in operation.codes or not gone:
        raise TaxonomyError("it names two codes or more, and one of them as the result")
    parents = {rows[level - 1][place][2] for place in places}
    if len(parents) > 1:
        raise TaxonomyError(f"{', '.join(operation.codes)} have different parents")
    if operation.name:
        _rename(rows, operation, separator)
    rows[level - 1] = [row for row in rows[level - 1] if row[0] not in gone]
    if level == len(rows):
        return
    below, stops = [], {kept} if _stops(rows[level], kept) else set()
    for code, name, parent, stop in rows[level]:
        if parent in gone:
            parent = kept
            if stop and kept in stops:  # one STOP child is enough
                continue
            if stop:
                code, stops = stop_code(kept, separator), {kept}
        below.append((code, name, parent, stop))
    rows[level] = below


def _stops(below: list, parent: str) -> bool:
    """Has the node a STOP child?"""
    return any(stop and above == parent for *_, above, stop in below)


_KINDS: Mapping[str, Callable[[Rows, Operation, str], None]] = MappingProxyType(
    {"add": _add, "split": _split, "rename": _rename, "merge": _merge}
)
