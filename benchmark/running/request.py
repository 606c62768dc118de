"""What was asked for, checked and turned into values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import joblib

from benchmark.api import Dataset, InputError
from benchmark.results.load import STORE
from benchmark.results.store import Store


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run.

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
        command: how it was asked for, for the record.
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
        return Store(self.results / STORE)

    @cached_property
    def used_device(self) -> str:
        """``cpu`` or ``cuda``.

        Raises:
            InputError: cuda was asked for and there is none.
        """
        if self.device == "cpu":
            return "cpu"
        available = _gpu_is_there()
        if self.device == "cuda" and not available:
            raise InputError(
                "device cuda: torch sees no GPU on this machine; choose the device cpu"
            )
        return "cuda" if available else "cpu"

    @property
    def fits_at_once(self) -> int:
        """How many fits run at once."""
        if self.jobs is not None:
            return self.jobs
        return joblib.cpu_count() if self.used_device == "cpu" else 1


def _gpu_is_there() -> bool:
    """Whether torch can use a GPU; torch is not loaded where the driver knows of none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    import torch

    return torch.cuda.is_available()
