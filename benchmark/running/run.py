"""Execute a plan: train what the store lacks, calibrate, write the manifest."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import torch

from benchmark.api import Dataset, Images, InputError, Recipe, SimulatedDataset, require
from benchmark.data import images
from benchmark.engine import fit as fitting
from benchmark.engine import network
from benchmark.plan import cells as plan
from benchmark.plan import folds, registry
from benchmark.plan.cells import Cell, Fit, Replicate, Task
from benchmark.plan.presets import Preset, Settings
from benchmark.plan.seeding import derive
from benchmark.results import manifest
from benchmark.results.combine import mean_over_members
from benchmark.results.store import Record, Store


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for on the command line, checked and turned into values.

    Attributes:
        methods: to compare, as typed.
        datasets: to compare them on.
        backbones: names, or empty for the preset's own.
        preset: as typed, or None for each data set's own.
        folds: number of folds, ``official``, or None for the preset's.
        seeds: number of seeds, or None for the preset's.
        weights: ``imagenet``, ``none``, a file, or None for the preset's.
        device: ``auto``, ``cpu`` or ``cuda``.
        jobs: fits at once, or None: one per core on a CPU, one on a GPU.
        results: folder of the store and the tables.
        data_root: folder of the data sets.
        cache: folder of decoded images.
        force: train again what is stored.
        command: the command line, for the record.
    """

    methods: str
    datasets: Sequence[Dataset]
    backbones: Sequence[str] = ()
    preset: str | None = None
    folds: int | str | None = None
    seeds: int | None = None
    weights: str | None = None
    device: str = "auto"
    jobs: int | None = None
    results: Path = Path("results/local")
    data_root: Path = Path("data")
    cache: Path = Path("data/cache")
    force: bool = False
    command: str = ""

    @property
    def store(self) -> Store:
        """Where records go."""
        return Store(self.results / "store")


