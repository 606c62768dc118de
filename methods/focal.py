"""Focal loss: images that are already well classified count less."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import Method, Recipe, require


@dataclass(frozen=True, kw_only=True)
class Focal(Recipe):
    """The mean of ``-(1 - p)^gamma log p`` of the true class over images and heads.

    Attributes:
        gamma: how strongly confident images are discounted; 0 is plain cross-entropy.
    """

    gamma: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, f"gamma={self.gamma}: the exponent must not be negative")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Discount each image in each head by its missing probability."""
        log_p = logits.log_softmax(-1)
        # Away from zero, where a gamma below one has no gradient.
        missing = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        return -(targets.unsqueeze(1) * missing**self.gamma * log_p).sum(-1).mean()


_TITLE = "Calibrating Deep Neural Networks using Focal Loss, NeurIPS 2020"
_PAPER = f"Mukhoti et al., {_TITLE}, https://arxiv.org/abs/2002.09437"
_SUMMARY = "Cross-entropy that discounts an image by (1 - p)^3, p being its true class's share."
METHODS = (Method(name="focal", summary=_SUMMARY, paper=_PAPER, recipe=Focal()),)
