"""One run writes a workdir at a time."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import jax

from hsjax.atomic import lock
from hsjax.train.config import WorkdirError

log = logging.getLogger("hsjax")

CLAIM = ".claim"  # file that the system locks, and that says who holds it


@contextlib.contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Inside, no other run writes this workdir; of several processes the first asks.

    Where the file system or the system has no locks, a line says so.

    Raises:
      WorkdirError: another run is at work there.
    """
    if jax.process_index():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / CLAIM).open("a+", encoding="utf-8") as file:
        _lock(file, workdir)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _lock(file, workdir: Path) -> None:
    try:
        if not lock(file):
            log.warning("%s: no locks here; let one run alone write it", workdir)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise WorkdirError(
            f"{workdir}: {holder} is at work there; wait for it, end it, or take a new"
            " workdir"
        ) from None