@dataclass(frozen=True, eq=False)
class Work:
    """A plan made concrete: cells with the material that their fits are made from."""

    cells: list[Cell]
    sources: dict[Task, _Source]
    presets: list[Preset]
    notes: dict[str, list[str]]

    @property
    def fits(self) -> list[Fit]:
        """Each distinct fit once."""
        return plan.distinct_fits(self.cells)

    def names(self) -> dict[str, str]:
        """Each distinct fit in words, by its key: the first method that needs it, and where."""
        return {f.key: _describe(f, c.method.name) for c in reversed(self.cells) for f in c.fits}

    def material(
        self,
        tasks: Collection[Task],
        cache: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[Task, fitting.Material]:
        """What the fits of these tasks are made from; the same images are decoded once.

        Args:
            tasks: of this plan.
            cache: folder of decoded images.
            progress: called with (done, all) images while they are decoded.
        """
        decoded: dict[tuple[str, int | None], tuple[npt.NDArray[np.uint8], float]] = {}
        made = {}
        for task, source in self.sources.items():
            if task not in tasks:
                continue
            same = source.fingerprint, source.size
            if same not in decoded:
                started = time.perf_counter()
                pixels = images.load(source.samples, *same, cache, progress)
                decoded[same] = pixels, time.perf_counter() - started
            pixels, seconds = decoded[same]
            made[task] = fitting.Material(
                images=pixels,
                labels=source.samples.labels,
                classes=source.samples.classes,
                ids=source.samples.ids,
                groups=source.samples.groups,
                posterior=source.samples.posterior,
                parts=source.parts,
                weights_file=source.weights_file,
                decode_seconds=seconds,
            )
        return made


@dataclass(frozen=True, eq=False)
class _Source:
    """Where the images of a task come from.

    Attributes:
        samples: of all parts.
        fingerprint: of the data.
        parts: which images are for what.
        size: side that images are resized to; None where they stay as they are.
        shape: of an image as the network sees it, ``(channels, height, width)``.
        weights_file: local initial weights.
    """

    samples: Images
    fingerprint: str
    parts: folds.Parts
    size: int | None
    shape: tuple[int, int, int]
    weights_file: Path | None


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


def prepare(request: Request) -> Work:
    """Read the data sets, cut them into parts and plan all cells: everything but training.

    Raises:
        InputError: data missing or wrong, an unknown backbone, weights that cannot be had.
    """
    tasks: dict[str, list[Task]] = {}
    sources: dict[Task, _Source] = {}
    presets: dict[str, Preset] = {}
    notes: dict[str, list[str]] = {}
    cut: list[tuple[Dataset, Preset, list[_Cut]]] = []
    problems = []
    for dataset in request.datasets:
        preset = registry.select_preset(request.preset or dataset.preset)
        presets[preset.name] = preset
        try:
            cut.append((dataset, preset, list(_replicates(request, dataset, preset, notes))))
        except InputError as error:  # say all that is missing at once
            problems.append(str(error))
    require(not problems, " | ".join(problems))
    for dataset, preset, cuts in cut:
        for settings, file in _settings(request, preset):
            for replicate, samples, fingerprint, parts in cuts:
                task = Task(
                    preset=preset.name,
                    dataset=dataset.name,
                    data=fingerprint,
                    settings=settings,
                    replicate=replicate,
                )
                size, shape = _shape(samples, settings)
                sources[task] = _Source(samples, fingerprint, parts, size, shape, file)
                tasks.setdefault(preset.name, []).append(task)
            _check_network(settings, sources[task])
    cells = [
        cell
        for name, preset in presets.items()
        for cell in plan.make(
            registry.select_methods(request.methods, preset.parameters),
            registry.calibrators(),
            tasks[name],
        )
    ]
    return Work(cells, sources, list(presets.values()), notes)


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
        work: from :func:`prepare`.
        progress: called when fits start and end.
        decoding: called with (done, all) images while these are decoded.

    Raises:
        InputError: the disk is full; what was finished stays.
    """
    started = time.perf_counter()
    store, outcome = request.store, Outcome()
    try:
        store.sweep()
        fits = work.fits
        missing = [fit for fit in fits if request.force or not store.holds(fit.key)]
        outcome.stored = len(fits) - len(missing)
        material = work.material({fit.task for fit in missing}, request.cache, decoding)
        outcome.replaced = manifest.add(
            request.results,
            work.cells,
            request.datasets,
            work.presets,
            work.notes,
            request.command,
        )
        names = work.names()
        for fit, reason in _train(request, missing, material, names, progress):
            if reason is None:
                outcome.trained += 1
            else:
                outcome.failed[names[fit.key]] = reason
        _calibrate(work.cells, store, request.force)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            f"no space left on the disk of {request.results}; make room and run the same command "
            "again: finished fits are kept"
        ) from error
    outcome.seconds = time.perf_counter() - started
    return outcome


@dataclass
class Progress:
    """Where the training stands: fits done, all fits, and those that are running."""

    done: int
    total: int
    running: list[str]


def _describe(fit: Fit, method: str) -> str:
    where = f"{fit.task.dataset} {fit.task.replicate.fold}, {fit.task.settings.backbone}"
    member = f", member {fit.member + 1}" if fit.member else ""
    seed = f", seed {fit.task.replicate.seed}" if fit.task.replicate.seed else ""
    return f"{method} on {where}{seed}{member}"


def device(request: Request) -> str:
    """The device to use.

    Raises:
        InputError: cuda was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if request.device == "auto":
        return "cuda" if available else "cpu"
    require(
        request.device != "cuda" or available,
        "--device cuda: torch sees no GPU on this machine; use --device cpu",
    )
    return request.device


def jobs(request: Request) -> int:
    """How many fits run at once."""
    if request.jobs is not None:
        return request.jobs
    return joblib.cpu_count() if device(request) == "cpu" else 1


# --- reading and cutting the data ----------------------------------------------------------


def _settings(request: Request, preset: Preset) -> Iterator[tuple[Settings, Path | None]]:
    for backbone in request.backbones or [preset.settings.backbone]:
        network.check_backbone(backbone)
        weights = preset.settings.weights if request.weights is None else request.weights
        if backbone == network.SMALL and request.weights is None:
            weights = "none"
        file = None
        if weights == "imagenet":
            weights = f"imagenet:{network.pretrained_tag(backbone)}"
        elif weights != "none":
            file = Path(weights).absolute()
            require(
                file.is_file(),
                f"--weights {weights}: there is no such file; use imagenet, none or a file",
            )
            weights = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()[:32]}"
        precision = preset.settings.precision if device(request) == "cuda" else "float32"
        yield (
            dataclasses.replace(
                preset.settings, backbone=backbone, weights=weights, precision=precision
            ),
            file,
        )


_Cut = tuple[Replicate, Images, str, folds.Parts]


