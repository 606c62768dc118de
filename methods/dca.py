"""DCA: penalise the difference between confidence and accuracy in each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ConfidenceAccuracy(Recipe):
    """Cross-entropy plus ``weight * |mean confidence - accuracy|`` over the batch.

    With several heads, confidence and accuracy are those of their mean prediction.

    Attributes:
        weight: of the penalty; 0 is plain cross-entropy.
    """

    weight: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, f"weight={self.weight}: a penalty is not negative")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Add the gap to cross-entropy."""
        confidence, predicted = logits.softmax(-1).mean(1).max(-1)
        accuracy = (predicted == targets.argmax(-1)).to(confidence.dtype).mean()
        gap = (confidence.mean() - accuracy).abs()
        return super().loss(logits, targets, weights) + self.weight * gap


_TITLE = "Improved Trainable Calibration Method for Neural Networks on Medical Imaging"
_PAPER = f"Liang et al., {_TITLE}, BMVC 2020, https://arxiv.org/abs/2009.04057"
_SUMMARY = "Cross-entropy that penalises the gap of mean confidence and accuracy in a batch."
METHODS = (Method(name="dca", summary=_SUMMARY, paper=_PAPER, recipe=ConfidenceAccuracy()),)
