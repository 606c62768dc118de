"""Work for all cores: pure functions of picklable values, each call in some process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import joblib

T = TypeVar("T")


def on_all_cores(function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> list[T]:
    """What a function makes of each of several tasks, in their order.

    The processes stay for the next call; one task alone is done in this process.

    Args:
        function: of a module's top level.
        tasks: its arguments.
    """
    jobs = joblib.cpu_count() if len(tasks) > 1 else 1
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        work = (joblib.delayed(function)(*task) for task in tasks)
        return list(joblib.Parallel(jobs, batch_size=1)(work))
