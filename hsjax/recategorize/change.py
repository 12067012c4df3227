"""A change of a label tree, applied to the tree and to the paths of products."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from hsjax.recategorize.diff import Diff, Operation
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import STOP, TaxonomyError, split_path
from hsjax.tree.nodes import stop_code

Rows = list[list[tuple[str, str, str, bool]]]  # per level: code, name, parent, stop


def apply_diff(diff: Diff, tree: Taxonomy) -> Taxonomy:
    """The new tree.

    Nodes that stay keep their code, and their id unless a merge takes a node of their
    level away: ids above it then close up. New nodes come behind all others of their
    level. A leaf that is split or gets a child becomes an inner node, and its products
    stay there until they are moved. In a tree of paths, where a code says what a node
    is below, nodes below a merged one get codes below the one that is left, and become
    one with what has this code already.

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


def moved_path(
    diff: Diff, path: Sequence[str], *, separator: str = ""
) -> tuple[str, ...]:
    """A product's path in the new tree; merged nodes are replaced, all else stays.

    Args:
      separator: of the tree.
    """
    path = tuple(path)
    for operation in diff.operations:
        place, kept = operation.level - 1, operation.code
        merged = operation.kind == "merge" and len(path) > place
        if merged and path[place] in operation.codes:
            gone = path[place]
            below = [_code_below(x, gone, kept, separator) for x in path[place + 1 :]]
            path = (*path[:place], kept, *below)
    return path


def moved_code(diff: Diff, code: str, *, separator: str = "") -> str:
    """The node that a node of any tree on the way to the new one has become."""
    for operation in diff.operations:
        gone = operation.codes if operation.kind == "merge" else ()
        if code in gone:
            code = operation.code
        for other in gone:
            code = _code_below(code, other, operation.code, separator)
    return code


def _code_below(code: str, gone: str, kept: str, separator: str) -> str:
    """Code of a node below one that is merged; codes that are no paths stay.

    >>> _code_below("Shoes > Open > Clogs", "Shoes > Open", "Shoes > Closed", " > ")
    'Shoes > Closed > Clogs'
    """
    inside = separator and code.startswith(gone + separator)
    return kept + code[len(gone) :] if inside else code


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
        _check_code(code, parent, name, separator)
        if name in names:
            raise TaxonomyError(f"{parent!r} has a child called {name!r} already")
        known.add(code)
        names.add(name)
        rows[level].append((code, name, parent, False))


def _check_code(code: str, parent: str, name: str, separator: str) -> None:
    """TaxonomyError: a path that labels could not be read by."""
    if not separator:
        return
    try:
        read = split_path(code, separator)
    except TaxonomyError as error:
        raise TaxonomyError(f"the code {code!r}: {error}") from None
    if (*split_path(parent, separator), code) != read:
        raise TaxonomyError(
            f"the code {code!r} is no path one below {parent!r}, as labels would be"
            f" read by: the usual one is {parent + separator + name!r}, where no name"
            f" may hold {separator.strip()!r}"
        )


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
    moved = dict.fromkeys(gone, kept)
    for below in range(level, len(rows)):
        rows[below], moved = _below_merged(rows[below], moved, separator)


def _below_merged(
    rows: list, moved: Mapping[str, str], separator: str
) -> tuple[list, Mapping[str, str]]:
    """(rows, old code -> new) of the level below one where nodes have moved."""
    known = {code for code, _, parent, _ in rows if parent not in moved}
    found, here = [], {}
    for code, name, parent, stop in rows:
        if parent in moved:
            kept = moved[parent]
            new = _code_below(code, parent, kept, separator)
            new = stop_code(kept, separator) if stop else new
            here |= {code: new} if new != code else {}
            if new in known:  # one of a code is enough
                continue
            known.add(new)
            code, parent = new, kept
        found.append((code, name, parent, stop))
    return found, here


_KINDS: Mapping[str, Callable[[Rows, Operation, str], None]] = MappingProxyType(
    {"add": _add, "split": _split, "rename": _rename, "merge": _merge}
)
