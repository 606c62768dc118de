"""Images whose true posterior p(class | image) is known, so that calibration has a known answer."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmark.api import FloatArray, Images, IntArray, SimulatedDataset, require

CLASSES, PROTOTYPES, SIZE, CONTRAST = 4, 3, 12, 10.0


@dataclass(frozen=True, kw_only=True)
class Simulated(SimulatedDataset):
    """Each class has three smooth prototypes; an image is one of them plus Gaussian noise.

    A pixel is stored as ``clip(round(prototype + noise), 0, 255)``, so each of its 256 values has
    a known probability, and the posterior is exact for the stored image, rounding included.
    ``noise`` is its standard deviation in grey levels; it sets the best possible accuracy.
    """

    train: int = 1000
    calibration: int = 500
    test: int = 2500
    noise: float = 37.0

    def draw(self, number: int) -> Images:
        """An independent draw: the prototypes stay, the images are new."""
        generator = np.random.default_rng([1, number])
        parts = {"train": self.train, "calibration": self.calibration, "test": self.test}
        require(min(*parts.values(), self.noise) > 0, f"{parts}, noise={self.noise}: above zero")
        prototypes, n = _prototypes(), sum(parts.values())
        kind = generator.integers(len(prototypes), size=n)
        grey = generator.normal(prototypes[kind], self.noise)
        pixels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return Images(
            inputs=pixels.reshape(n, SIZE, SIZE, 1),
            labels=kind // PROTOTYPES,
            classes=tuple("ABCDEFGHIJ"[:CLASSES]),
            ids=np.array([f"draw-{number}/{i:05d}" for i in range(n)]),
            split=np.repeat(list(parts), list(parts.values())),
            posterior=_posterior(pixels, prototypes, self.noise),
        )


@cache
def _prototypes() -> FloatArray:
    """Smooth random images ``(CLASSES * PROTOTYPES, pixels)`` in grey levels."""
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(0).normal(size=(CLASSES * PROTOTYPES, SIZE, SIZE))
    smooth = gaussian_filter(white, (0, 1.5, 1.5), mode="wrap").reshape(len(white), -1)
    smooth -= smooth.mean(1, keepdims=True)
    return np.asarray(128 + CONTRAST * smooth / smooth.std(1, keepdims=True))


def _posterior(pixels: IntArray, prototypes: FloatArray, noise: float) -> FloatArray:
    """The exact p(class | stored pixels), ``(n, CLASSES)``."""
    from scipy.special import logsumexp, ndtr

    z = (np.r_[-np.inf, np.arange(0.5, 255), np.inf] - prototypes[..., None]) / noise
    side = np.where(z[..., :-1] > 0, -1, 1)  # takes the difference in the small tail
    mass = side * (ndtr(side * z[..., 1:]) - ndtr(side * z[..., :-1]))
    log_mass = np.log(np.maximum(mass, np.finfo(float).tiny))
    place = np.arange(pixels.shape[1])
    joint = np.stack([table[place, pixels].sum(1) for table in log_mass], axis=1)
    joint = logsumexp(joint.reshape(len(pixels), CLASSES, PROTOTYPES), axis=2)
    return np.asarray(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))


DATASETS = (
    Simulated(
        name="simulated",
        summary="4 classes of noisy 12x12 images with a known posterior; every fold is a new draw",
        paper="made here; why a known truth: Vaicenavicius et al. 2019, arXiv:1902.06977",
        licence="Apache-2.0, as this benchmark",
        access="drawn on the fly: nothing to do",
        preset="quick",
    ),
)
