"""All that a plug-in imports: the values that describe methods, calibrators and data sets.

A method file in ``methods/`` defines ``METHODS`` (and, if it brings one, ``CALIBRATORS``); a
data-set file in ``datasets/`` defines ``DATASETS``. Nothing here imports torch, so that the
command line can read plans and tables without it; a plug-in may import it at its top.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
StrArray = npt.NDArray[np.str_]

PARTS = ("train", "calibration", "test")


class InputError(Exception):
    """Something that the user gave is wrong: the message says what, where, and what to do.

    The command line prints the message alone and exits with code 2.
    """


# --- methods -------------------------------------------------------------------------------


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


Calibration = Callable[[FloatArray], FloatArray]
"""A fitted post-hoc map: log-probabilities ``(n, classes)`` to log-probabilities."""


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """A post-hoc map of predictions, fitted on the calibration part.

    Attributes:
        name: the suffix on the command line (``focal+temperature``).
        summary: one sentence on what it does.
        paper: citation with an address.
    """

    name: str
    summary: str
    paper: str

    @abstractmethod
    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """Fit the map; it must never return a probability of exactly zero.

        Args:
            log_probs: ``(n, classes)``, natural logarithms of rows that sum to one.
            labels: ``(n,)``, integers below ``classes``; some classes may be absent.
        """


def finite_logits(log_probs: FloatArray) -> npt.NDArray[np.float64]:
    """Log-probabilities in double precision, that of a zero being that of the smallest double."""
    return np.maximum(log_probs, np.log(np.finfo(np.float64).smallest_subnormal), dtype=np.float64)


def one_vs_rest(
    log_probs: FloatArray,
    labels: IntArray,
    fit: Callable[[FloatArray, IntArray], Callable[[FloatArray], FloatArray]],
) -> Calibration:
    """Make a multi-class map of a binary one: a map for each class against the rest.

    Each class's mapped probability q becomes ``n q + 1 / classes``, n being the number of
    calibration images, and the row is normalised: one pseudo-image, shared evenly among the
    classes, so that none gets probability zero. A class that all calibration images belong to,
    or none, teaches a binary map nothing: there q is that share, one or zero.

    Source: Zadrozny & Elkan, KDD 2002, https://doi.org/10.1145/775047.775151 (the pseudo-image
    is ours).

    Args:
        log_probs: ``(n, classes)`` of the calibration part.
        labels: ``(n,)``.
        fit: takes the probabilities of one class, ``(n,)``, and whether each image belongs to
            it (0 or 1), and returns the map of such probabilities.
    """
    n, classes = log_probs.shape
    members = np.eye(classes, dtype=np.int64)[labels]
    shares = members.mean(0)
    maps = {
        index: fit(_probabilities(log_probs[:, index]), members[:, index])
        for index in np.flatnonzero((shares > 0) & (shares < 1))
    }

    def calibrate(new: FloatArray) -> FloatArray:
        mapped = np.tile(shares, (len(new), 1))
        for index, binary in maps.items():
            mapped[:, index] = binary(_probabilities(new[:, index]))
        smoothed = n * mapped + 1 / classes
        calibrated: FloatArray = np.log(smoothed / smoothed.sum(1, keepdims=True))
        return calibrated

    return calibrate


def _probabilities(log_probs: FloatArray) -> npt.NDArray[np.float64]:
    """Probabilities of at most one: rounding can leave a logarithm just above zero."""
    return np.minimum(np.exp(log_probs, dtype=np.float64), 1.0)


# --- data sets -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images with their labels: what a data set hands to the engine.

    Attributes:
        images: image files, or one uint8 array ``(n, height, width, channels)`` with one or
            three channels.
        labels: ``(n,)`` integers, indices into ``classes``.
        classes: the names of the classes.
        ids: ``(n,)`` names of the images, unique: stored with each prediction.
        groups: ``(n,)`` names of what must never be split across parts (a slide, a patient), or
            None where every image stands for itself.
        split: ``(n,)`` the official part of each image (``train``, ``calibration`` or ``test``),
            or None. Where no image is official calibration, it is cut from train.
        posterior: ``(n, classes)`` the true p(class | image), where it is known, or None.
    """

    images: tuple[Path, ...] | npt.NDArray[np.uint8]
    labels: IntArray
    classes: tuple[str, ...]
    ids: StrArray
    groups: StrArray | None = None
    split: StrArray | None = None
    posterior: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check that the columns fit together."""
        n = len(self.labels)
        require(n > 0, "no images: the data set is empty")
        require(len(self.classes) >= 2, f"{len(self.classes)} class: a classifier needs two")
        columns = {
            "images": self.images,
            "ids": self.ids,
            "groups": self.groups,
            "split": self.split,
            "posterior": self.posterior,
        }
        for name, column in columns.items():
            if column is not None:
                require(len(column) == n, f"{len(column)} {name} for {n} labels")
        bad = (self.labels < 0) | (self.labels >= len(self.classes))
        if bad.any():
            first = int(np.argmax(bad))
            raise InputError(
                f"label {self.labels[first]} of image {str(self.ids[first])!r} does not fit the "
                f"{len(self.classes)} classes: labels are integers from 0 to "
                f"{len(self.classes) - 1}"
            )
        ids, counts = np.unique(self.ids, return_counts=True)
        if len(ids) < n:
            raise InputError(f"the image id {str(ids[np.argmax(counts)])!r} occurs more than once")
        if self.split is not None:
            unknown = sorted(set(self.split.tolist()) - set(PARTS))
            require(not unknown, f"unknown parts {unknown} in the official split; use {PARTS}")


@dataclass(frozen=True)
class Archive:
    """A public archive that ``data prepare`` downloads and unpacks.

    Attributes:
        url: where it is.
        bytes: its size, if the publisher states one.
        sha256: its checksum, if the publisher states one.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A source of labelled images.

    Attributes:
        name: as on the command line. A name that ends in ``:`` or ``/`` takes an argument
            (``folder:PATH``), which reaches the plug-in as :attr:`argument`.
        summary: one sentence on what it shows.
        paper: citation with an address.
        licence: on what terms it may be used.
        access: how to get it and where to put it, shown when it is missing.
        preset: the preset it runs with unless the user names one.
        archive: what ``data prepare`` downloads, if it may.
        known_counts: images of each class in each part (``all`` for the whole set), in the order
            of the classes, as published: ``data check`` compares.
        argument: what followed the name on the command line.
    """

    name: str
    summary: str
    paper: str
    licence: str
    access: str
    preset: str = "standard"
    archive: Archive | None = None
    known_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    argument: str = ""

    @abstractmethod
    def samples(self, root: Path) -> Samples:
        """Read the list of images under the data root, without decoding them.

        Raises:
            InputError: the data are missing (naming what to get, where, and where to put it) or
                not as expected.
        """


@dataclass(frozen=True, kw_only=True)
class SimulatedDataset(Dataset):
    """A data set without end: each fold is an independent fresh draw with its own parts."""

    @abstractmethod
    def draw(self, number: int) -> Samples:
        """Draw number 0, 1, ... of train, calibration and test part; ``split`` is set."""

    def samples(self, root: Path) -> Samples:
        """The first draw."""
        return self.draw(0)


def require(condition: bool, message: str) -> None:
    """Raise :class:`InputError` with the message unless the condition holds."""
    if not condition:
        raise InputError(message)