def _replicates(
    request: Request, dataset: Dataset, preset: Preset, notes: dict[str, list[str]]
) -> Iterator[_Cut]:
    scheme = request.folds or preset.folds
    seeds = range(request.seeds or preset.seeds)

    def cuts() -> Iterator[tuple[str, int, Images, folds.Split]]:
        if isinstance(dataset, SimulatedDataset):
            for number in range(scheme if isinstance(scheme, int) else 1):
                drawn = dataset.draw(number)
                own = folds.official(drawn, np.random.default_rng(0))
                yield from ((f"draw-{number + 1}", seed, drawn, own) for seed in seeds)
            return
        samples = dataset.read(request.data_root)
        for seed in seeds:
            if isinstance(scheme, int):
                generator = np.random.default_rng(derive(dataset.name, scheme, seed))
                split = folds.split(samples, scheme, generator)
                for number, cut in enumerate(split.folds, 1):
                    yield f"{number}/{scheme}", seed, samples, folds.Split((cut,), split.notes)
            else:
                generator = np.random.default_rng(derive(dataset.name, "official"))
                yield "official", seed, samples, folds.official(samples, generator)

    fingerprints: dict[int, str] = {}
    try:
        for fold, seed, samples, split in cuts():
            if id(samples) not in fingerprints:
                fingerprints[id(samples)] = images.fingerprint(samples, request.cache)
            listed = notes.setdefault(dataset.name, [])
            listed += [note for note in split.notes if note not in listed]
            replicate = Replicate(fold=fold, seed=seed)
            yield replicate, samples, fingerprints[id(samples)], split.folds[0]
    except InputError as error:
        raise InputError(f"data set {dataset.name}: {error}") from error
    except (ValueError, LookupError, OSError, zlib.error) as error:
        raise InputError(
            f"data set {dataset.name} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _shape(samples: Images, settings: Settings) -> tuple[int | None, tuple[int, int, int]]:
    """The side that images are resized to, if they are, and the shape that results."""
    side, pixels = settings.size, samples.inputs
    if not isinstance(pixels, np.ndarray):
        return side, (3, side, side)
    height, width, channels = pixels.shape[1:]
    if not settings.enlarge and height == width <= side:
        return None, (channels, height, width)
    return side, (channels, side, side)


def _check_network(settings: Settings, source: _Source) -> None:
    """Build the network and make half a step, so that what cannot work is said before training."""
    channels, height, width = source.shape
    made = network.build(
        settings.backbone,
        weights=settings.weights,
        weights_file=source.weights_file,
        classes=len(source.samples.classes),
        channels=channels,
        size=height,
        recipe=Recipe(),
        seed=0,
    )
    try:
        made(torch.zeros(min(settings.batch, 2), *source.shape)).sum().backward()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"backbone {settings.backbone} cannot be trained on batches of {settings.batch} images "
            f"of {height}x{width} pixels: {str(error).splitlines()[0]}"
        ) from error


# --- doing the work ------------------------------------------------------------------------


def _train(
    request: Request,
    missing: list[Fit],
    material: dict[Task, fitting.Material],
    names: dict[str, str],
    progress: Callable[[Progress], None],
) -> Iterator[tuple[Fit, str | None]]:
    at_once = jobs(request)
    state = Progress(0, len(missing), [])
    where = device(request)

    def tasks() -> Iterator[object]:
        for fit in missing:
            state.running.append(names[fit.key])
            progress(state)
            yield joblib.delayed(_one)(fit, material[fit.task], request.store, where, at_once)

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(
            n_jobs=min(at_once, max(len(missing), 1)),
            pre_dispatch=at_once,
            batch_size=1,
            return_as="generator_unordered",
        )
        for fit, reason in parallel(tasks()):
            state.done += 1
            state.running.remove(names[fit.key])
            progress(state)
            yield fit, reason


def _one(
    fit: Fit, material: fitting.Material, store: Store, where: str, at_once: int
) -> tuple[Fit, str | None]:
    return fit, fitting.make(fit, material, store, where, at_once)


def _calibrate(cells: Sequence[Cell], store: Store, force: bool) -> None:
    """Fit each cell's calibrator on the calibration part, and store what it predicts.

    The labels of the test part are not used.
    """
    for cell in cells:
        key = cell.calibration
        keys = [fit.key for fit in cell.fits]
        if key is None or cell.calibrator is None or not all(store.holds(k) for k in keys):
            continue
        records = [store.read(k) for k in keys]
        calibration = mean_over_members([r.arrays["calibration_log_probs"] for r in records])
        test = mean_over_members([r.arrays["test_log_probs"] for r in records])
        # The same fit made anew, on other hardware say, may differ in its last digits.
        source = hashlib.sha256(calibration.tobytes() + test.tobytes()).hexdigest()
        if not force and store.holds(key) and store.read(key).info["source"] == source:
            continue
        labels = records[0].arrays["calibration_labels"]
        started = time.perf_counter()
        apply = cell.calibrator.fit(calibration, labels)
        seconds = time.perf_counter() - started
        info = {
            "calibrator": cell.calibrator.name,
            "fits": keys,
            "source": source,
            "calibration_errors": int((calibration.argmax(1) != labels).sum()),
            "costs": {"calibrate_seconds": seconds},
        }
        store.write(key, Record({"test_log_probs": apply(test).astype(np.float32)}, info))
