"""Tables that somebody wrote by hand, of which every row counts."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from hsjax.data.columns import check_table
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import Row, read_rows


def strict_rows(path: Path | str, columns: Iterable[str], key: str) -> Iterator[Row]:
    """The rows of `read_rows`; what would be a note there is refused, but blank lines.

    Args:
      columns: that the file has to have.
      key: of the config, or the flag, that names the file.

    Raises:
      CatalogueError: no such file or column; with row and column, a row that cannot be
        read as it stands.
    """
    check_table(path, columns, key)
    flaws = Quarantine()
    for row in read_rows(path, flaws):
        _refuse(path, flaws)
        yield row
    _refuse(path, flaws)


def _refuse(path: Path | str, flaws: Quarantine) -> None:
    for _, row, _, column, reason, _ in flaws.rows:
        if reason != "blank line":
            place = f"row {row}, column {column}" if column else f"row {row}"
            raise CatalogueError(f"{path}, {place}: {reason}")


def read_lines(path: Path | str) -> list[str]:
    """The lines of a text file; CatalogueError: it is not UTF-8, with the line."""
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CatalogueError(
            f"{path}, line {line}: not UTF-8; save the file as UTF-8"
        ) from None
