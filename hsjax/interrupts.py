"""Ctrl-C and SIGTERM end a command with a sentence, not with a traceback."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

ENDING = (signal.SIGTERM, signal.SIGUSR1)


class Terminated(KeyboardInterrupt):
    """One of `ENDING` came, as `number`."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def handles() -> bool:
    """May this thread set handlers of signals? Only a process's main thread may."""
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def interrupts_told(then: str = "") -> Iterator[None]:
    """A KeyboardInterrupt inside becomes a line on stderr and `SystemExit`.

    So do SIGTERM and SIGUSR1, by which clusters warn of the end of a job, unless
    somebody handles them already. The exit code is 128 + the signal, as a shell gives
    it: 130, 143 or 138. An interrupt may bring its signal as `number`, and a sentence
    of its own as its text.

    Args:
      then: what the line ends with, where the interrupt has no text.
    """
    ours = [n for n in ENDING if handles() and signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        came = signal.Signals(getattr(stop, "number", signal.SIGINT))
        told = str(stop) or f"stopped ({came.name}){then}"
        print(f"hsjax: {told}", file=sys.stderr)
        raise SystemExit(128 + came) from None
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, _) -> None:
    raise Terminated(number)
