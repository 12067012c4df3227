"""Files that are whole, or as they were before."""

import contextlib
import errno
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

IDLE = 60  # seconds without a byte: nobody writes it any more


@contextlib.contextmanager
def finished(path: Path | str) -> Iterator[Path]:
    """A file to be written inside; `path` is it when all went well, never a half.

    Its name is no other process's, so that two may write the same at once. Whoever
    writes, it may be read by whom the umask lets: safetensors' own files only by you.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        if partial.stat().st_mode != mode:
            partial.chmod(mode)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def lock(file: IO, *, wait: bool = False) -> bool:
    """Locks an open file; False where the file system or the system has no locks.

    The system holds the lock, so that it ends with the process, however that ends, or
    when the file is closed.

    Raises:
      BlockingIOError: another one holds it, and this one is not to wait.
    """
    try:
        import fcntl  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except ImportError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
        return False
    return True


def remove_cut_off(folder: Path, name: str = "*") -> None:
    """What `finished` was killed at; not what another process may just be writing."""
    for partial in folder.glob(f"{name}.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > IDLE:
                partial.unlink()


def file_hash(path: Path | str) -> str:
    """sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path | str, text: str) -> None:
    """The text as UTF-8, whole or not at all."""
    with finished(path) as partial:
        partial.write_text(text, encoding="utf-8")
