"""Work for all cores: pure functions of picklable values, each call in some process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import joblib
from threadpoolctl import threadpool_limits

T = TypeVar("T")


@contextmanager
def workers() -> Iterator[None]:
    """Joblib's work is done in processes of this machine, with one thread each."""
    with (
        warnings.catch_warnings(),
        joblib.parallel_config(backend="loky", inner_max_num_threads=1),
    ):
        # A worker whose memory grew is replaced; where warnings are errors, loky's own thread
        # would die of this one, and everybody would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield


def on_all_cores(function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> list[T]:
    """What a function makes of each of several tasks, in their order.

    The processes stay for the next call; one task alone is done in this process.

    Args:
        function: of a module's top level.
        tasks: its arguments.
    """
    jobs = joblib.cpu_count() if len(tasks) > 1 else 1
    # One thread each, here as there: sums of several threads differ in their last digits.
    with threadpool_limits(1), workers():
        work = (joblib.delayed(function)(*task) for task in tasks)
        return list(joblib.Parallel(jobs, batch_size=1)(work))
