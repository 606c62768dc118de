"""What is to be done: cells, and the distinct fits and calibrations under them. Pure.

A **cell** is one method on one replicate of one data set; a **fit** is one training of one
recipe. Fits are shared by value: cells whose methods have equal recipes name equal fits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.api import Calibrator, Method, Origin, Recipe
from benchmark.plan.addresses import (
    FORMAT,
    agrees,
    changed,
    digest,
    plugin_code,
    recipe_address,
)
from benchmark.plan.presets import Settings
from benchmark.plan.seeding import derive


@dataclass(frozen=True, kw_only=True)
class Task:
    """Where methods are compared: one replicate of one data set with one way of training.

    Attributes:
        preset: the preset's name, for the tables.
        dataset: name of the data set, for the tables.
        data: fingerprint of its images, labels and groups.
        settings: how networks are trained.
        fold: one fold, an independent draw, or the official split.
        seed: number of the seed.
        seed_name: from what seeds derive, and by what a fit is addressed; the name by default.
    """

    preset: str
    dataset: str
    data: str
    settings: Settings
    fold: str
    seed: int
    seed_name: str = ""

    def derive(self, *names: object) -> int:
        """A seed for a purpose at this replicate, the same for every method."""
        return derive(self.seed_name or self.dataset, self.fold, self.seed, *names)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One training of one recipe: the unit of work, of resuming and of sharing.

    Attributes:
        task: where.
        recipe: how the network is trained.
        passes: stochastic passes averaged in its predictions.
        member: 0 for the replicate's own fit; ensembles add 1, 2, ...
    """

    task: Task
    recipe: Recipe
    passes: int = 1
    member: int = 0

    @functools.cached_property
    def key(self) -> str:
        """Address of the fit in the store: a digest of what changes its result."""
        return digest(
            self._where()
            | {"settings": changed(self.task.settings), "recipe": recipe_address(self.recipe)}
        )

    def stated(self) -> dict[str, Any]:
        """All values that determine the predictions, as plain JSON values, for the record."""
        return self._where() | {
            "settings": dataclasses.asdict(self.task.settings),
            "recipe": dataclasses.asdict(self.recipe),
        }

    def agrees(self, stated: Mapping[str, Any]) -> bool:
        """Whether a record that states these values is that of this fit."""
        return (
            self._where().items() <= stated.items()
            and agrees(stated["settings"], self.task.settings)
            and agrees(stated["recipe"], self.recipe)
        )

    def _where(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "dataset": self.task.seed_name or self.task.dataset,
            "data": self.task.data,
            "fold": self.task.fold,
            "seed": self.task.seed,
            "member": self.member,
            "passes": self.passes,
        }


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one task: the fits that it needs, pooled, and calibrated if it says so."""

    task: Task
    method: Method
    calibrator: Calibrator | None = None

    @property
    def origin(self) -> Origin:
        """Where its predictions come from."""
        return Origin(
            preset=self.task.preset,
            dataset=self.task.dataset,
            backbone=self.task.settings.backbone,
            method=self.method.name,
            fold=self.task.fold,
            seed=self.task.seed,
        )

    @property
    def fits(self) -> list[Fit]:
        """The fits of its members; member 0 is shared with the single model."""
        return [
            Fit(task=self.task, recipe=self.method.recipe, passes=self.method.passes, member=m)
            for m in range(self.method.members)
        ]

    @functools.cached_property
    def calibration(self) -> str | None:
        """Address of its calibrated predictions in the store, if it has a calibrator."""
        if self.calibrator is None:
            return None
        kind: Any = type(self.calibrator)
        words = ("name", "summary", "paper")
        parameters = {k: v for k, v in changed(self.calibrator).items() if k not in words}
        return digest(
            {
                "format": FORMAT,
                "fits": [fit.key for fit in self.fits],
                "parameters": parameters,
                "code": plugin_code(kind),
            }
        )


def make_cells(
    methods: Sequence[Method], calibrators: Mapping[str, Calibrator], tasks: Iterable[Task]
) -> list[Cell]:
    """Every method on every task."""
    return [
        Cell(
            task=task,
            method=method,
            calibrator=calibrators[method.calibrator] if method.calibrator else None,
        )
        for task in tasks
        for method in methods
    ]


def distinct_fits(cells: Iterable[Cell]) -> list[Fit]:
    """Each fit under the cells once, in their order."""
    return list({fit.key: fit for cell in cells for fit in cell.fits}.values())
