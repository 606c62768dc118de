"""Multi-head multi-loss calibration (MHML): each head cares most for its own classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class MultiHeadMultiLoss(Recipe):
    """M heads, each with its own class weights in the loss.

    The classes are shuffled and split into M nearly equal groups: head m weighs its group by M,
    the other classes by 1/M. With more heads than classes that would leave heads without a group
    (plain cross-entropy). There, each run of as many heads as classes takes the classes one by
    one, in an order of its own: every head emphasises at least one class.
    """

    heads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.heads >= 2, f"heads={self.heads}: MHML needs at least two heads")

    def head_weights(self, classes: int, generator: torch.Generator) -> torch.Tensor:
        """M for the classes of a head's group, 1/M for the others: ``(heads, classes)``."""
        import torch

        weights = torch.full((self.heads, classes), 1 / self.heads)
        for first in range(0, self.heads, classes):
            order = torch.randperm(classes, generator=generator)
            for own, group in zip(weights[first:], order.tensor_split(self.heads)):
                own[group] = self.heads
        return weights


_PAPER = "Galdran et al., Multi-Head Multi-Loss Model Calibration, https://arxiv.org/abs/2303.01099"
_SUMMARY = "Several heads whose losses weigh the classes differently; their mean predicts."
_HEADS = ("heads", tuple(range(2, 11)))
_RECIPE = MultiHeadMultiLoss()
METHODS = (Method(name="mhml", summary=_SUMMARY, paper=_PAPER, recipe=_RECIPE, variants=_HEADS),)
