"""SIGTERM, by which clusters and `kill` ask a program to end: finish the step at hand,
keep it, and leave."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODE = 128 + signal.SIGTERM


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Inside, SIGTERM does not end the process; the function yielded says if it came.

    Only a program's main thread is told of signals; in another one the answer is False
    and SIGTERM ends the process as ever.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
