"""What is at stake in a code: a file with the columns code, duty and penalty."""

from pathlib import Path

from hsjax.data.cost_file import FieldError, read_amount
from hsjax.data.fields import as_text
from hsjax.data.named_nodes import Own, find_node
from hsjax.data.quarantine import CatalogueError
from hsjax.data.strict_tables import strict_rows
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError

COLUMNS = ("code", "duty", "penalty")


def read_duties(
    path: Path | str, tree: Taxonomy, *, own: Own
) -> dict[str, tuple[float, float]]:
    """Code of a node -> duty of a product there, and penalty where it is misdeclared.

    Codes are written as in labels; what is said of an inner node is of all below it
    that have no line of their own.

    Args:
      own: own code of a node -> its path, see `own_codes`.

    Raises:
      CatalogueError: no such file or column; with row and column: no such code, an
        amount that is no number of 0 or more, or a code that stands there twice.
    """
    found = {}
    for row, values in strict_rows(path, COLUMNS, "--duties"):
        try:
            code = _code(as_text(values["code"]), tree, own)
            amounts = tuple(read_amount(values, column) for column in COLUMNS[1:])
        except FieldError as error:
            raise CatalogueError(f"{path}, row {row}, {error}") from None
        if code in found:
            raise CatalogueError(
                f"{path}, row {row}, column code: {code!r} stands there already; keep"
                " one of them"
            )
        found[code] = amounts
    return found


def _code(text: str, tree: Taxonomy, own: Own) -> str:
    """The code of a node; FieldError: it is none."""
    try:
        if not text:
            raise TaxonomyError("no code")
        return find_node(text, tree, own, guess=True)
    except TaxonomyError as error:
        raise FieldError(f"column code: {error}") from None
