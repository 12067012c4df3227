"""Ctrl-C and SIGTERM end a command with a sentence, not with a traceback."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""

    number = signal.SIGTERM


@contextlib.contextmanager
def interrupts_told(then: str = "") -> Iterator[None]:
    """A KeyboardInterrupt inside becomes a line on stderr and `SystemExit`.

    So does SIGTERM, unless somebody handles it already. The exit code is 128 + the
    signal, as a shell gives it: 130 or 143. An interrupt may bring its signal as
    `number`, and a sentence of its own as its text.

    Args:
      then: what the line ends with, where the interrupt has no text.
    """
    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        came = signal.Signals(getattr(stop, "number", signal.SIGINT))
        told = str(stop) or f"stopped ({came.name}){then}"
        print(f"hsjax: {told}", file=sys.stderr)
        raise SystemExit(128 + came) from None
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_) -> None:
    raise Terminated
