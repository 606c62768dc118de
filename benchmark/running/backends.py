"""Where fits run: over the processes of this machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import joblib

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
    with (
        warnings.catch_warnings(),
        joblib.parallel_config(backend="loky", inner_max_num_threads=1),
    ):
        # A worker whose memory grew is replaced; where warnings are errors, loky's own thread
        # would die of this one, and everybody would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        parallel = joblib.Parallel(
            n_jobs=at_once, pre_dispatch=at_once, batch_size=1, return_as="generator_unordered"
        )
        yield from parallel(joblib.delayed(work)(item) for item in items)
