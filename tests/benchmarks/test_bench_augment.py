"""Speed of augmentation, and of the whole image path, against torchvision on PIL images.

Every ratio is taken between runs that take turns, so that a change of the machine's pace meets
both sides. Both use the same cores: the reference one worker process on each, ours one thread.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from benchmark.api import Images
from benchmark.data import images
from benchmark.engine.augment import trivial_augment
from benchmark.engine.batches import Batches
from benchmark.engine.network import Normalisation

SIZE = 224
BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def smooth_noise(n: int, size: int) -> Tensor:
    """Pictures whose detail falls off with its scale, as in photographs: ``(n, 3, size, size)``."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(n, 3, size, size)
    for cells in (4, 16, 64):
        coarse = torch.randn(n, 3, cells, cells, generator=generator) * 120 / cells**0.5
        picture += torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (picture + 128).clamp(0, 255).to(torch.uint8)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(
    benchmark: BenchmarkFixture,
    ours: Callable[[], object],
    reference: Callable[[], object],
    count: int,
    rounds: int,
) -> float:
    """Let both take turns; record and return how many times as fast ours is (median of rounds)."""
    ours(), reference()  # warm up
    reference_seconds: list[float] = []

    def turn() -> None:
        reference_seconds.append(seconds(reference))

    benchmark.pedantic(ours, setup=turn, rounds=rounds)
    our_seconds = benchmark.stats.stats.data
    ratio = median(theirs / mine for theirs, mine in zip(reference_seconds, our_seconds))
    benchmark.extra_info |= {
        "images_per_second": round(count / median(our_seconds)),
        "reference_images_per_second": round(count / median(reference_seconds)),
        "ratio": round(ratio, 2),
    }
    print("\n" + ", ".join(f"{key} {value}" for key, value in benchmark.extra_info.items()))
    return ratio


@pytest.mark.parametrize("size", [28, SIZE])
def test_augmentation_alone(
    benchmark: BenchmarkFixture, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both make a uint8 batch of augmented images, ours from a batch, the other from PIL images."""
    noise = smooth_noise(BATCH, size)
    pictures = [to_pil_image(image) for image in noise]
    transform = transforms.TrivialAugmentWide()
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        for _ in range(5):
            trivial_augment(noise, generator)

    def reference() -> None:
        for _ in range(5):
            torch.stack([pil_to_tensor(transform(picture)) for picture in pictures])

    with capsys.disabled():
        ratio = compare(benchmark, ours, reference, count=5 * BATCH, rounds=10)
    assert ratio > 1


class DecodedEachTime(Dataset[Tensor]):
    """The usual path: every epoch decodes, resizes, augments and normalises every file."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                transforms.TrivialAugmentWide(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))


def test_image_path(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the second epoch on, at least three times the images per second."""
    n = 256
    files = [tmp_path / f"{i}.jpg" for i in range(n)]
    for first in range(0, n, 32):
        for file, image in zip(files[first : first + 32], smooth_noise(32, 512)):
            to_pil_image(image).save(file, quality=90)

    loader = DataLoader(
        DecodedEachTime(files),
        batch_size=BATCH,
        shuffle=True,
        num_workers=len(os.sched_getaffinity(0)),
        persistent_workers=True,
        multiprocessing_context="spawn",
        generator=torch.Generator().manual_seed(0),
    )

    samples = Images(
        inputs=tuple(files), labels=np.arange(n) % 2, classes=("no", "yes"),
        ids=np.arange(n).astype(str),
    )  # fmt: skip
    key = images.fingerprint(samples, tmp_path / "cache")
    pixels = images.load(samples, key, SIZE, tmp_path / "cache")  # the first epoch
    batches = Batches(pixels, Normalisation(MEAN, STD), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        order = torch.randperm(n, generator=generator).view(-1, BATCH)
        for batch in batches.epoch(order, generator):
            assert batch.shape == (BATCH, 3, SIZE, SIZE)

    def reference() -> None:
        for _ in loader:
            pass

    with capsys.disabled():
        ratio = compare(benchmark, ours, reference, count=n, rounds=5)
    assert ratio >= 3
