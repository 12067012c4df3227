"""Nodes of a label tree as plain rows: made from paths, and checked."""

from collections.abc import Mapping, Sequence

import numpy as np

from hsjax.tree.codes import STOP, TaxonomyError

Row = tuple[str, str, int, bool]  # code, name, parent id, stop


def rows_from_paths(
    paths: Sequence[Sequence[str]],
    *,
    complete: Sequence[bool],
    stop: str,
    names: Mapping[str, str],
    separator: str,
) -> list[list[Row]]:
    """Rows per level, sorted by code: see `Taxonomy.from_paths`.

    Raises:
      TaxonomyError: no path, or a node with two parents.
    """
    depth = max(map(len, paths), default=0)
    if not depth:
        raise TaxonomyError("no label to build a tree from")
    nodes = _nodes(paths, depth)
    ends = _ends(paths, complete, nodes, stop)
    levels, ids = [], {}
    for level in range(depth):
        rows = [
            (c, names.get(c) or (c.split(separator)[-1] if separator else c), p, False)
            for c, p in nodes[level].items()
        ]
        if level:
            rows += [(stop_code(c, separator), STOP, c, True) for c in ends[level - 1]]
        rows = [(c, n, ids.get(p, 0), s) for c, n, p, s in sorted(rows)]
        ids = {row[0]: i for i, row in enumerate(rows)}
        levels.append(rows)
    return levels


def stop_code(code: str, separator: str) -> str:
    """Code of the STOP child of a node."""
    return f"{code}{separator or '/'}{STOP}"


def _nodes(paths, depth: int) -> list[dict[str, str]]:
    """Per level: code -> code of the parent."""
    nodes: list[dict[str, str]] = [{} for _ in range(depth)]
    for path in paths:
        for level, code in enumerate(path):
            parent = path[level - 1] if level else ""
            if nodes[level].setdefault(code, parent) != parent:
                raise TaxonomyError(
                    f"{code!r} has two parents: {nodes[level][code]!r} and {parent!r}"
                )
    return nodes


def _ends(paths, complete, nodes, stop: str) -> list[set[str]]:
    """Per level: codes of the inner nodes that get a STOP child."""
    inner = [set(below.values()) for below in nodes[1:]] + [set()]
    if stop != "data":
        return inner if stop == "all" else [set() for _ in nodes]
    ends: list[set[str]] = [set() for _ in nodes]
    for path, ended in zip(paths, complete, strict=True):
        if path and ended and path[-1] in inner[len(path) - 1]:
            ends[len(path) - 1].add(path[-1])
    return ends


def check_nodes(
    codes: Sequence[np.ndarray],
    parents: Sequence[np.ndarray],
    stop: Sequence[np.ndarray],
) -> None:
    """Arrays per level, as in `Taxonomy`.

    Raises:
      TaxonomyError: they are no tree.
    """
    for level, own in enumerate(codes):
        unique, counts = np.unique(own, return_counts=True)
        if (counts > 1).any():
            raise TaxonomyError(
                f"level {level + 1} has {str(unique[counts > 1][0])!r} twice"
            )
        if (unique == "").any():
            raise TaxonomyError(f"level {level + 1} has a node without a code")
        above = len(codes[level - 1]) if level else 1
        if ((parents[level] < 0) | (parents[level] >= above)).any():
            raise TaxonomyError(
                f"level {level + 1} has a node whose parent does not exist"
            )
        if level and stop[level - 1][parents[level]].any():
            raise TaxonomyError(f"level {level} has a STOP node with children")
        if level:
            stops = parents[level][stop[level]]
            if len(np.unique(stops)) < len(stops):
                raise TaxonomyError(
                    f"level {level + 1} has a node with two STOP children"
                )
    if stop[0].any():
        raise TaxonomyError("a product cannot stop above level 1")
