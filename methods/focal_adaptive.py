"""Sample-dependent focal loss (FLSD-53): hard images get a larger exponent."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import Method, Recipe


@dataclass(frozen=True, kw_only=True)
class AdaptiveFocal(Recipe):
    """The mean of ``-(1 - p)^gamma log p`` of the true class over images and heads.

    Attributes:
        gamma_hard: the exponent where ``p`` is below the threshold.
        gamma_easy: the exponent elsewhere.
        threshold: the probability of the true class that parts hard from easy.
    """

    gamma_hard: float = 5.0
    gamma_easy: float = 3.0
    threshold: float = 0.2

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Discount with an exponent that each image, in each head, chooses by itself."""
        log_p = logits.log_softmax(-1)
        missing = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        hard = log_p.exp() < self.threshold
        discount = torch.where(hard, missing**self.gamma_hard, missing**self.gamma_easy)
        return -(targets.unsqueeze(1) * discount * log_p).sum(-1).mean()


_TITLE = "Calibrating Deep Neural Networks using Focal Loss, NeurIPS 2020"
_PAPER = f"Mukhoti et al., {_TITLE}, https://arxiv.org/abs/2002.09437"
_SUMMARY = "Focal loss with exponent 5 where the true class has less than 0.2, else 3 (FLSD-53)."
METHODS = (Method(name="focal-adaptive", summary=_SUMMARY, paper=_PAPER, recipe=AdaptiveFocal()),)
