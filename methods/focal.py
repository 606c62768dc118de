"""Focal loss: images that are already well classified count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Focal(Recipe):
    """Focal loss, ``-(1 - p)^gamma log p``, p being the probability of the true class.

    Attributes:
        gamma: how strongly confident images are discounted; 0 is plain cross-entropy.
    """

    gamma: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, f"gamma={self.gamma}: the exponent must not be negative")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The mean over images and heads."""
        import torch

        log_p = logits.log_softmax(-1)
        # Away from zero, where a gamma below one has no gradient.
        missing = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        return -(targets.unsqueeze(1) * missing**self.gamma * log_p).sum(-1).mean()


_PAPER = "Mukhoti et al., Calibrating DNNs using Focal Loss, https://arxiv.org/abs/2002.09437"
_SUMMARY = "Cross-entropy that discounts an image by (1 - p)^3, p being its true class's."
METHODS = (Method(name="focal", summary=_SUMMARY, paper=_PAPER, recipe=Focal()),)
