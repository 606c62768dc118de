"""Margin-based label smoothing: no logit may fall far below the largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MarginSmoothing(Recipe):
    """Cross-entropy plus ``weight * mean(relu(largest logit - logit - margin))``.

    Attributes:
        margin: the distance to the largest logit that costs nothing.
        weight: of the penalty, whose mean is over images, heads and classes; 0 is plain
            cross-entropy.
    """

    margin: float = 6.0
    weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.margin >= 0, f"margin={self.margin}: a distance is not negative")
        require(self.weight >= 0, f"weight={self.weight}: a penalty is not negative")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Add the margin penalty to cross-entropy."""
        distances = logits.amax(-1, keepdim=True) - logits
        penalty = (distances - self.margin).relu().mean()
        return super().loss(logits, targets, weights) + self.weight * penalty


_TITLE = "The Devil is in the Margin, CVPR 2022"
_PAPER = f"Liu et al., {_TITLE}, https://arxiv.org/abs/2111.15430"
_SUMMARY = "Cross-entropy that penalises logits more than a margin below the largest (MbLS)."
METHODS = (Method(name="mbls", summary=_SUMMARY, paper=_PAPER, recipe=MarginSmoothing()),)
