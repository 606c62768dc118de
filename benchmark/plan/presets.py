"""Presets: every number of a training run, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmark.api import require

SMALL = "small"
"""The built-in network; every other backbone is timm's."""

REFERENCE = "cross-entropy"
"""What methods are compared with unless something else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every network of a run is trained: the same for all methods.

    Attributes:
        backbone: ``small`` (built in) or any timm name.
        weights: ``imagenet``, ``none``, or ``sha256:...`` of a local file.
        size: side of the (square) images in pixels.
        enlarge: whether images smaller than ``size`` are enlarged to it; larger ones are always
            reduced.
        epochs: passes over the training part.
        cycles: how many times the cosine schedule starts anew within them.
        batch: images per step; the last incomplete batch of an epoch is left out.
        learning_rate: of SGD at the start of each cycle, falling to 0 by a cosine, per step.
        momentum: of SGD.
        weight_decay: of SGD.
        augment: ``none`` or ``trivial`` (TrivialAugmentWide).
        precision: ``float32``, or ``bf16`` (autocast, on a GPU; on the CPU float32).
        select: the weights that count: the ``last``, or those with the best macro one-vs-rest
            ``auc`` on the calibration part at the cycles' ends.
    """

    backbone: str
    weights: str
    size: int
    enlarge: bool
    epochs: int
    cycles: int
    batch: int
    learning_rate: float
    momentum: float
    weight_decay: float
    augment: Literal["none", "trivial"]
    precision: Literal["float32", "bf16"]
    select: Literal["last", "auc"]

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing can be trained."""
        for name in ("size", "epochs", "cycles", "batch"):
            value = getattr(self, name)
            require(value >= 1, f"{name}={value}: at least 1 is needed")
        require(
            self.epochs % self.cycles == 0,
            f"epochs={self.epochs} is not a multiple of cycles={self.cycles}",
        )
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: not positive")
        require(0 <= self.momentum < 1, f"momentum={self.momentum}: it lies in [0, 1)")
        require(self.weight_decay >= 0, f"weight_decay={self.weight_decay}: not below 0")
        for name, choices in {
            "augment": ("none", "trivial"),
            "precision": ("float32", "bf16"),
            "select": ("last", "auc"),
        }.items():
            value = getattr(self, name)
            require(value in choices, f"{name}={value}: choose {' or '.join(choices)}")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings with the folds and seeds that go with them.

    Attributes:
        name: as on the command line.
        summary: one sentence.
        settings: how networks are trained.
        folds: number of folds (or of independent draws), or ``official``.
        seeds: number of seeds per fold.
        parameters: method parameters that this preset changes wherever a method has them.
    """

    name: str
    summary: str
    settings: Settings
    folds: int | Literal["official"]
    seeds: int
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def note(self) -> str:
        """What the tables must say beside results of this preset."""
        if self.settings.select == "last":
            return ""
        return (
            f"{self.name}: the checkpoint was chosen on the same images on which calibrators were "
            "fitted."
        )


QUICK = Preset(
    name="quick",
    summary="A small built-in network in seconds on one core: to try things out.",
    settings=Settings(
        backbone=SMALL,
        weights="none",
        size=32,
        enlarge=False,
        epochs=20,
        cycles=1,
        batch=32,
        learning_rate=0.05,
        momentum=0.9,
        weight_decay=0.0,
        augment="none",
        precision="float32",
        select="last",
    ),
    folds=5,
    seeds=1,
)

STANDARD = Preset(
    name="standard",
    summary="A pretrained ResNet-50 trained as one would today; the last weights count, so the "
    "calibration part never chooses a model.",
    settings=Settings(
        backbone="resnet50",
        weights="imagenet",
        size=224,
        enlarge=True,
        epochs=30,
        cycles=1,
        batch=64,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        augment="trivial",
        precision="bf16",
        select="last",
    ),
    folds=5,
    seeds=1,
)

PAPER = Preset(
    name="paper",
    summary="The recipe of the MHML paper's released code, with the same resolution and the same "
    "initial weights for every method.",
    settings=Settings(
        backbone="resnet50",
        weights="imagenet",
        size=224,
        enlarge=True,
        epochs=50,
        cycles=10,
        batch=8,
        learning_rate=0.01,
        momentum=0.0,
        weight_decay=0.0,
        augment="trivial",
        precision="float32",
        select="auc",
    ),
    folds="official",
    seeds=5,
    parameters={"consensus": "logits"},
)

PRESETS = {preset.name: preset for preset in (QUICK, STANDARD, PAPER)}
