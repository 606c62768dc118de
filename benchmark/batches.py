"""Batches of images on the device: indexed, augmented and normalised."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.api import IntArray
from benchmark.augment import trivial_augment
from benchmark.network import Normalisation


class Batches:
    """Turns indices into normalised float images on the device.

    Args:
        images: ``(n, channels, height, width)`` uint8, in memory or memory-mapped.
        normalisation: of the backbone.
        device: where batches go; on a GPU the images live there as uint8 if they fit.
        precision: ``bf16`` runs networks under autocast on a GPU.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        normalisation: Normalisation,
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.images = images
        self.device = device
        self.precision = precision
        self.resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(np.array(images)).to(device)
        shape = (1, -1, 1, 1)
        self._scale = torch.tensor([1 / (255 * s) for s in normalisation.std]).view(shape).to(device)
        ratios = zip(normalisation.mean, normalisation.std)
        self._shift = torch.tensor([-m / s for m, s in ratios]).view(shape).to(device)

    def __call__(self, index: IntArray, augment: torch.Generator | None = None) -> Tensor:
        """Images of the indices, TrivialAugmented if a generator is given."""
        if self.resident is not None:
            pixels = self.resident[torch.from_numpy(index).to(self.device)]
        else:
            pixels = torch.from_numpy(self.images[index])
            if self.device.type == "cuda":
                pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        if augment is not None:
            pixels = trivial_augment(pixels, augment)
        normalised = torch.addcmul(self._shift, pixels.float(), self._scale)
        if self.device.type == "cuda":
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return normalised

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which networks run."""
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bf16" and self.device.type == "cuda",
        )
