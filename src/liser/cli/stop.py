"""How a command is stopped: by Ctrl-C, by SIGTERM (as schedulers do), or by SIGHUP.

All three end it alike: running work is unwound, workers end, a message says so, and the exit status
is 128 plus the signal's number.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal has stopped the command; it is handled as Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stopped_by(error: KeyboardInterrupt) -> tuple[str, int]:
    """Return the name of what stopped a command, and the exit status.

    >>> stopped_by(KeyboardInterrupt()), stopped_by(Stopped(15))
    (('Ctrl-C', 130), ('SIGTERM', 143))
    """
    if not isinstance(error, Stopped):
        return "Ctrl-C", 128 + signal.SIGINT
    return signal.Signals(error.number).name, 128 + error.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` on a signal; one that is ignored, as under ``nohup``, stays ignored."""
    if threading.current_thread() is not threading.main_thread():  # only it handles signals
        yield
        return
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def stop(number: int, _: FrameType | None) -> None:
        for other in ours:  # a second SIGTERM kills at once, a second SIGHUP is ignored
            signal.signal(other, signal.SIG_DFL if other == signal.SIGTERM else signal.SIG_IGN)
        for fd in terminals:
            if not os.isatty(fd):  # the terminal is gone: writing to it would fail
                os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        raise Stopped(number)

    ours = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    before: dict[Any, Any] = {one: signal.signal(one, stop) for one in ours}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
