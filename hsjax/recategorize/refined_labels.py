"""Labels of a catalogue in a tree that was refined, as a run reads them back."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from hsjax.data.nomenclature import node_paths
from hsjax.data.records import Record
from hsjax.recategorize.change import moved_code, moved_path
from hsjax.recategorize.diff import Diff
from hsjax.recategorize.files import CLUSTERS, read_clusters
from hsjax.recategorize.products import Branch
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import WorkdirError
from hsjax.tree.codes import TaxonomyError, split_path

Codes = tuple[str, ...]  # of a path, coarsest first


class Relabelled(NamedTuple):
    """Of each row with a label, by its number: the path then and now.

    Attributes:
      clustered: rows whose cluster is a node of the new tree.
      stayed: rows of a divided node that keep it.
    """

    old: Mapping[int, Codes]
    new: Mapping[int, Codes]
    clustered: int
    stayed: int


def relabelled(run: Path, branch: Branch, tree: Taxonomy, diff: Diff) -> Relabelled:
    """What becomes of the labels of a catalogue.

    A label that leaves the old tree is cut to what the tree knows where labels are
    codes by themselves, which say nothing of their ancestors.

    Args:
      run: workdir of the discovery; branch: its catalogue, read again; tree: the new
        one.

    Raises:
      WorkdirError: the clusters are of another catalogue.
      TaxonomyError: clusters without a node, or a label that would be read otherwise.
    """
    clusters = _clusters(run, branch)
    codes = _nodes_of_clusters(diff, clusters, branch.tree, tree)
    ends, old, new = _paths(tree), {}, {}
    separator, clustered, stayed = tree.separator, 0, 0
    for record in branch.records:
        old[record.row] = path = _known(record, branch.tree)
        code = codes.get(clusters.get(record.row), "")
        moved = moved_path(diff, path, separator=separator)
        new[record.row] = ends[code] if code else moved
        inside = record.row in clusters
        stays = inside and new[record.row] == moved
        clustered, stayed = clustered + (inside and not stays), stayed + stays
    _check_read_back({*old.values()}, branch.tree)
    _check_read_back({*new.values()}, tree)
    return Relabelled(old, new, clustered, stayed)


def _known(record: Record, tree: Taxonomy) -> Codes:
    if tree.separator:
        return record.path
    return tree.decode(tree.encode(record.path, complete=False)[0])


def _clusters(run: Path, branch: Branch) -> dict[int, tuple[str, str]]:
    """{row: (node that was divided, key of the cluster or '')}.

    Raises:
      WorkdirError: a row is not the product that it was, or in another node.
    """
    found, ids = read_clusters(run), {r.row: r.id for r in branch.records}
    own = {
        branch.records[i].row: code
        for (_, code), rows in branch.nodes.items()
        for i in rows.tolist()
    }
    columns = (found[name] for name in ("row", "id", "node", "cluster"))
    clusters = {}
    for row, id, node, key in zip(*columns, strict=True):
        if (ids.get(row), own.get(row)) != (id, node):
            now = f"{ids[row]!r} in {own.get(row)!r}" if row in ids else "gone"
            raise WorkdirError(
                f"{run / CLUSTERS}, row {row} of the catalogue was {id!r} in {node!r},"
                f" and is {now}: it has changed since; discover anew in a new workdir"
            )
        clusters[row] = node, key
    return clusters


def _nodes_of_clusters(
    diff: Diff, clusters: Mapping, old: Taxonomy, tree: Taxonomy
) -> dict[tuple[str, str], str]:
    """{(divided node, key): code in the new tree}; parts without one are their whole.

    Raises:
      TaxonomyError: the diff names a cluster that there is none of, or a node that the
        new tree has not.
    """
    known = dict.fromkeys(
        f"{node}|{whole}"
        for node, key in dict.fromkeys(clusters.values())
        for whole in wholes(key)
    )
    nodes = _paths(tree)
    codes = {}
    for name, code in diff.clusters.items():
        if name not in known:
            hint = meant(name, known)
            raise TaxonomyError(f"clusters: there was no cluster {name!r}.{hint}")
        codes[name] = moved_code(diff, code, separator=old.separator)
        if codes[name] not in nodes:
            raise TaxonomyError(
                f"clusters: {name!r} goes to {code!r}, which is no node of the new"
                f" tree: name another, or take the line out.{meant(code, nodes)}"
            )
    found = {}
    for node, key in dict.fromkeys(clusters.values()):
        own = [codes[name] for w in wholes(key) if (name := f"{node}|{w}") in codes]
        if own:
            found[node, key] = own[0]
    return found


def wholes(key: str) -> list[str]:
    """A cluster and those that it is a part of, itself first.

    >>> wholes("2.1"), wholes("")
    (['2.1', '2'], [])
    """
    parts = key.split(".") if key else []
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _paths(tree: Taxonomy) -> dict[str, Codes]:
    """Code -> path; the deepest node where levels share a code."""
    found = {}
    for level, codes in enumerate(tree.codes):
        for i, code in enumerate(codes.tolist()):
            if not tree.stop[level][i]:
                found[code] = tree.decode(tree.ancestors[level][i])
    return found


def _check_read_back(paths: Collection[Codes], tree: Taxonomy) -> None:
    """Are labels, written as the code of their last node, these paths again?

    Raises:
      TaxonomyError: one is not. CatalogueError: two nodes have the same code.
    """
    nodes = {} if tree.separator else node_paths(tree)
    for path in filter(None, paths):
        code, mark = path[-1], tree.separator.strip()
        read = split_path(code, tree.separator) if tree.separator else nodes.get(code)
        if read != path:
            raise TaxonomyError(
                f"the label {code!r} is of level {len(path)} and would be read as one"
                f" of level {len(read or ())}: no name may hold {mark!r}. Discover anew"
                " with another data.columns.separator, such as ' | '"
            )
