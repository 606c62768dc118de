"""What a method is: how each network is trained, how many there are, how they predict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from benchmark.api.errors import require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What changes about training one network. The default is plain cross-entropy with one head.

    A recipe is a value: two methods whose recipes are equal share their trained networks. A
    subclass adds parameters as fields, and overrides one of the three hooks below.

    Attributes:
        heads: how many independently initialised copies of the backbone's own classifier the
            network has. The model predicts the mean of their softmax vectors.
        consensus: of what the consensus of several heads is the mean in the training loss:
            their ``probabilities`` (the MHML paper's definition) or their ``logits`` (its
            released code).
        dropout: the rate of dropout in training.
        dropout_at: where: before the ``classifier``, or ``everywhere`` that the backbone has a
            dropout layer.
    """

    heads: int = 1
    consensus: Literal["probabilities", "logits"] = "probabilities"
    dropout: float = 0.0
    dropout_at: Literal["classifier", "everywhere"] = "classifier"

    def __post_init__(self) -> None:
        """Refuse values that no network can have."""
        for name, value in vars(self).items():
            finite = not isinstance(value, float) or math.isfinite(value)
            require(finite, f"{name}={value}: a parameter is a finite number")
        require(self.heads >= 1, f"heads={self.heads}: a network needs at least one head")
        require(0 <= self.dropout < 1, f"dropout={self.dropout}: a rate lies in [0, 1)")
        require(
            self.consensus in ("probabilities", "logits"),
            f"consensus={self.consensus}: choose probabilities or logits",
        )
        require(
            self.dropout_at in ("classifier", "everywhere"),
            f"dropout_at={self.dropout_at}: choose classifier or everywhere",
        )

    def mix(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a training batch, after augmentation and normalisation (mixup overrides this).

        Args:
            images: ``(batch, channels, height, width)``, normalised.
            targets: ``(batch, classes)``, one-hot.
            generator: the only source of randomness to use; on the CPU, so that a fit draws the
                same numbers on every device.
        """
        return images, targets

    def head_weights(self, classes: int, generator: torch.Generator) -> torch.Tensor:
        """Weight of each class in each head's loss, drawn once a fit: ``(heads, classes)``."""
        import torch

        return torch.ones(self.heads, classes)

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """The training loss of a batch, a scalar.

        The default is cross-entropy: with one head its weighted mean, with several
        ``(sum_m CE(head_m; weights_m) + CE(consensus)) / (heads + 1)``. In a weighted mean the
        batch's weights are in the denominator, as in torch's ``cross_entropy``.

        Args:
            logits: ``(batch, heads, classes)``, float32.
            targets: ``(batch, classes)``, rows sum to one.
            weights: ``(heads, classes)``, from :meth:`head_weights`.
        """
        log_probs = logits.log_softmax(-1)
        weighted = targets.unsqueeze(1) * weights
        shares = weighted / weighted.sum((0, 2), keepdim=True)
        heads = (shares * log_probs).sum()
        if self.heads == 1:
            return -heads
        if self.consensus == "probabilities":
            consensus = log_probs.logsumexp(1) - math.log(self.heads)
        else:
            consensus = logits.mean(1).log_softmax(-1)
        return -(heads + (targets * consensus).sum(-1).mean()) / (self.heads + 1)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the leaderboard: how to train, how many networks, how to predict.

    Attributes:
        name: as on the command line and in the tables.
        summary: one sentence on what it does.
        paper: citation with an address.
        recipe: how each network is trained.
        members: how many networks, with independent seeds, are averaged (a deep ensemble).
        passes: how many stochastic forward passes are averaged (Monte Carlo dropout).
        calibrator: name of a post-hoc calibrator, fitted on the calibration part after pooling.
        variants: a parameter and its values, if this entry stands for a family: the entry
            ``mhml`` with ``("heads", (2, 3))`` gives the methods ``mhml-2`` and ``mhml-3``.
    """

    name: str
    summary: str
    paper: str
    recipe: Recipe = field(default_factory=Recipe)
    members: int = 1
    passes: int = 1
    calibrator: str | None = None
    variants: tuple[str, tuple[Any, ...]] | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        require(self.members >= 1, f"members={self.members}: an ensemble has at least one")
        require(self.passes >= 1, f"passes={self.passes}: predict with at least one pass")
