"""Several processes that train one model together, as torchrun starts them.

Each runs the same program with the same arguments. The first, called main, alone writes
files and speaks; what depends on the time of a look (is that file there?) is looked up
by main and told to the others.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list


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
