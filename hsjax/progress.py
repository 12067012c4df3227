"""How far long work is: a bar on a terminal, a log line now and then elsewhere."""

import logging
import sys
from collections.abc import Iterable

from tqdm import tqdm

log = logging.getLogger("hsjax")

INTERVAL = 30.0  # seconds between two lines


class _Lines:
    """A file that tqdm writes to: what it draws becomes a line of the log."""

    def write(self, text: str) -> None:
        if line := text.strip():
            log.info("%s", line)

    def flush(self) -> None:
        """Nothing waits here."""


def progress(
    iterable: Iterable | None = None,
    told: str = "",
    *,
    total: int | None = None,
    unit: str = "rows",
) -> tqdm:
    """tqdm's bar; what is over within half a minute leaves no line in a log.

    Args:
      told: what is under way, '' = nothing is shown.
      total: of `unit`; None = that of the iterable, if it has one.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    options = {"desc": told, "total": total, "unit": f" {unit}", "leave": False}
    if not told or sys.stderr.isatty():
        return tqdm(iterable, disable=not told, **options)
    share = "{n:,} of {total:,}" if total is not None else "{n:,}"
    return tqdm(
        iterable,
        file=_Lines(),
        bar_format=f"{{desc}}: {share}{{unit}}, {{rate_noinv_fmt}}",
        delay=INTERVAL,
        mininterval=INTERVAL,
        maxinterval=INTERVAL,
        **options,
    )
