"""Sample-dependent focal loss (FLSD-53): hard images get a larger exponent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdaptiveFocal(Recipe):
    """Focal loss, ``-(1 - p)^gamma log p``, with a gamma for each image in each head.

    Attributes:
        gamma_hard: where the true class's ``p`` is below the threshold.
        gamma_easy: elsewhere.
        threshold: of ``p``.
    """

    gamma_hard: float = 5.0
    gamma_easy: float = 3.0
    threshold: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        gammas = self.gamma_hard, self.gamma_easy
        require(min(gammas) >= 0, f"gamma_hard, gamma_easy={gammas}: no exponent may be negative")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The mean over images and heads."""
        import torch

        log_p = logits.log_softmax(-1)
        missing = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        gamma = torch.where(log_p.exp() < self.threshold, self.gamma_hard, self.gamma_easy)
        return -(targets.unsqueeze(1) * missing**gamma * log_p).sum(-1).mean()


_PAPER = "Mukhoti et al., Calibrating DNNs using Focal Loss, https://arxiv.org/abs/2002.09437"
_SUMMARY = "Focal loss with exponent 5 where the true class has less than 0.2, else 3 (FLSD-53)."
METHODS = (Method(name="focal-adaptive", summary=_SUMMARY, paper=_PAPER, recipe=AdaptiveFocal()),)
