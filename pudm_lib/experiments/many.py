"""Several experiments, side by side: one process each, under one progress bar.

Measured on two cores: two one-thread processes do half as many steps a second again as
one process with two threads.
"""

import logging
import multiprocessing
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import torch
from tqdm.auto import tqdm

from pudm_lib.data.splits import make_split
from pudm_lib.experiments.keys import result_key
from pudm_lib.experiments.one import Result, is_done, run
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.devices import available_cores, resolve_device
from pudm_lib.machine.paths import headless
from pudm_lib.machine.processes import num_processes
from pudm_lib.machine.stopping import asked_to_stop, leave, start_worker
from pudm_lib.measures.judge import load_judge

# So many steps of a small network take about as long as a process to start.
FEW_STEPS = 200


def run_many(
    experiments: Sequence[Experiment], *, workers: int | None = None
) -> list[Result]:
    """`run` for each, independent trainings side by side, one process each.

    On a GPU one process at a time uses it fully, and for a few steps none is started.

    Args:
        workers: processes; default: cores / threads of the experiments, 1 on a GPU or
            for `FEW_STEPS` altogether. Not used under torchrun, whose processes all
            train the same model.

    Raises:
        What `run` raises, for the first experiment that fails; those that finished
        before it are kept.
    """
    if num_processes() > 1:
        return [run(e) for e in experiments]
    # The same experiment asked for twice is made once.
    missing = list({result_key(e): e for e in experiments if not is_done(e)}.values())
    if missing:
        for e in missing:  # refuse bad data before any process starts
            make_split(e.data, e.seed)
        training = missing[0].training
        device = resolve_device(training.device)
        total = sum(e.training.steps for e in missing)
        if workers is None:
            alone = device == "cuda" or total <= FEW_STEPS
            workers = 1 if alone else max(1, available_cores() // training.threads)
        # The judge is shared: made here, before the processes would wait for it.
        for data in {e.data for e in missing}:
            load_judge(data, device=device)
        if min(workers, len(missing)) != 1:
            side_by_side(run, missing, workers=workers, total=total)
    return [run(e) for e in experiments]


def side_by_side(
    function: Callable[..., Any],
    items: Sequence[Any],
    *,
    workers: int,
    total: int,
    what: str = "models",
) -> None:
    """function(item, report=...) for each item; report takes the steps done so far and
    what the bar should say of them.

    Args:
        function: of a module's top level, so that a new process finds it.
        workers: processes at a time, >= 1.
        total: steps of all items, for the bar.
        what: the items, in the bar's words.

    Raises:
        What `function` raises, for the first item that fails; what others have done by
        then is kept, what waits is not begun.
        RuntimeError: a worker was killed.
    """
    # Not fork: a copy of a process with torch's threads in it can hang.
    context = multiprocessing.get_context("spawn")
    steps = context.Queue()
    workers = min(workers, len(items))
    level = logging.getLogger("pudm_lib").getEffectiveLevel()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (steps, level))
    done = [0] * len(items)
    bar = tqdm(total=total, desc=f"{len(items)} {what}", disable=headless())
    with bar, asked_to_stop() as stopping:
        try:
            futures = [pool.submit(_work, function, i, x) for i, x in enumerate(items)]
            while not all(future.done() for future in futures):
                if stop := stopping():
                    _end(pool)
                    leave(stop)
                with suppress(queue.Empty):
                    index, step, losses = steps.get(timeout=0.5)
                    bar.update(step - done[index])
                    bar.set_postfix_str(losses, refresh=False)
                    done[index] = step
                for future in futures:
                    if future.done():
                        future.result()  # raises what the process raised
        except BaseException as error:
            _end(pool)
            if isinstance(error, BrokenProcessPool):
                raise RuntimeError(
                    f"a process that makes {what} was killed, by hand or because "
                    "memory ran out; the same command goes on from what is kept"
                ) from error
            raise
        pool.shutdown()


def _end(pool: ProcessPoolExecutor) -> None:
    """Each process after the step at hand, which it keeps. Nobody waits for the models
    that are under way: they go on from there when they are asked for again."""
    running = list((pool._processes or {}).values())  # 3.14 has terminate_workers
    pool.shutdown(wait=False, cancel_futures=True)
    for process in running:
        process.terminate()
    for process in running:
        process.join()


_steps = None  # the queue to the parent, set in each worker when it starts


def _start_worker(steps, log_level: int) -> None:
    global _steps
    _steps = steps
    start_worker(log_level)
    # The lock that tqdm makes by itself is the system's, and left behind by a kill.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)


def _work(function: Callable[..., Any], index: int, item: Any) -> None:
    function(item, report=lambda *shown: _steps.put((index, *shown)))


def frame(results: Sequence[Result]):
    """A pandas table of results, one row each: the settings that a comparison is about
    (method, beta, seed), then every number of `measures.measure`."""
    import pandas  # half a second, for those who look at tables

    rows = []
    for result in results:
        e = result.experiment
        about = {"method": e.training.method, "beta": e.training.beta, "seed": e.seed}
        rows.append(about | result.numbers)
    return pandas.DataFrame(rows)
