"""Label trees from files: nomenclatures and lists of paths."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hsjax.data.fields import as_text
from hsjax.data.records import CatalogueError, Record
from hsjax.data.stored_records import labels_of
from hsjax.data.strict_tables import read_lines, strict_rows
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError, hs_path, split_path

log = logging.getLogger("hsjax")

# international schedules end in chapters 98 and 99 with codes that are no goods
PSEUDO_CODES = {"99", "9999", "999999", "TOTAL"}


def load_taxonomy(config, *, separator: str) -> Taxonomy:
    """The tree of `config.taxonomy.path`.

    Args:
      separator: of the parts of a path, for .txt files and code + parent columns.

    Raises:
      CatalogueError: the file cannot be read as a tree; names the row or line.
    """
    path = Path(config.path)
    if not path.is_file():
        raise CatalogueError(f"taxonomy.path: there is no file {path}")
    readers = {
        ".json": lambda: _read_document(path, config),
        ".txt": lambda: _read_paths(path, separator, config),
        ".csv": lambda: KINDS[config.kind](path, separator, config),
    }
    if path.suffix not in readers:
        raise CatalogueError(f"taxonomy.path: {path} is none of {', '.join(readers)}")
    if config.kind not in KINDS:
        raise CatalogueError(f"taxonomy.kind is {config.kind!r}; known: {list(KINDS)}")
    try:
        return readers[path.suffix]()
    except TaxonomyError as error:
        raise CatalogueError(f"{path}: {error}") from None


def _read_document(path: Path, config) -> Taxonomy:
    """A `taxonomy.json`, with the STOP children that it has, or all of them."""
    tree = Taxonomy.load(path)
    own = tree.edition or config.edition
    if config.correlation and config.edition not in ("", own):
        raise CatalogueError(
            f"taxonomy.edition is {config.edition!r}, and {path} is of {own!r}: leave"
            " the key empty, or name the tree of that edition"
        )
    if config.edition and not tree.edition:
        tree = replace(tree, edition=config.edition)
    if config.stop != "all":
        return tree
    leaves = enumerate(tree.leaf)
    return tree.with_stops(
        (level, i) for level, leaf in leaves for i in np.flatnonzero(~leaf).tolist()
    )


def _read_paths(path: Path, separator: str, config) -> Taxonomy:
    """A path a line; `#` starts a comment."""
    paths = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip() and not line.startswith("#"):
            try:
                paths.append(split_path(line.strip(), separator))
            except TaxonomyError as error:
                raise CatalogueError(f"{path}, line {number}: {error}") from None
    return Taxonomy.from_paths(
        paths, stop=_stops(config), edition=config.edition, separator=separator
    )


def _stops(config) -> str:
    """A file of nodes has no products, so none of them can say where products end."""
    return "all" if config.stop == "all" else "none"


def _name(row: dict) -> str:
    return as_text(row.get("name")) or as_text(row.get("description"))


def _read_codes(path: Path, separator: str, config) -> Taxonomy:
    """HS codes with names, without sections and pseudo-codes; parents are made."""
    del separator
    names, paths, left_out = {}, [], []
    for number, row in strict_rows(path, ("code",), "taxonomy.path"):
        code = as_text(row["code"])
        if code in PSEUDO_CODES or not code[:1].isdigit():
            left_out.append(code)
            continue
        try:
            paths.append(hs_path(code, config.digits))
        except TaxonomyError as error:
            raise CatalogueError(
                f"{path}, row {number}, column code: {error}"
            ) from None
        if len(code.replace(".", "").replace(" ", "")) == len(paths[-1][-1]):
            names.setdefault(paths[-1][-1], _name(row))
    if left_out:
        few = ", ".join(map(repr, left_out[:5])) + ", ..." * (len(left_out) > 5)
        log.info("%s: %d codes are no goods, left out: %s", path, len(left_out), few)
    return Taxonomy.from_paths(
        paths, stop=_stops(config), names=names, edition=config.edition
    )


def _read_parents(path: Path, separator: str, config) -> Taxonomy:
    """Columns code, parent ('' = top) and name; node codes become paths of codes."""
    parents, names = {}, {}
    for number, row in strict_rows(path, ("code", "parent"), "taxonomy.path"):
        code = as_text(row["code"])
        if not code or code in parents:
            flaw = f"the code {code!r} stands there twice" if code else "empty code"
            raise CatalogueError(f"{path}, row {number}, column code: {flaw}")
        parents[code], names[code] = as_text(row["parent"]), _name(row)
    paths, labels = [], {}
    for code in parents:
        chain = [code]
        while parent := parents[chain[-1]]:
            if parent not in parents or parent in chain:
                flaw = "is its own ancestor" if parent in chain else "has no row"
                raise CatalogueError(
                    f"{path}: the parent {parent!r} of {chain[-1]!r} {flaw}"
                )
            chain.append(parent)
        paths.append(split_path(separator.join(reversed(chain)), separator))
        labels[paths[-1][-1]] = names[code]
    return Taxonomy.from_paths(
        paths,
        stop=_stops(config),
        names=labels,
        edition=config.edition,
        separator=separator,
    )


KINDS = {"codes": _read_codes, "parents": _read_parents}


def node_paths(tree: Taxonomy) -> dict[str, tuple[str, ...]]:
    """Own code of every node -> its path, for labels that are one code of a tree.

    Raises:
      CatalogueError: two nodes have the same own code.
    """
    paths: dict[str, tuple[str, ...]] = {}
    for level, table in enumerate(tree.ancestors):
        for labels in table[~tree.stop[level]]:
            path = tree.decode(labels)
            own = path[-1].split(tree.separator)[-1] if tree.separator else path[-1]
            if own in paths:
                raise CatalogueError(
                    f"label_kind=node: {own!r} is both {paths[own][-1]!r} and"
                    f" {path[-1]!r}"
                )
            paths[own] = path
    return paths


def read_names(path: str, separator: str = "") -> dict[str, str]:
    """Code -> name from a CSV with the columns code and name (or description).

    Args:
      separator: of path codes; '' = HS codes, whose dots and spaces do not matter.

    Raises:
      CatalogueError: there is no such file, or a row cannot be read.
    """
    names = {}
    rows = strict_rows(path, ("code",), "taxonomy.names") if path else ()
    for number, row in rows:
        code = as_text(row["code"])
        try:
            if separator:
                code = split_path(code, separator)[-1]
            else:
                code = code.replace(".", "").replace(" ", "")
        except TaxonomyError as error:
            raise CatalogueError(
                f"{path}, row {number}, column code: {error}"
            ) from None
        names[code] = _name(row)
    return names


def tree_from_records(
    records: Sequence[Record], config, *, separator: str, names: dict | None = None
) -> tuple[Taxonomy, dict[str, int]]:
    """The tree of the labels of training records.

    Leaves with fewer than `config.min_products` rows are cut to their parent, again and
    again from the deepest level up.

    Returns:
      The tree, and what was cut: code -> products.
    """
    paths = [(path, complete) for path, complete, _ in labels_of(records) if path]
    cut: dict[str, int] = {}
    deepest = max((len(p) for p, _ in paths), default=0)
    for level in range(deepest, 1, -1):
        counts = Counter(p[:level] for p, _ in paths if len(p) >= level)
        rare = {p: n for p, n in counts.items() if n < config.min_products}
        cut |= {p[-1]: n for p, n in rare.items()}
        # what lies below a node that was cut is unknown to this tree, not its end
        paths = [
            (p[: level - 1], False) if p[:level] in rare else (p, c) for p, c in paths
        ]
    try:
        tree = Taxonomy.from_paths(
            [p for p, _ in paths],
            complete=[c for _, c in paths],
            stop=config.stop,
            names=names,
            edition=config.edition,
            separator=separator,
        )
    except TaxonomyError as error:
        raise CatalogueError(f"the labels make no tree: {error}") from None
    return tree, cut
