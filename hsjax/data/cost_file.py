"""Costs of mistakes out of a file with the columns predicted, true and cost."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.fields import as_text
from hsjax.data.named_nodes import Own, find_node
from hsjax.data.nomenclature import node_paths
from hsjax.data.quarantine import CatalogueError
from hsjax.data.strict_tables import strict_rows
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError
from hsjax.tree.costs import PairCosts

FILE = "costs.csv"  # of a workdir
COLUMNS = ("predicted", "true", "cost")
LISTED = 5  # codes below an inner node that are named


def read_costs(
    path: Path | str,
    tree: Taxonomy,
    *,
    own: Own,
    key: str = "eval.cost_matrix",
) -> PairCosts:
    """The listed pairs; all others cost their distance in the tree.

    Codes are of nodes at which paths end, written as in labels: dots and spaces of HS
    codes do not matter. A pair may be repeated with the same cost.

    Args:
      own: own code of a node -> its path, which may be given as well; {} where labels
        are not of the kind `node`.
      key: of the config, or the flag, that names the file.

    Raises:
      CatalogueError: no such file or column; with row and column: no such code, one at
        which no path ends, a cost that is no number of 0 or more, or a pair that has
        two costs.
    """
    path = Path(path)
    found = {}
    ends = Ends(tree, own)
    for row, values in strict_rows(path, COLUMNS, key):
        try:
            pair = tuple(ends.read(values, column) for column in COLUMNS[:2])
            cost = read_amount(values, COLUMNS[2])
        except FieldError as error:
            raise CatalogueError(f"{path}, row {row}, {error}") from None
        before, known = found.setdefault(pair, (row, cost))
        if known != cost:
            raise CatalogueError(
                f"{path}, row {row}, column cost: predicted {pair[0]!r} for the true"
                f" {pair[1]!r} costs {cost:g} here and {known:g} in row {before}: keep"
                " one of them"
            )
    codes = np.array([*found], str).reshape(-1, 2)
    return PairCosts(*codes.T, np.array([cost for _, cost in found.values()], float))


def write_costs(costs: PairCosts, path: Path) -> None:
    """A file that `read_costs` reads back, with codes as the tree has them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(*(column.tolist() for column in costs), strict=True))
    write_atomically(path, text.getvalue())


def costs_of_run(
    config, tree: Taxonomy, workdir: Path, asked: Path | str = ""
) -> PairCosts | None:
    """What mistakes cost a run; None where nobody has said it.

    Args:
      asked: a file that was named now, whose costs go before those of the run.

    Raises:
      CatalogueError: the file is gone, or see `read_costs`.
    """
    if asked:
        return read_costs(asked, tree, own=own_codes(config, tree), key="--cost_matrix")
    if not config.eval.cost_matrix:
        return None
    return read_costs(workdir / FILE, tree, own={})


def configured_costs(config, tree: Taxonomy) -> PairCosts | None:
    """Of `eval.cost_matrix`, None where that names no file; see `read_costs`."""
    path = config.eval.cost_matrix
    return read_costs(path, tree, own=own_codes(config, tree)) if path else None


def keep_costs(config, tree: Taxonomy, workdir: Path, *, known: str) -> None:
    """Writes `costs.csv`, by which a run answers when its `eval.cost_matrix` is gone.

    Args:
      known: file that the one there was made of, '' = none.

    Raises:
      CatalogueError: see `read_costs`.
    """
    path, place = config.eval.cost_matrix, workdir / FILE
    if not path:
        place.unlink(missing_ok=True)
    elif Path(path).is_file() or path != known or not place.exists():
        write_costs(configured_costs(config, tree), place)


def own_codes(config, tree: Taxonomy) -> Own:
    """Of nodes that have a code beside their path, see `read_costs`."""
    return node_paths(tree) if config.data.columns.label_kind == "node" else {}


class FieldError(ValueError):
    """What is wrong with a field, its column first."""


class Ends:
    """Reads codes at which paths of a tree end."""

    def __init__(self, tree: Taxonomy, own: Own):
        self.tree, self.own = tree, own
        ended = set()
        for level, (codes, stop) in enumerate(zip(tree.codes, tree.stop, strict=True)):
            for i, code in enumerate(codes.tolist()):
                if stop[i]:
                    above = tree.codes[level - 1][tree.parents[level][i]]
                    ended.add(str(above))
                elif tree.leaf[level][i]:
                    ended.add(code)
        self.ended = ended

    def read(self, values: Mapping, column: str) -> str:
        """The code in a column; FieldError: it is none."""
        text = as_text(values[column])
        try:
            if not text:
                raise TaxonomyError("no code")
            code = find_node(text, self.tree, self.own, guess=True)
            if code not in self.ended:
                raise TaxonomyError(self._inner(text, code))
        except TaxonomyError as error:
            raise FieldError(f"column {column}: {error}") from None
        return code

    def _inner(self, text: str, code: str) -> str:
        """Why products do not end there."""
        start = code + self.tree.separator
        below = sorted(end for end in self.ended if end.startswith(start))
        shown = ", ".join(below[:LISTED]) + ", ..." * (len(below) > LISTED)
        return f"no product ends at {text!r}: name the leaves below it ({shown})"


def read_amount(values: Mapping, column: str) -> float:
    """A number of 0 or more in a column; FieldError: it is none."""
    text = as_text(values[column])
    try:
        amount = float(text)
    except ValueError:
        raise FieldError(f"column {column}: {text!r} is no number") from None
    if not 0 <= amount < math.inf:
        raise FieldError(f"column {column}: {text} is no {column}; give 0 or more")
    return amount
