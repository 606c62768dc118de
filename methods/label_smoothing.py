"""Label smoothing: a share of every label is spread evenly over all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Recipe):
    """Cross-entropy against ``(1 - smoothing) * target + smoothing / classes``.

    Attributes:
        smoothing: the share that is spread, in [0, 1); 0 is plain cross-entropy.
    """

    smoothing: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.smoothing < 1, f"smoothing={self.smoothing}: a share lies in [0, 1)")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Cross-entropy against the smoothed targets."""
        smoothed = (1 - self.smoothing) * targets + self.smoothing / targets.shape[-1]
        return super().loss(logits, smoothed, weights)


METHODS = (
    Method(
        name="label-smoothing",
        summary="Cross-entropy with 5 % of each label spread evenly over the classes.",
        paper="Müller et al., When Does Label Smoothing Help?, NeurIPS 2019, "
        "https://arxiv.org/abs/1906.02629",
        recipe=LabelSmoothing(),
    ),
)
