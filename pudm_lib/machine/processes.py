"""Several processes that train one model together, as torchrun starts them.

Each runs the same program with the same arguments. The first, called main, alone writes
files and speaks; what depends on the time of a look (is that file there?) is looked up
by main and told to the others.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def num_processes() -> int:
    """How many train together; torchrun tells."""
    return _told_by_torchrun()["WORLD_SIZE"]


def is_main() -> bool:
    return _told_by_torchrun()["RANK"] == 0


def _told_by_torchrun() -> dict[str, int]:
    """Raises ValueError for some of its variables without the others, or for numbers
    that do not fit: such a process would wait for a first one that is not there."""
    alone = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}
    said = {name: os.environ[name] for name in alone if name in os.environ}
    if not said:
        return alone
    numbers = {name: int(text) for name, text in said.items() if text.isdecimal()}
    if numbers.keys() != alone.keys() or numbers["RANK"] >= numbers["WORLD_SIZE"]:
        words = ", ".join(f"{name}={text!r}" for name, text in said.items())
        raise ValueError(
            f"{words}, must be RANK below WORLD_SIZE with LOCAL_RANK, as torchrun sets "
            "them, or none of the three: unset them, or start with torchrun"
        )
    return numbers


def agreed(value: Any, device: str) -> Any:
    """Main's value, in all processes.

    Args:
        device: what they will compute on, cpu or cuda; decides how they speak.
    """
    if num_processes() == 1:
        return value
    # Loads torch, which much of the command line does not need.
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=device == "cpu")
    return broadcast_object_list([value])[0]


def wait_for(path: Path) -> None:
    """Until a file that main makes is there. If main fails, torchrun ends the others.

    Asking now and then, because a wait for a message would end in a timeout: what main
    does alone, such as sampling, can take long.
    """
    while not path.exists():
        time.sleep(0.2)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; a second process waits for it, and says so.

    Args:
        what: that only one process may make at a time, in words.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("waiting for another process that makes %s", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
