"""Every operation against torchvision's, and the draws against torchvision's and their law."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torchvision.transforms import (
    InterpolationMode,
    TrivialAugmentWide,
    autoaugment,
)
from torchvision.transforms import functional as F

from benchmark.engine import augment
from benchmark.engine.augment import OPERATIONS, SIGNED, STRENGTHS, apply, draw, trivial_augment

SHAPES = [(3, 224, 224), (1, 224, 224), (3, 40, 57), (3, 8, 8), (1, 8, 8)]
WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
WITHOUT_STRENGTH = ("Identity", "AutoContrast", "Equalize")


def torchvision(image: Tensor, name: str, magnitude: float) -> Tensor:
    return autoaugment._apply_op(image, name, magnitude, InterpolationMode.NEAREST, None)


def all_magnitudes(name: str) -> Tensor:
    """Every magnitude that torchvision can draw for an operation, with both signs."""
    magnitudes, signed = TrivialAugmentWide()._augmentation_space(STRENGTHS)[name]
    magnitudes = magnitudes.float().reshape(-1)
    return torch.cat([magnitudes, -magnitudes]) if signed else magnitudes.unique()


def noise_and_picture(shape: tuple[int, int, int]) -> Tensor:
    """White noise, in which every misplaced pixel shows, and a smooth picture of low contrast."""
    generator = torch.Generator().manual_seed(sum(shape))
    noise = torch.randint(256, (1, *shape), generator=generator).float()
    coarse = torch.rand(1, shape[0], 5, 5, generator=generator) * 150 + 40
    smooth = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    return torch.cat([noise, smooth + noise / 20]).to(torch.uint8)


def random_images(n: int, channels: int = 3, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    shape = (n, channels, size, size)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_agrees_with_torchvision(name: str, shape: tuple[int, int, int]) -> None:
    magnitudes = all_magnitudes(name)
    if shape[1] == 224:
        magnitudes = magnitudes[::2]  # 8 and 24 among them: shears that fall between two pixels
    operation = torch.full((len(magnitudes),), OPERATIONS.index(name))
    for image in noise_and_picture(shape):
        ours = apply(image.expand(len(magnitudes), -1, -1, -1), operation, magnitudes)
        theirs = torch.stack([torchvision(image, name, m) for m in magnitudes.tolist()])
        difference = (ours.int() - theirs.int()).abs()
        assert difference.max() <= 1 or name in WARPS
        # On the outer frame torchvision blends pixels with themselves, and may round them down.
        allowed = 1 if name == "Sharpness" else 0
        shares = (difference <= allowed).float().mean((1, 2, 3))
        assert shares.min() >= 0.999, f"{name} {magnitudes[shares.argmin()]}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_agrees_with_pil_within_one_level(name: str) -> None:
    """PIL images are what the paper trained on; its rotation rounds positions in another way."""
    image = noise_and_picture((3, 224, 224))[1]
    magnitudes = all_magnitudes(name)[::2]
    operation = torch.full((len(magnitudes),), OPERATIONS.index(name))
    ours = apply(image.expand(len(magnitudes), -1, -1, -1), operation, magnitudes)
    pil = F.to_pil_image(image)
    theirs = torch.stack([F.pil_to_tensor(torchvision(pil, name, m)) for m in magnitudes.tolist()])
    assert ((ours.int() - theirs.int()).abs() <= 1).float().mean() >= 0.999


def test_known_answers() -> None:
    image = torch.tensor([[0, 10, 22], [30, 40, 50], [60, 70, 255]], dtype=torch.uint8)

    def changed(name: str, magnitude: float) -> list[list[int]]:
        operation = torch.tensor([OPERATIONS.index(name)])
        return apply(image[None, None], operation, torch.tensor([magnitude]))[0, 0].tolist()

    assert changed("Identity", 0) == image.tolist()
    assert changed("TranslateX", 1.9) == [[0, 0, 10], [0, 30, 40], [0, 60, 70]]
    assert changed("TranslateY", -1) == [[30, 40, 50], [60, 70, 255], [0, 0, 0]]
    assert changed("Rotate", 90) == [[22, 50, 255], [10, 40, 70], [0, 30, 60]]
    assert changed("ShearX", 0.8) == [[0, 10, 22], [40, 50, 0], [255, 0, 0]]
    assert changed("ShearY", 0.8) == [[0, 40, 255], [30, 70, 0], [60, 0, 0]]
    assert changed("Brightness", 0.5) == [[0, 15, 33], [45, 60, 75], [90, 105, 255]]
    assert changed("Color", 0.5) == image.tolist()
    assert changed("Contrast", -1) == [[59] * 3] * 3
    assert changed("Posterize", 2) == [[0, 0, 0], [0, 0, 0], [0, 64, 192]]
    assert changed("Solarize", 50) == [[0, 10, 22], [30, 40, 205], [195, 185, 0]]
    assert changed("AutoContrast", 0) == image.tolist()
    # the blurred middle is (537 + 4 * 40) / 13 = 53.6..., rounded 54
    assert changed("Sharpness", -1) == [[0, 10, 22], [30, 54, 50], [60, 70, 255]]


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Contrast", "Sharpness", "Color"])
@pytest.mark.parametrize("channels", [1, 3])
def test_flat_images_stay_as_they_are(name: str, channels: int) -> None:
    images = torch.tensor([0, 7, 255], dtype=torch.uint8)[:, None, None, None]
    images = images.expand(-1, channels, 8, 8)
    operation = torch.full((3,), OPERATIONS.index(name))
    changed = apply(images, operation, torch.full((3,), 0.4))
    assert (changed.int() - images.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_tiny_images(name: str, size: int) -> None:
    images = random_images(4, size=size)
    magnitude = all_magnitudes(name)[-1]
    changed = apply(images, torch.full((4,), OPERATIONS.index(name)), magnitude.expand(4))
    theirs = torch.stack([torchvision(image, name, magnitude.item()) for image in images])
    assert (changed.int() - theirs.int()).abs().max() <= 1


def test_a_batch_is_its_images_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(300)
    operation, magnitude = draw(300, torch.Generator().manual_seed(1))
    assert len(operation.unique()) == len(OPERATIONS)
    alone = [
        apply(images[i : i + 1], operation[i : i + 1], magnitude[i : i + 1]) for i in range(300)
    ]
    assert torch.equal(apply(images, operation, magnitude), torch.cat(alone))
    monkeypatch.setattr(augment, "CACHE_BYTES", 1)
    assert torch.equal(apply(images, operation, magnitude), torch.cat(alone))


def test_memory_layout_does_not_matter_and_the_input_is_kept() -> None:
    images = random_images(50)
    before = images.clone()
    changed = trivial_augment(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)
    assert changed.data_ptr() != images.data_ptr()
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(trivial_augment(last, torch.Generator().manual_seed(0)), changed)


def test_identity_hands_out_no_view() -> None:
    images = random_images(1)
    changed = apply(images, torch.tensor([0]), torch.tensor([0.0]))
    changed.zero_()
    assert images.any()


def test_draws_only_from_the_generator() -> None:
    images = random_images(64)
    state = torch.get_rng_state()
    first = trivial_augment(images, torch.Generator().manual_seed(5))
    torch.rand(3)
    again = trivial_augment(images, torch.Generator().manual_seed(5))
    other = trivial_augment(images, torch.Generator().manual_seed(6))
    torch.set_rng_state(state)
    trivial_augment(images, torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_images() -> None:
    assert trivial_augment(random_images(0), torch.Generator()).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 8, 8, dtype=torch.uint8), torch.zeros(3)]
)
def test_refuses_what_is_not_an_image_batch(images: Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        trivial_augment(images, torch.Generator())


# --- draws ------------------------------------------------------------------------------------


def drawn_by_torchvision(n: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    drawn = []

    def record(image: Tensor, name: str, magnitude: float, **_: object) -> Tensor:
        drawn.append((name, magnitude))
        return image

    monkeypatch.setattr(autoaugment, "_apply_op", record)
    transform, image = TrivialAugmentWide(), torch.zeros(3, 1, 1, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(n):
            transform(image)
    return drawn


def homogeneous(first: np.ndarray, second: np.ndarray) -> float:
    """p-value of the hypothesis that two samples are of one distribution (chi-square)."""
    values = np.union1d(first, second)
    if len(values) == 1:
        return 1.0
    table = [[(sample == value).sum() for value in values] for sample in (first, second)]
    return float(scipy.stats.chi2_contingency(table).pvalue)


def test_draws_are_distributed_as_torchvision_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = drawn_by_torchvision(20_000, monkeypatch)
    operation, magnitude = draw(100_000, torch.Generator().manual_seed(2))
    our_names = np.array(OPERATIONS)[operation.numpy()]
    their_names = np.array([name for name, _ in theirs])
    their_magnitudes = np.array([magnitude for _, magnitude in theirs]) + 0.0  # -0 is 0
    our_magnitudes = magnitude.numpy().astype(float) + 0.0

    p_values = [homogeneous(our_names, their_names)]
    for name in OPERATIONS:
        ours = our_magnitudes[our_names == name]
        of_theirs = their_magnitudes[their_names == name]
        assert set(ours) == set(of_theirs), name
        p_values.append(homogeneous(ours, of_theirs))
    assert min(p_values) > 0.05 / len(p_values)


def test_draws_follow_the_law() -> None:
    operation, magnitude = draw(140_000, torch.Generator().manual_seed(3))
    p_values = [scipy.stats.chisquare(operation.bincount()).pvalue]
    for index, name in enumerate(OPERATIONS):
        drawn = magnitude[operation == index]
        space = all_magnitudes(name)
        if name in WITHOUT_STRENGTH:
            assert not drawn.any()
        elif name == "Posterize":  # 31 strengths on 7 numbers of bits
            kept, counts = drawn.unique(return_counts=True)
            bits = torch.tensor([round(8 - i / 5) for i in range(STRENGTHS)])
            expected = (
                torch.tensor([(bits == k).sum() for k in kept]).double() / STRENGTHS * len(drawn)
            )
            p_values.append(scipy.stats.chisquare(counts, expected).pvalue)
        else:
            strengths = drawn.abs() if index in SIGNED else drawn
            values, counts = strengths.unique(return_counts=True)
            assert torch.equal(values, space.abs().unique())
            p_values.append(scipy.stats.chisquare(counts).pvalue)
        if index in SIGNED:
            signs = (drawn[drawn != 0] > 0).long().bincount()
            p_values.append(scipy.stats.chisquare(signs).pvalue)
    assert min(p_values) > 0.05 / len(p_values)


def test_operation_strength_and_sign_are_independent_of_the_neighbour() -> None:
    operation, magnitude = draw(60_000, torch.Generator().manual_seed(4))
    table = np.zeros((14, 14))
    np.add.at(table, (operation[:-1].numpy(), operation[1:].numpy()), 1)
    assert scipy.stats.chi2_contingency(table).pvalue > 0.01
    signed = (operation[:-1] == operation[1:]) & (magnitude[:-1] != 0) & (magnitude[1:] != 0)
    signed &= (operation[:-1] >= SIGNED.start) & (operation[:-1] < SIGNED.stop)
    pairs = np.zeros((2, 2))
    signs = (magnitude > 0).long()
    np.add.at(pairs, (signs[:-1][signed].numpy(), signs[1:][signed].numpy()), 1)
    assert scipy.stats.chi2_contingency(pairs).pvalue > 0.01


# --- devices ----------------------------------------------------------------------------------

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@needs_cuda
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cuda_makes_the_same_bytes(shape: tuple[int, int, int]) -> None:
    for name in OPERATIONS:
        magnitudes = all_magnitudes(name)
        operation = torch.full((len(magnitudes),), OPERATIONS.index(name))
        for image in noise_and_picture(shape):
            images = image.expand(len(magnitudes), -1, -1, -1).contiguous()
            on_cuda = apply(images.cuda(), operation, magnitudes)
            assert on_cuda.is_cuda
            assert torch.equal(on_cuda.cpu(), apply(images, operation, magnitudes)), name


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # it says it is a prototype
def test_cuda_is_never_waited_for() -> None:
    images = random_images(200).cuda()
    expected = trivial_augment(images.cpu(), torch.Generator().manual_seed(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        changed = trivial_augment(images, torch.Generator().manual_seed(0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(changed.cpu(), expected)
