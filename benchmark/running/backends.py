"""Where fits run: over the processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import joblib

from benchmark.results.processes import workers

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[Result]:
    """Results as they come; items are taken as workers become free.

    Args:
        work: called in worker processes, with one thread each for numerical libraries.
        items: small values.
        at_once: how many workers.
    """
    with workers():
        parallel = joblib.Parallel(
            n_jobs=at_once, pre_dispatch=at_once, batch_size=1, return_as="generator_unordered"
        )
        yield from parallel(joblib.delayed(work)(item) for item in items)
