"""Execute a plan: train what the store lacks, calibrate, write the manifest."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmark.api import InputError
from benchmark.data import images
from benchmark.data.material import Place, WorkItem, lay_out, run_folder
from benchmark.plan.addresses import digest
from benchmark.plan.cells import Fit, Task
from benchmark.results import manifest
from benchmark.results.processes import WorkerKilledError
from benchmark.results.records import FitRecord
from benchmark.running.backends import in_processes
from benchmark.running.calibrate import calibrate
from benchmark.running.prepare import Work
from benchmark.running.request import Request


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        trained: fits made now.
        stored: fits found in the store.
        failed: reason by description of the fit.
        replaced: cells of other settings or data that left the manifest.
        seconds: of wall time.
    """

    trained: int = 0
    stored: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    replaced: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """Where the training stands: fits done, all fits, and those that are running."""

    done: int
    total: int
    running: list[str]


def execute(
    request: Request,
    work: Work,
    progress: Callable[[Progress], None] = lambda _: None,
    decoding: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Train and calibrate what the store lacks, and write the manifest.

    A fit that diverges is marked as failed and the others go on.

    Args:
        request: where and how.
        work: from :func:`benchmark.running.prepare.prepare`.
        progress: called when fits start and end.
        decoding: called with (done, all) images while these are decoded.

    Raises:
        InputError: the disk is full, or a worker was killed; what was finished stays.
    """
    started = time.perf_counter()
    store, names = request.store, work.names()
    outcome = Outcome(stored=len(work.fits) - len(work.missing))
    try:
        store.sweep()
        with _laid_out(request, work, decoding) as places:
            outcome.replaced = manifest.add(
                request.results,
                work.cells,
                request.datasets,
                work.presets,
                work.notes,
                request.command,
            )
            for fit, result in _train(request, work, places, names, progress):
                if isinstance(result, FitRecord):
                    store.write(fit.key, result)
                    outcome.trained += 1
                else:
                    store.fail(fit.key, result)
                    outcome.failed[names[fit.key]] = result
        for cell, reason in calibrate(work.cells, store, request.force):
            outcome.failed[str(cell.origin)] = reason
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            f"no space left on the disk of {request.results}; make room and run the same command "
            "again: finished fits are kept"
        ) from error
    outcome.seconds = time.perf_counter() - started
    return outcome


@dataclass(frozen=True)
class _LaidOut:
    """Where the material of a task lies, and the seconds that decoding it took."""

    place: Place
    decode_seconds: float


@contextmanager
def _laid_out(
    request: Request, work: Work, progress: Callable[[int, int], None] | None
) -> Iterator[dict[Task, _LaidOut]]:
    """The material of the tasks that are to be trained; the same images are decoded once."""
    if not work.missing:
        yield {}
        return
    # As long as it is mapped here, no other run deletes a file of the cache.
    decoded: dict[tuple[str, int | None], tuple[npt.NDArray[np.uint8], float]] = {}
    places = {}
    with run_folder(request.cache) as folder:
        for task in dict.fromkeys(fit.task for fit in work.missing):
            source = work.sources[task]
            cut, same = source.cut, (source.cut.fingerprint, source.size)
            if same not in decoded:
                began = time.perf_counter()
                pixels = images.load(cut.images, *same, request.cache, progress)
                decoded[same] = pixels, time.perf_counter() - began
            pixels, seconds = decoded[same]
            name = digest([task.dataset, task.data, task.fold, task.seed, source.size])
            place = lay_out(folder, name, pixels, cut.images, cut.parts)
            places[task] = _LaidOut(place, seconds)
        yield places


def _train(
    request: Request,
    work: Work,
    places: Mapping[Task, _LaidOut],
    names: Mapping[str, str],
    progress: Callable[[Progress], None],
) -> Iterator[tuple[Fit, FitRecord | str]]:
    """Each fit as it comes, with its record, or why it failed."""
    state = Progress(0, len(work.missing), [])

    def items() -> Iterator[WorkItem]:
        for fit in work.missing:
            state.running.append(names[fit.key])
            progress(state)
            yield WorkItem(
                fit=fit,
                place=places[fit.task].place,
                weights_file=work.sources[fit.task].weights_file,
                device=request.used_device,
                fits_at_once=request.fits_at_once,
                decode_seconds=places[fit.task].decode_seconds,
            )

    at_once = min(request.fits_at_once, max(len(work.missing), 1))
    try:
        for item, result in in_processes(_attempt, items(), at_once):
            state.done += 1
            state.running.remove(names[item.fit.key])
            progress(state)
            yield item.fit, result
    except WorkerKilledError as error:
        fewer = "fewer fits at once" if at_once > 1 else "a smaller batch, size or network"
        raise InputError(
            f"{error} with {fewer} than now ({at_once} at once). It was at work on "
            f"{' or '.join(state.running)}"
        ) from error


def _attempt(item: WorkItem) -> tuple[WorkItem, FitRecord | str]:
    from benchmark.engine.fit import make
    from benchmark.engine.train import DivergedError

    try:
        return item, make(item)
    except DivergedError as error:
        return item, f"training diverged: {error}"
    except Exception as error:  # a plug-in's own, or no memory: the other fits go on
        return item, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
