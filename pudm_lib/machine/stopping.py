"""How a process is stopped: Ctrl-C (SIGINT), kill and clusters (SIGTERM), a terminal
that closes (SIGHUP), and a parent that is gone.

It keeps what it has, leaves no process behind and says one line. Light: the command
line takes it in before anything that is slow.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
AGAIN = "the same command goes on from there"

# Seconds in which what was told to stop by a signal has to be gone, and what goes on to
# the end of its step because its parent is gone.
GRACE, STEP_GRACE = 4, 20


_in_program = False


class Stopped(SystemExit):
    """By a signal that asks a program to end; code is 128 and the signal's number."""

    def __init__(self, number: int, words: str = ""):
        super().__init__(128 + number)
        self.words = f"stopped by {signal.Signals(number).name} {words}".rstrip()


@contextmanager
def _handled(handler: Callable) -> Iterator[None]:
    """`handler` for all of `SIGNALS`, but for those that are ignored (nohup). Only a
    program's main thread is told of signals: in another one nothing is done."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {s: signal.getsignal(s) for s in SIGNALS}
    before = {s: old for s, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """Inside, no signal ends the process; the function yielded gives the one that came,
    0 before that. One that nobody answered with `leave` takes effect afterwards."""
    came: list[int] = []
    try:
        with _handled(lambda number, _: came.append(number)):
            try:
                yield lambda: came[0] if came else 0
            except KeyboardInterrupt:
                came.clear()  # this is the answer
                raise
    finally:
        if came:
            signal.raise_signal(came[0])


def leave(number: int, words: str = "") -> None:
    """End as the signal asks: an interrupt ends the work, the others the process.

    Args:
        words: what is kept.

    Raises:
        KeyboardInterrupt: for SIGINT.
        Stopped: for the others, in a `program`.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt(words)
    reason = Stopped(number, words)
    if _in_program:
        raise reason
    if multiprocessing.parent_process() is None:  # else the parent says it
        log.warning("%s; %s", reason.words, AGAIN)
    os._exit(reason.code)  # a notebook would catch an exception, and work go on


def end_after(gone: Callable[[], bool]) -> None:
    """End this process by SIGTERM when `gone`, which waits in a thread, gives True."""

    def watch() -> None:
        if gone():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(STEP_GRACE)
            os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(log_level: int) -> None:
    """In a new worker: it ends when its parent is gone, is stopped by its parent and
    not by the terminal's Ctrl-C, and says what the parent would."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_after(lambda: multiprocessing.parent_process().join() is None)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pudm_lib").setLevel(log_level)


@contextmanager
def program() -> Iterator[None]:
    """For a command line: a signal raises KeyboardInterrupt or `Stopped` inside.

    Under make it also ends when make does. make tells those it started only of SIGTERM;
    but for any signal it deletes what it was making, the file named by PUDM_WHILE.
    """

    global _in_program

    def end(number: int, _) -> None:
        for other in SIGNALS:  # what is being ended is not cut off by the next one
            signal.signal(other, signal.SIG_IGN)
        # Where an exception is lost (in a destructor), the alarm still ends it.
        if hasattr(signal, "alarm"):
            signal.alarm(GRACE)
        came.append(KeyboardInterrupt() if number == signal.SIGINT else Stopped(number))
        raise came[0]

    came: list[BaseException] = []
    file, done = os.environ.pop("PUDM_WHILE", ""), threading.Event()
    path, parent = Path(file).absolute(), os.getppid()

    def make_is_gone() -> bool:
        while not done.wait(0.3) and path.exists() and os.getppid() == parent:
            pass
        return not done.is_set()

    if file:
        end_after(make_is_gone)
    _in_program = True
    try:
        with _handled(end):
            yield
    except BaseException:
        if came:  # a library that is being loaded turns it into an error of its own
            raise came[0] from None
        raise
    finally:
        _in_program = False
        done.set()
        if file:
            path.unlink(missing_ok=True)


def say(reason: KeyboardInterrupt | Stopped) -> int:
    """One line on stderr; the exit code."""
    words, code = f"interrupted {reason}".rstrip(), 128 + signal.SIGINT
    if isinstance(reason, Stopped):
        words, code = reason.words, reason.code
    with suppress(OSError):  # the terminal may be gone
        print(f"{words}; {AGAIN}", file=sys.stderr, flush=True)
    return code
