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
from torchvision.transforms.functional import to_pil_image

from benchmark.augment import trivial_augment

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
    images: int,
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
        "images_per_second": round(images / median(our_seconds)),
        "reference_images_per_second": round(images / median(reference_seconds)),
        "ratio": round(ratio, 2),
    }
    print("\n" + ", ".join(f"{key} {value}" for key, value in benchmark.extra_info.items()))
    return ratio


@pytest.mark.parametrize("size", [28, SIZE])
def test_augmentation_alone(
    benchmark: BenchmarkFixture, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    images = smooth_noise(BATCH, size)
    pictures = [to_pil_image(image) for image in images]
    transform = transforms.TrivialAugmentWide()
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        for _ in range(5):
            trivial_augment(images, generator)

    def reference() -> None:
        for _ in range(5):
            for picture in pictures:
                transform(picture)

    with capsys.disabled():
        ratio = compare(benchmark, ours, reference, images=5 * BATCH, rounds=10)
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
    n = 512
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

    # The first epoch: decode and resize once.
    cache_file = tmp_path / "images.npy"
    shape = (n, 3, SIZE, SIZE)
    cache = np.lib.format.open_memmap(cache_file, "w+", np.uint8, shape)
    for row, file in zip(cache, files):
        with Image.open(file) as image:
            row[:] = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(
                2, 0, 1
            )
    cache.flush()
    cache = np.load(cache_file, mmap_mode="r", allow_pickle=False)
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor(MEAN)[:, None, None] * 255
    scale = 1 / (torch.tensor(STD)[:, None, None] * 255)

    def ours() -> None:
        for batch in torch.randperm(n, generator=generator).split(BATCH):
            images = trivial_augment(torch.from_numpy(cache[batch.numpy()]), generator)
            images.sub(mean).mul_(scale)

    def reference() -> None:
        for _ in loader:
            pass

    with capsys.disabled():
        ratio = compare(benchmark, ours, reference, images=n, rounds=5)
    assert ratio >= 3
