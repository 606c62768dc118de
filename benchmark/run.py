"""Execute a plan: train what the store lacks, calibrate, write the manifest."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import torch

from benchmark import fit as fitting
from benchmark import folds, images, manifest, network, plan, registry
from benchmark.api import Dataset, InputError, Recipe, Samples, SimulatedDataset, require
from benchmark.combine import pool
from benchmark.plan import Cell, Fit, Replicate, Task
from benchmark.presets import Preset, Settings
from benchmark.seeding import derive
from benchmark.store import Record, Store


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


@dataclass(frozen=True, eq=False)
class _Source:
    samples: Samples
    fingerprint: str
    parts: folds.Parts
    size: int | None
    weights_file: Path | None

    def material(
        self, cache: Path, progress: Callable[[int, int], None] | None
    ) -> fitting.Material:
        """Decode the images (once; later calls find them in the cache)."""
        started = time.perf_counter()
        pixels = images.load(self.samples, self.fingerprint, self.size, cache, progress)
        return fitting.Material(
            images=pixels,
            labels=self.samples.labels,
            classes=self.samples.classes,
            ids=self.samples.ids,
            groups=self.samples.groups,
            posterior=self.samples.posterior,
            parts=self.parts,
            weights_file=self.weights_file,
            decode_seconds=time.perf_counter() - started,
        )


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
                size = _size(samples, settings)
                sources[task] = _Source(samples, fingerprint, parts, size, file)
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
        needed = {fit.task for fit in missing}
        material = {
            task: source.material(request.cache, decoding)
            for task, source in work.sources.items()
            if task in needed
        }
        outcome.replaced = manifest.add(
            request.results,
            work.cells,
            request.datasets,
            work.presets,
            work.notes,
            request.command,
        )
        for fit, reason in _train(request, missing, material, progress):
            if reason is None:
                outcome.trained += 1
            else:
                outcome.failed[describe(fit)] = reason
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


def describe(fit: Fit) -> str:
    """A fit in words."""
    recipe = fit.recipe
    default = dataclasses.asdict(Recipe())
    changed = {k: v for k, v in dataclasses.asdict(recipe).items() if default.get(k) != v}
    name = type(recipe).__name__ if type(recipe) is not Recipe else "CrossEntropy"
    inside = ", ".join(f"{k}={v}" for k, v in changed.items())
    where = f"{fit.task.dataset} {fit.task.replicate.fold}, {fit.task.settings.backbone}"
    member = f", member {fit.member}" if fit.member else ""
    seed = f", seed {fit.task.replicate.seed}" if fit.task.replicate.seed else ""
    return f"{name}({inside}) on {where}{seed}{member}"


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


_Cut = tuple[Replicate, Samples, str, folds.Parts]


def _replicates(
    request: Request, dataset: Dataset, preset: Preset, notes: dict[str, list[str]]
) -> Iterator[_Cut]:
    scheme = request.folds or preset.folds
    seeds = range(request.seeds or preset.seeds)

    def cuts() -> Iterator[tuple[str, int, Samples, folds.Split]]:
        if isinstance(dataset, SimulatedDataset):
            for number in range(scheme if isinstance(scheme, int) else 1):
                drawn = dataset.draw(number)
                own = folds.official(drawn, np.random.default_rng(0))
                yield from ((f"draw-{number + 1}", seed, drawn, own) for seed in seeds)
            return
        samples = dataset.samples(request.data_root)
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


def _size(samples: Samples, settings: Settings) -> int | None:
    if isinstance(samples.images, np.ndarray) and not settings.enlarge:
        height, width = samples.images.shape[1:3]
        if height == width and height <= settings.size:
            return None
    return settings.size


def _check_network(settings: Settings, source: _Source) -> None:
    """Build the network and make half a step, so that what cannot work is said before training."""
    pixels = source.samples.images
    shape = (3, settings.size, settings.size)
    if isinstance(pixels, np.ndarray):
        height, width = pixels.shape[1:3] if source.size is None else (source.size, source.size)
        shape = (pixels.shape[3], height, width)
    made = network.build(
        settings.backbone,
        weights=settings.weights,
        weights_file=source.weights_file,
        classes=len(source.samples.classes),
        channels=shape[0],
        size=shape[1],
        recipe=Recipe(),
        seed=0,
    )
    try:
        made(torch.zeros(min(settings.batch, 2), *shape)).sum().backward()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"backbone {settings.backbone} cannot be trained on batches of {settings.batch} images "
            f"of {shape[1]}x{shape[2]} pixels: {str(error).splitlines()[0]}"
        ) from error


# --- doing the work ------------------------------------------------------------------------


def _train(
    request: Request,
    missing: list[Fit],
    material: dict[Task, fitting.Material],
    progress: Callable[[Progress], None],
) -> Iterator[tuple[Fit, str | None]]:
    at_once = jobs(request)
    state = Progress(0, len(missing), [])
    where = device(request)

    def tasks() -> Iterator[object]:
        for fit in missing:
            state.running.append(describe(fit))
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
            state.running.remove(describe(fit))
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
        calibration = pool([record.arrays["calibration_log_probs"] for record in records])
        test = pool([record.arrays["test_log_probs"] for record in records])
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
