"""Where fits run: over the processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from benchmark.results.processes import in_workers

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

    Raises:
        WorkerKilledError: a worker was killed.
    """
    each = ((item,) for item in items)
    how = {"pre_dispatch": at_once, "return_as": "generator_unordered"}
    return in_workers(work, each, at_once, **how)
