"""Files that are whole, or as they were before."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def finished(path: Path | str) -> Iterator[Path]:
    """A file to be written inside; `path` is it when all went well, never a half.

    Its name is no other process's, so that two may write the same at once.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path | str, text: str) -> None:
    """The text as UTF-8, whole or not at all."""
    with finished(path) as partial:
        partial.write_text(text, encoding="utf-8")
