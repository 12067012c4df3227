"""Signals to stop, which end a training run between two steps."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from hsjax.interrupts import handles


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ctrl-C, which reaches all processes of a terminal, does nothing here.

    A process that is started inside ignores it for good.
    """
    if not handles():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM came; the state is saved.

    Attributes:
      number: the signal.
    """

    def __init__(self, number: signal.Signals, step: int, folder: Path):
        super().__init__(f"{number.name}: saved step {step} in {folder}")
        self.number = number


class TerminationFlag:
    """Remembers a signal to stop, so that the loop can save and leave between steps.

    Ctrl-C, the second of which ends at once, SIGTERM, and SIGUSR1, as clusters warn of
    the end of a job. Of this process alone: see `processes.StopTogether`. In a thread
    none comes.

    Attributes:
      came: the first signal that came, None so far.
    """

    def __enter__(self):
        self.came: signal.Signals | None = None
        # what is ignored stays so: a job in the background of a script has no Ctrl-C
        self._before = {
            number: signal.signal(number, self._set)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
            if handles() and signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def _set(self, number, _):
        self.came = self.came or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])

    def __exit__(self, *exc):
        for number, before in self._before.items():
            signal.signal(number, before)
