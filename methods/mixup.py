"""Mixup: train on convex combinations of two images and of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.api import Method, Recipe, require

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class Mixup(Recipe):
    """Mix each image with a random partner; one share per batch, from Beta(alpha, alpha).

    Attributes:
        alpha: near 0 few images are really mixed; 0 is plain cross-entropy.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha >= 0, f"alpha={self.alpha}: the Beta distribution needs alpha >= 0")

    def mix(self, images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One share and one permutation per batch, drawn from the generator alone."""
        if self.alpha == 0:
            return images, targets
        import torch

        # torch.distributions knows global randomness only; numpy's Beta takes a seed.
        seed = int(torch.randint(2**62, (), generator=generator))
        share = float(np.random.default_rng(seed).beta(self.alpha, self.alpha))
        partner = torch.randperm(len(images), generator=generator)
        partner = partner.to(images.device, non_blocking=True)
        return images.lerp(images[partner], 1 - share), targets.lerp(targets[partner], 1 - share)


_PAPER = "Thulasidasan et al., On Mixup Training, NeurIPS 2019, https://arxiv.org/abs/1905.11001"
_SUMMARY = "Cross-entropy on mixtures of two images and of their labels."
METHODS = (Method(name="mixup", summary=_SUMMARY, paper=_PAPER, recipe=Mixup()),)
