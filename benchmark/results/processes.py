"""Work for all cores: pure functions of picklable values, each call in some process."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import joblib
from joblib.externals.loky.backend import resource_tracker as loky_tracker
from threadpoolctl import threadpool_limits

from benchmark.api import InputError

T = TypeVar("T")


class WorkerKilledError(InputError):
    """A worker process was killed from outside."""


def in_workers(
    function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], jobs: int, **options: Any
) -> Iterator[T]:
    """What a function makes of each of several tasks, in processes with one thread each.

    Args:
        function: of a module's top level.
        tasks: its arguments.
        jobs: how many processes; one means this process.
        options: of :class:`joblib.Parallel`.

    Raises:
        WorkerKilledError: a worker was killed, as happens where memory runs out.
    """
    with (
        warnings.catch_warnings(),
        joblib.parallel_config(backend="loky", inner_max_num_threads=1),
    ):
        # A worker whose memory grew is replaced; where warnings are errors, loky's own thread
        # would die of this one, and everybody would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        parallel = joblib.Parallel(jobs, batch_size=1, **options)
        with _deaf(jobs):
            results = parallel(joblib.delayed(function)(*task) for task in tasks)
        try:
            yield from results
        except BrokenProcessPool as error:
            raise WorkerKilledError(
                "a worker process was killed, probably because memory ran out; what is finished is "
                "kept: run the same again"
            ) from error


@contextmanager
def _deaf(jobs: int) -> Iterator[None]:
    """Processes begun here never hear of Ctrl-C, which a terminal sends to all: this one ends them.

    Neither do those of threads begun here, which replace workers.
    """
    if jobs != 1:
        _start_trackers()  # later, this would end the deafness
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_trackers() -> None:
    """Start the processes that clean up after killed ones, so that they do it without a word."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before + ',' if before else ''}ignore:resource_tracker"
    try:
        for tracker in (multiprocessing.resource_tracker, loky_tracker):
            tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def on_all_cores(function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> list[T]:
    """What a function makes of each of several tasks, in their order.

    The processes stay for the next call; one task alone is done in this process.

    Args:
        function: of a module's top level.
        tasks: its arguments.

    Raises:
        WorkerKilledError: a worker was killed.
    """
    jobs = joblib.cpu_count() if len(tasks) > 1 else 1
    # One thread each, here as there: sums of several threads differ in their last digits.
    with threadpool_limits(1):
        return list(in_workers(function, tasks, jobs, return_as="generator"))
