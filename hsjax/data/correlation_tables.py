"""Correlation tables: CSV files that say what codes of an edition became in another.

The columns are from_edition,from_code,to_edition,to_code,weight,source, with a pair of
codes a row. What a user can mend is refused in words, with the file, row and column.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.data.correlation import Correlation, Editions, Pair
from hsjax.data.fields import as_text
from hsjax.data.named_nodes import node_places
from hsjax.data.quarantine import CatalogueError
from hsjax.data.strict_tables import strict_rows
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, hs_path, split_path

COLUMNS = ("from_edition", "from_code", "to_edition", "to_code", "weight", "source")
UNNAMED = "unnamed source"


class _Known(NamedTuple):
    """What codes are checked by; see `read_correlation`."""

    trees: Sequence[Taxonomy]
    partial: Sequence[Taxonomy]
    nodes: Mapping[str, Sequence[str]]


def read_correlation(
    paths: Iterable[Path | str],
    trees: Sequence[Taxonomy],
    *,
    nodes: Mapping[str, Sequence[str]] | None = None,
    partial: Sequence[Taxonomy] = (),
) -> Correlation:
    """Reads tables; each file may hold several pairs of editions.

    A blank weight is an equal share of its code within its source; given weights need
    not sum to 1.

    Args:
      trees: of the editions that are at hand, whose codes are checked; at least one.
      nodes: own code -> path, of labels of the kind `node`.
      partial: of these trees, those that were made of products: a table may name codes
        that they lack.

    Raises:
      CatalogueError: names the file, the row and the column.
    """
    tables: dict[Editions, list[Pair]] = defaultdict(list)
    paths = [Path(path) for path in paths]
    for path in paths:
        for editions, pair in _read(path, _Known(trees, partial, nodes or {})):
            tables[editions].append(pair)
    _check_editions(paths, tables, trees)
    own = {tree.edition: node_places(tree) for tree in trees}
    return Correlation(tables, own)


def _check_editions(paths: Sequence[Path], tables: Mapping, trees) -> None:
    """CatalogueError: no rows, or none of a tree's edition."""
    named, files = (
        sorted({x for pair in tables for x in pair}),
        ", ".join(map(str, paths)),
    )
    if not named:
        raise CatalogueError(f"{files}: no row of a correlation")
    for tree in trees:
        if tree.edition not in named:
            near = meant(tree.edition, named) if tree.edition else ""
            raise CatalogueError(
                f"{files}: no row names {tree.edition!r}, the edition of the label tree"
                f" (taxonomy.edition).{near} They name {', '.join(map(repr, named))}"
            )


def _read(path: Path, known: _Known) -> list[tuple[Editions, Pair]]:
    """(editions, pair) of each row, checked by itself and against those before."""
    found, seen, weighed = [], {}, {}
    for number, values in strict_rows(path, COLUMNS, "taxonomy.correlation"):
        where = f"{path}, row {number}"
        editions, pair = _checked(where, values, known)
        first = seen.setdefault((editions, pair._replace(weight=None)), number)
        if first != number:
            raise CatalogueError(
                f"{where}: the pair {pair.code!r} -> {pair.other!r} stands in row"
                f" {first} already, of the same source {pair.source!r}"
            )
        given = pair.weight is not None
        key = editions, pair.code, pair.source
        if weighed.setdefault(key, (given, number))[0] != given:
            raise CatalogueError(
                f"{where}, column weight: of {pair.code!r} some weights are blank and"
                f" some are not (see row {weighed[key][1]}); give all, or leave all"
                " blank for equal shares"
            )
        found.append((editions, pair))
    return found


def _checked(where: str, values: Mapping, known: _Known) -> tuple[Editions, Pair]:
    text = {column: as_text(values[column]) for column in COLUMNS}
    editions = text["from_edition"], text["to_edition"]
    for column in COLUMNS[:4]:
        if not text[column]:
            raise CatalogueError(f"{where}, column {column}: empty")
    if editions[0] == editions[1]:
        raise CatalogueError(
            f"{where}, column to_edition: {editions[1]!r} is from_edition as well"
        )
    codes = [
        _code(f"{where}, column {column}", text[column], edition, known)
        for column, edition in zip(("from_code", "to_code"), editions, strict=True)
    ]
    weight = _weight(where, text["weight"]) if text["weight"] else None
    return editions, Pair(*codes, weight, text["source"] or UNNAMED)


def _weight(where: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise CatalogueError(
            f"{where}, column weight: {text!r} is no number above 0; leave all weights"
            " of a code blank for equal shares"
        )
    return weight


def _code(where: str, text: str, edition: str, known: _Known) -> str:
    """The code of a node as trees have it, and of a known tree one that is there."""
    tree = next((tree for tree in known.trees if tree.edition == edition), None)
    try:
        code = read_code(text, tree or known.trees[0], known.nodes)
    except TaxonomyError as error:
        raise CatalogueError(f"{where}: {error}") from None
    whole = tree is not None and tree not in known.partial
    if whole and code not in node_places(tree):
        near = meant(code, node_places(tree))
        raise CatalogueError(
            f"{where}: {text!r} is no node of the tree of {edition!r}.{near}"
        )
    return code


def read_code(text: str, tree: Taxonomy, nodes: Mapping[str, Sequence[str]]) -> str:
    """A node code as somebody has written it, in the form that the tree has.

    Args:
      nodes: own code -> path; an own code that is not there stays as it is.

    Raises:
      TaxonomyError: it cannot be a code of such a tree.
    """
    if nodes:
        return nodes[text][-1] if text in nodes else text
    if tree.separator:
        return split_path(text, tree.separator)[-1]
    digits = tuple(len(codes[0]) for codes in tree.codes)
    code, count = hs_path(text, digits)[-1], sum(c.isdigit() for c in text)
    if count != len(code):
        raise TaxonomyError(
            f"{text!r} has {count} digits, and the levels of the tree have"
            f" {', '.join(map(str, digits))}"
        )
    return code
