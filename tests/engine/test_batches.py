import numpy as np
import pytest
import torch

from benchmark.engine import batches as module
from benchmark.engine.augment import trivial_augment
from benchmark.engine.batches import Batches
from benchmark.engine.network import Normalisation

CPU = torch.device("cpu")
COLOUR = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ORDER = torch.tensor([[3, 0, 7, 7], [5, 1, 2, 9], [8, 4, 6, 0]])


def pixels(channels=3, size=12):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (10, channels, size, size), dtype=np.uint8)


def normalised(images):
    mean, std = (np.array(v)[:, None, None] for v in (COLOUR.mean, COLOUR.std))
    return (images / 255 - mean) / std


@pytest.fixture(params=["all at once", "batch by batch"])
def memory(request, monkeypatch):
    if request.param == "batch by batch":
        monkeypatch.setattr(module, "FLOAT_BYTES", 0)


def epoch(batches, augment=None):
    return [batch.clone() for batch in batches.epoch(ORDER, augment)]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_normalised_by_channel(memory, channels):
    images = pixels(channels)
    expected = normalised(np.broadcast_to(images, (10, 3, 12, 12)))
    batches = Batches(images, COLOUR, CPU)
    index = np.array([4, 4, 9])
    np.testing.assert_allclose(batches(index), expected[index], atol=1e-5)
    for rows, batch in zip(ORDER, epoch(batches), strict=True):
        np.testing.assert_allclose(batch, expected[rows], atol=1e-5)


def test_both_ways_give_the_same_bytes(monkeypatch):
    index = np.arange(10)
    first = Batches(pixels(), COLOUR, CPU)(index).clone()
    monkeypatch.setattr(module, "FLOAT_BYTES", 0)
    assert torch.equal(Batches(pixels(), COLOUR, CPU)(index), first)


def test_each_batch_is_augmented_anew(memory):
    images = pixels()
    given = torch.Generator().manual_seed(1)
    same = torch.Generator().manual_seed(1)
    for rows, batch in zip(ORDER, epoch(Batches(images, COLOUR, CPU), given), strict=True):
        changed = trivial_augment(torch.from_numpy(images[rows.numpy()]), same)
        np.testing.assert_allclose(batch, normalised(changed.numpy()), atol=1e-5)


def test_augmenting_several_batches_in_one_call_changes_nothing(monkeypatch):
    """What a GPU does, on the CPU."""

    def ahead(images):
        batches = Batches(images, COLOUR, CPU)
        alone = epoch(batches, torch.Generator().manual_seed(1))
        monkeypatch.setattr(module, "AHEAD", 8)
        batches.on_gpu, batches.resident = True, torch.from_numpy(images)
        return alone, epoch(batches, torch.Generator().manual_seed(1))

    alone, together = ahead(pixels())
    assert len(together) == len(alone) == 3
    for one, other in zip(alone, together):
        assert torch.equal(one, other)
        assert other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augmented", [False, True])
def test_batches_lie_in_memory_as_networks_like_them(memory, augmented):
    batches = Batches(pixels(), COLOUR, CPU)
    generator = torch.Generator().manual_seed(1) if augmented else None
    for batch in (batches(np.arange(4)), *batches.epoch(ORDER, generator)):
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert not batch.is_contiguous()


def test_what_does_not_fit_on_the_gpu_is_read_ahead_in_order(monkeypatch):
    images, read = pixels(), []
    batches = Batches(images, COLOUR, CPU)
    expected = epoch(batches)
    monkeypatch.setattr(module, "AHEAD", 4)

    def reader(where):
        read.append(where.tolist())
        return torch.from_numpy(images[where.numpy()])

    batches.on_gpu, batches._small = True, False
    monkeypatch.setattr(batches, "_read", reader)
    for step, batch in enumerate(batches.epoch(ORDER)):
        assert torch.equal(batch, expected[step])
    assert read == ORDER.tolist()


def test_decoded_images_are_uploaded_once_if_they_fit(monkeypatch, tmp_path):
    """What a GPU does, on the CPU."""
    free = 2 * pixels().nbytes + 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    np.save(tmp_path / "images.npy", pixels())
    mapped, other = (np.load(tmp_path / "images.npy", mmap_mode="r") for _ in range(2))
    first = module._upload(mapped, CPU, share=1)
    assert torch.equal(first, torch.from_numpy(pixels()))
    assert module._upload(other, CPU, share=1) is first
    alone = module._upload(pixels(), CPU, share=1)
    assert module._upload(pixels(), CPU, share=1) is not alone
    assert module._upload(pixels(), CPU, share=2) is None


def test_read_only_images_and_memory_maps_are_taken(memory, tmp_path):
    np.save(tmp_path / "images.npy", pixels())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    index = np.arange(10)
    index.flags.writeable = False
    np.testing.assert_allclose(
        Batches(mapped, COLOUR, CPU)(index), normalised(pixels()), atol=1e-5
    )  # fmt: skip


def test_batches_made_in_inference_can_be_trained_on(memory):
    batches = Batches(pixels(), COLOUR, CPU)
    with torch.inference_mode():
        batches(np.arange(4))
    convolution = torch.nn.Conv2d(3, 2, 3)
    for batch in batches.epoch(ORDER):
        convolution(batch).sum().backward()
    assert convolution.weight.grad.abs().sum() > 0
