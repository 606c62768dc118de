"""Everything but training: read the data, cut them, plan all cells, try the networks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.api import Dataset, Images, InputError
from benchmark.plan import registry
from benchmark.plan.cells import Cell, Fit, Task, distinct_fits, make_cells
from benchmark.plan.presets import SMALL, Preset, Settings
from benchmark.running.reading import Cut, replicates
from benchmark.running.request import Request


@dataclass(frozen=True, eq=False)
class Source:
    """Where the images of a task come from.

    Attributes:
        cut: the images, and which are for what.
        size: side that images are resized to; None where they stay as they are.
        shape: of an image as the network sees it, ``(channels, height, width)``.
        weights_file: local initial weights.
    """

    cut: Cut
    size: int | None
    shape: tuple[int, int, int]
    weights_file: Path | None


@dataclass(frozen=True, eq=False)
class Work:
    """A plan made concrete.

    Attributes:
        cells: methods on tasks.
        sources: of the images of each task.
        presets: that the tasks follow.
        notes: sentences on the splits, and on what networks see, by data set.
        missing: distinct fits that have to be trained.
    """

    cells: list[Cell]
    sources: dict[Task, Source]
    presets: list[Preset]
    notes: dict[str, list[str]]
    missing: list[Fit]

    @cached_property
    def fits(self) -> list[Fit]:
        """Each distinct fit once."""
        return distinct_fits(self.cells)

    def names(self) -> dict[str, str]:
        """Each distinct fit in words, by its key: the first method that needs it, and where."""
        return {f.key: _describe(f, c.method.name) for c in reversed(self.cells) for f in c.fits}


def prepare(request: Request, with_weights: bool = True) -> Work:
    """Plan a run.

    Args:
        request: what was asked for.
        with_weights: whether initial weights are fetched, read and tried. Without them a plan
            needs no network; a file of weights that is not there counts as a new one.

    Raises:
        InputError: data missing or wrong, an unknown backbone, weights that cannot be had.
    """
    presets: dict[str, Preset] = {}
    tasks: dict[str, list[Task]] = {}
    sources: dict[Task, Source] = {}
    notes: dict[str, list[str]] = {}
    read: list[tuple[Dataset, Preset, list[Cut]]] = []
    problems = []
    for dataset in request.datasets:
        preset = registry.select_preset(request.preset or dataset.preset)
        presets[preset.name] = preset
        try:
            read.append((dataset, preset, replicates(request, dataset, preset)))
        except InputError as error:  # say all that is missing at once
            problems.append(str(error))
    if problems:
        raise InputError(" | ".join(problems))
    for dataset, preset, own in read:
        notes[dataset.name] = list(dict.fromkeys(note for cut in own for note in cut.notes))
        for settings, file in _settings(request, preset, with_weights):
            for cut in own:
                task = Task(
                    preset=preset.name,
                    dataset=dataset.name,
                    data=cut.fingerprint,
                    settings=settings,
                    fold=cut.fold,
                    seed=cut.seed,
                    seed_name=dataset.seed_name or cut.fingerprint,
                )
                sources[task] = Source(cut, *_shape(cut.images, settings), file)
                tasks.setdefault(preset.name, []).append(task)
    cells = [
        cell
        for name, preset in presets.items()
        for cell in make_cells(
            registry.select_methods(request.methods, preset.parameters),
            registry.calibrators(),
            tasks[name],
        )
    ]
    missing = [f for f in distinct_fits(cells) if request.force or not request.store.holds(f)]
    to_try = {fit.task: sources[fit.task] for fit in missing}
    for name, note in _try_networks(to_try, with_weights):
        notes[name].append(note)
    return Work(cells, sources, list(presets.values()), notes, missing)


def _settings(
    request: Request, preset: Preset, with_weights: bool
) -> Iterator[tuple[Settings, Path | None]]:
    """The settings of each backbone: with the weights, and the precision, that are meant."""
    for backbone in request.backbones or [preset.settings.backbone]:
        weights = preset.settings.weights if request.weights is None else request.weights
        if backbone == SMALL:
            weights = "none" if request.weights is None else weights
        else:
            from benchmark.engine import network

            network.check_backbone(backbone)
        file = None
        if weights == "imagenet" and backbone != SMALL:
            weights = f"imagenet:{network.pretrained_tag(backbone)}"
        elif weights not in ("none", "imagenet"):
            file = Path(weights).absolute()
            if file.is_file():
                with file.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
                weights = f"sha256:{digest[:32]}"
            elif with_weights:
                raise InputError(
                    f"weights {weights}: there is no such file; use imagenet, none or a file"
                )
        precision = preset.settings.precision if request.used_device == "cuda" else "float32"
        changes = {"backbone": backbone, "weights": weights, "precision": precision}
        yield dataclasses.replace(preset.settings, **changes), file  # type: ignore[arg-type]


def _shape(images: Images, settings: Settings) -> tuple[int | None, tuple[int, int, int]]:
    """The side that images are resized to, if they are, and the shape that results."""
    side, pixels = settings.size, images.inputs
    if not isinstance(pixels, np.ndarray):
        return side, (3, side, side)
    height, width, channels = pixels.shape[1:]
    if not settings.enlarge and height == width <= side:
        return None, (channels, height, width)
    return side, (channels, side, side)


def _try_networks(sources: dict[Task, Source], with_weights: bool) -> Iterator[tuple[str, str]]:
    """Try each network that is to be trained once for each data set: notes, by data set."""
    tried = set()
    for task, source in sources.items():
        what = task.settings, task.dataset
        if what not in tried:
            from benchmark.engine.trial import check_network

            settings, file = task.settings, source.weights_file
            if not with_weights:
                settings, file = dataclasses.replace(settings, weights="none"), None
            classes = len(source.cut.images.classes)
            note = check_network(settings, source.shape, classes, file)
            tried.add(what)
            if note:
                yield task.dataset, note


def _describe(fit: Fit, method: str) -> str:
    where = f"{fit.task.dataset} {fit.task.fold}, {fit.task.settings.backbone}"
    member = f", member {fit.member + 1}" if fit.member else ""
    seed = f", seed {fit.task.seed}" if fit.task.seed else ""
    return f"{method} on {where}{seed}{member}"
