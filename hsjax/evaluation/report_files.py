"""A report that lies in a folder."""

import json
from pathlib import Path

from hsjax.data.records import CatalogueError


def read_report(folder: Path) -> dict:
    """`report.json`. CatalogueError: it cannot be read."""
    path = folder / "report.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}") from None
