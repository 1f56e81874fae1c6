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

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def num_processes() -> int:
    """How many train together; torchrun tells."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    return int(os.environ.get("RANK", 0)) == 0


def agreed(value: Any, device: str) -> Any:
    """Main's value, in all processes.

    Args:
        device: what they will compute on, cpu or cuda; decides how they speak.
    """
    if num_processes() == 1:
        return value
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
