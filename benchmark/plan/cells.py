"""What is to be done: cells, and the distinct fits and calibrations under them. Pure.

A **cell** is one method on one replicate of one data set; a **fit** is one training of one
recipe. Fits are shared by value: cells whose methods have equal recipes name equal fits.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.api import Calibrator, Method, Recipe
from benchmark.plan.presets import Settings
from benchmark.plan.seeding import derive

FORMAT = 2
"""Raise it when the engine's training or prediction changes: every fit is then made anew."""


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One fold (or independent draw, or the official split) with one seed number."""

    fold: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """Where methods are compared: one replicate of one data set with one way of training.

    Attributes:
        preset: the preset's name, for the tables.
        dataset: name of the data set; seeds derive from it.
        data: fingerprint of its images, labels and groups.
        settings: how networks are trained.
        replicate: the fold and seed.
    """

    preset: str
    dataset: str
    data: str
    settings: Settings
    replicate: Replicate

    def seed(self, *names: object) -> int:
        """A seed for a purpose at this replicate, the same for every method."""
        return derive(self.dataset, self.replicate.fold, self.replicate.seed, *names)


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

    def describe(self) -> dict[str, Any]:
        """All that determines the predictions, as plain JSON values."""
        return {
            "format": FORMAT,
            "dataset": self.task.dataset,
            "data": self.task.data,
            "settings": dataclasses.asdict(self.task.settings),
            "fold": self.task.replicate.fold,
            "seed": self.task.replicate.seed,
            "member": self.member,
            "recipe": describe_recipe(self.recipe),
            "passes": self.passes,
        }

    @functools.cached_property
    def key(self) -> str:
        """Address of the fit in the store: a digest of its description."""
        return digest(self.describe())


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one task: the fits that it needs, pooled, and calibrated if it says so."""

    task: Task
    method: Method
    calibrator: Calibrator | None = None

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
        words = ("summary", "paper")
        parameters = {
            name: value
            for name, value in dataclasses.asdict(self.calibrator).items()
            if name not in words
        }
        return digest(
            {
                "format": FORMAT,
                "fits": [fit.key for fit in self.fits],
                "calibrator": [parameters, _source(kind)],
            }
        )


def make(
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


def digest(description: object) -> str:
    """A digest of plain JSON values that does not depend on the order of keys."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values: its parameters and a digest of the code of its hooks."""
    return {
        "parameters": dataclasses.asdict(recipe),
        "code": [_source(kind) for kind in type(recipe).__mro__[:-1]],
    }


@functools.cache
def _source(cls: Any) -> str:
    """A digest of a class's code; comments, docstrings and formatting do not count.

    A plug-in's whole file counts, for a helper beside the class may change what it does; but not
    its lists of entries and what only they use. Of the engine's own module only the class counts.
    """
    module = sys.modules[cls.__module__]
    try:
        text = inspect.getsource(cls if cls.__module__ == "benchmark.api" else module)
    except (OSError, TypeError):  # defined in no file, as in an interactive session
        return f"{cls.__module__}.{cls.__qualname__}"
    tree = ast.parse(textwrap.dedent(text))
    tree.body = [node for node in tree.body if not _assigns(node, _LISTS)]
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    tree.body = [n for n in tree.body if not isinstance(n, ast.Assign) or _assigns(n, used)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return f"{cls.__qualname__}:{digest(ast.unparse(tree))}"


_LISTS = {"METHODS", "CALIBRATORS", "DATASETS"}


def _assigns(node: ast.stmt, names: set[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(not isinstance(t, ast.Name) or t.id in names for t in targets)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
