"""Batches of images on the device: indexed, augmented and normalised."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.api import IntArray
from benchmark.engine import augment as augmentation
from benchmark.engine.network import Normalisation

FLOAT_BYTES = 2**26
"""Up to here all images are normalised once, and kept as floats on the CPU."""

AHEAD = 512
"""Images that are augmented in one call on a GPU: small batches alone would wait for launches."""


class Batches:
    """Turns indices into normalised float images on the device.

    Args:
        images: ``(n, channels, height, width)`` uint8, in memory or memory-mapped.
        normalisation: of the backbone.
        device: where batches go. On a GPU the images live there as uint8 if they fit; if not,
            they are read into pinned memory while the GPU is at work on those before.
        precision: ``bf16`` runs networks under autocast on a GPU.
        share: up to how many fits share the GPU.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        normalisation: Normalisation,
        device: torch.device,
        precision: str = "float32",
        share: int = 1,
    ) -> None:
        self.images = images
        self.device = device
        self.precision = precision
        self.on_gpu = device.type == "cuda"
        self.resident: Tensor | None = None
        if self.on_gpu:
            self.resident = _upload(images, device, share)
        shape = (1, -1, 1, 1)
        self._scale = (
            torch.tensor([1 / (255 * s) for s in normalisation.std]).view(shape).to(device)
        )
        ratios = zip(normalisation.mean, normalisation.std)
        self._shift = torch.tensor([-m / s for m, s in ratios]).view(shape).to(device)
        # Grey images become three channels where the backbone was trained on them.
        self._channels = max(images.shape[1], len(normalisation.mean))
        float_bytes = 4 * images.size // images.shape[1] * self._channels
        self._small = not self.on_gpu and float_bytes <= FLOAT_BYTES
        self._buffer = torch.empty(0)

    def __call__(self, index: IntArray) -> Tensor:
        """Images of the indices, not augmented; to be used before the next ones are asked for.

        Returns:
            ``(k, channels, height, width)`` float32, channels last in memory.
        """
        where = torch.tensor(index)
        return self._floats[where] if self._small else self._normalise(self._pixels(where))

    def epoch(self, order: Tensor, augment: torch.Generator | None = None) -> Iterator[Tensor]:
        """The batches of an epoch, each to be used before the next one is asked for.

        Args:
            order: ``(steps, batch)`` indices, on the CPU.
            augment: for TrivialAugment; it draws the same numbers on all devices.
        """
        if self._small and augment is None:
            yield from (self._floats[where] for where in order)
            return
        blocks = torch.split(order, self.ahead(order.shape[1]))
        for block, pixels in zip(blocks, self._read_ahead(blocks)):
            if augment is not None:
                drawn = zip(*(augmentation.draw(len(where), augment) for where in block))
                pixels = augmentation.apply(pixels, *(torch.cat(parts) for parts in drawn))
            yield from map(self._normalise, torch.split(pixels, order.shape[1]))

    def ahead(self, batch: int) -> int:
        """How many batches are augmented at once."""
        return max(1, AHEAD // batch) if self.on_gpu else 1

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which networks run."""
        if self.precision == "bf16" and self.on_gpu:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _read_ahead(self, blocks: tuple[Tensor, ...]) -> Iterator[Tensor]:
        """The pixels of each block; on a GPU a thread reads the next while this one is used."""
        if not self.on_gpu or self.resident is not None:
            yield from (self._pixels(block.flatten()) for block in blocks)
            return
        with ThreadPoolExecutor(1) as thread:
            reading = [thread.submit(self._read, block.flatten()) for block in blocks[:1]]
            for following in (*blocks[1:], None):
                pixels = reading.pop().result()
                if following is not None:
                    reading.append(thread.submit(self._read, following.flatten()))
                yield pixels.to(self.device, non_blocking=True)

    def _pixels(self, where: Tensor) -> Tensor:
        """Uint8 images on the device, without waiting for it."""
        if self.resident is not None:
            return self.resident[augmentation.send(where, self.device)]
        return self._read(where).to(self.device, non_blocking=True)

    def _read(self, where: Tensor) -> Tensor:
        """Uint8 images in memory, pinned if they go to a GPU."""
        shape = (len(where), *self.images.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self.on_gpu)
        np.take(self.images, where.numpy(), axis=0, out=pixels.numpy(), mode="clip")
        return pixels

    def _normalise(self, pixels: Tensor) -> Tensor:
        pixels = pixels.expand(-1, self._channels, -1, -1)
        if self.on_gpu:
            floats = pixels.to(torch.float32, memory_format=torch.channels_last)
        else:  # fresh memory would cost more than the arithmetic
            if self._buffer.shape != pixels.shape:
                with torch.inference_mode(False):
                    self._buffer = torch.empty(pixels.shape, memory_format=torch.channels_last)
            floats = self._buffer.copy_(pixels)
        return torch.addcmul(self._shift, floats, self._scale, out=floats)

    @cached_property
    def _floats(self) -> Tensor:
        """All images, normalised."""
        with torch.inference_mode(False):
            return self._normalise(torch.from_numpy(np.array(self.images)))


_uploaded: dict[tuple[str, torch.device], Tensor] = {}


def _upload(images: npt.NDArray[np.uint8], device: torch.device, share: int) -> Tensor | None:
    """The images on the GPU, if they take less than half of a fit's share of what is free.

    What was decoded into a file stays for the fits that follow in this process, such as the
    other members of an ensemble.
    """
    key = (str(getattr(images, "filename", None)), device)
    if key in _uploaded:
        return _uploaded[key]
    _uploaded.clear()
    torch.cuda.empty_cache()  # what earlier fits gave back is free, too
    if images.nbytes > 0.5 * torch.cuda.mem_get_info(device)[0] / share:
        return None
    pixels = torch.from_numpy(np.array(images)).to(device)
    if isinstance(images, np.memmap):
        _uploaded[key] = pixels
    return pixels
