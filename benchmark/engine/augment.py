"""TrivialAugment on batches: every image gets one operation of one strength, both at random.

The space of operations and strengths is that of ``torchvision.transforms.TrivialAugmentWide``
with its defaults, and so are the operations, as torchvision defines them for uint8 tensors. The
same few gathers run on the CPU and on a GPU:

- a warp (shear, translation, rotation) looks up, for every pixel, the pixel that it comes from;
- an operation on grey levels looks up, for every pixel, its new level in a table of 256;
- colour and sharpness blend the image with its grey or blurred self.

Every random number is drawn on the CPU and every result is rounded in the same way, so that all
devices make the same bytes. Nothing waits for the device.

Paper: Müller & Hutter, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation, ICCV
2021, https://arxiv.org/abs/2103.10158
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

CACHE_BYTES = 2**20  # of images at a time on the CPU: what they need stays in its cache
STRENGTHS = 31
OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
WARPS = range(1, 6)
SIGNED = range(1, 10)


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change each image by one random operation of random strength.

    Args:
        images: ``(n, channels, height, width)`` uint8, with one or three channels, on any device.
            They are left as they are.
        generator: the only source of randomness, on the CPU. Equal generators give equal bytes
            on all devices.

    Returns:
        The changed images, like ``images`` but always contiguous.
    """
    return apply(images, *draw(len(images), generator))


def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw an operation and its magnitude for each of ``n`` images.

    Operations are equally likely, so are the 31 strengths of each, and so are both signs where an
    operation has them.

    Returns:
        ``(n,)`` int64 indices into :data:`OPERATIONS`, and ``(n,)`` float32 magnitudes in the
        operation's unit: shear as a slope, translation in pixels, rotation in degrees, posterize in
        bits kept, solarize as the first level that is inverted; for brightness, colour, contrast
        and sharpness the factor less one; 0 where there is no strength.
    """
    operation = torch.randint(len(OPERATIONS), (n,), generator=generator)
    strength = torch.randint(STRENGTHS, (n,), generator=generator)
    sign = torch.randint(2, (n,), generator=generator) * 2 - 1
    magnitude = _magnitudes()[operation, strength]
    return operation, torch.where(_within(operation, SIGNED), sign * magnitude, magnitude)


def apply(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Apply to each image its operation.

    Args:
        images: ``(n, channels, height, width)`` uint8, with one or three channels, on any device.
        operation: ``(n,)`` indices into :data:`OPERATIONS`, on the CPU.
        magnitude: ``(n,)`` magnitudes as :func:`draw` gives them, on the CPU.

    Returns:
        The changed images, like ``images`` but always contiguous.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images of type {images.dtype} and shape {tuple(images.shape)}: "
            "augment takes uint8 (n, 1 or 3 channels, height, width)"
        )
    if len(images) == 0:
        return images.clone(memory_format=torch.contiguous_format)
    # Group the images by what is done to them. All lists are made on the CPU and sent together:
    # to find them on a GPU is to wait for it.
    warps = _within(operation, WARPS)
    kind = operation.where(~warps, WARPS.start)
    order = kind.argsort(stable=True)
    counts = kind.bincount(minlength=len(OPERATIONS)).tolist()
    parameters = _coefficients(operation, magnitude, *images.shape[2:])
    parameters[:, 0] = parameters[:, 0].where(warps, magnitude)

    where, rows = send(order, images.device), send(parameters[order], images.device)
    piece = max(1, CACHE_BYTES // images[0].numel()) if images.is_cpu else len(images)
    changed = torch.empty_like(images, memory_format=torch.contiguous_format)
    end = 0
    for name, count in zip(OPERATIONS, counts):
        start, end = end, end + count
        for first in range(start, end, piece):
            some = slice(first, min(first + piece, end))
            changed[some] = _CHANGES[name](images.index_select(0, where[some]), rows[some])
    return changed.index_select(0, send(order.argsort(), images.device))


@functools.cache
def _magnitudes() -> Tensor:
    """The magnitudes of TrivialAugmentWide: ``(operations, strengths)``, without signs."""
    ends = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}
    ends |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.99)
    rows = {name: torch.linspace(0.0, end, STRENGTHS) for name, end in ends.items()}
    rows["Posterize"] = 8 - (torch.arange(STRENGTHS) / ((STRENGTHS - 1) / 6)).round()
    rows["Solarize"] = torch.linspace(255.0, 0.0, STRENGTHS)
    return torch.stack([rows.get(name, torch.zeros(STRENGTHS)) for name in OPERATIONS])


def _within(operation: Tensor, operations: range) -> Tensor:
    return (operation >= operations.start) & (operation < operations.stop)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for it, which takes pinned memory on a GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


# --- warps: the pixel that each pixel comes from -----------------------------------------------


def _coefficients(operation: Tensor, magnitude: Tensor, height: int, width: int) -> Tensor:
    """The pixel at (x, y) from the centre comes from (ax + by + c, dx + ey + f): ``(n, 6)``.

    x and y are in pixels; of what they come from, -1...1 is the image. Shears hold the upper left
    corner and rotations the centre, as in torchvision.
    """

    def only(name: str) -> Tensor:
        return magnitude.double().where(operation == OPERATIONS.index(name), 0.0)

    shear_x, shear_y = only("ShearX"), only("ShearY")
    cos, sin = only("Rotate").deg2rad().cos(), only("Rotate").deg2rad().sin()
    shift_x = shear_x * height / 2 - only("TranslateX").trunc()
    shift_y = shear_y * width / 2 - only("TranslateY").trunc()
    coefficients = torch.stack([cos, shear_x - sin, shift_x, shear_y + sin, cos, shift_y], 1)
    return coefficients.float() / torch.tensor([width / 2] * 3 + [height / 2] * 3)


def _warp(images: Tensor, coefficients: Tensor) -> Tensor:
    _, channels, height, width = images.shape
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2

    def source(coefficients: Tensor, size: int) -> Tensor:
        # Halfway between two pixels the last bit decides: these are the steps of torchvision.
        a, b, c = coefficients[:, :, None, None].unbind(1)
        pixel = (a * x + b * y).add_(c).add_(1).mul_(size / 2).sub_(0.5).round_()
        return pixel.clamp_(-1, size)

    # A frame of black stands for all that is outside.
    framed = torch.nn.functional.pad(images, (1, 1, 1, 1)).flatten(2)
    row, column = source(coefficients[:, 3:], height), source(coefficients[:, :3], width)
    index = row.add_(1).mul_(width + 2).add_(column).add_(1).long().flatten(1)
    return framed.gather(2, index[:, None].expand(-1, channels, -1)).view_as(images)


# --- grey levels: a table of 256 for each image, or each of its channels -----------------------


def _look_up(images: Tensor, table: Tensor) -> Tensor:
    table = table.to(torch.uint8).expand(-1, images.shape[1], -1)
    return table.gather(2, images.flatten(2).long()).view_as(images)


def _levels(images: Tensor) -> Tensor:
    return torch.arange(256, device=images.device)


def _brightness(images: Tensor, parameters: Tensor) -> Tensor:
    return _look_up(images, _blend(_levels(images), 0, parameters[:, :1, None]))


def _contrast(images: Tensor, parameters: Tensor) -> Tensor:
    mean = _grey(images).mean((1, 2, 3), dtype=torch.float64).float()[:, None, None]
    return _look_up(images, _blend(_levels(images), mean, parameters[:, :1, None]))


def _posterize(images: Tensor, parameters: Tensor) -> Tensor:
    dropped_bits = 8 - parameters[:, :1, None].long()
    return _look_up(images, _levels(images) >> dropped_bits << dropped_bits)


def _solarize(images: Tensor, parameters: Tensor) -> Tensor:
    levels = _levels(images)
    return _look_up(images, torch.where(levels >= parameters[:, :1, None], 255 - levels, levels))


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    low, high = (f((2, 3))[:, :, None].float() for f in (images.amin, images.amax))
    stretched = ((_levels(images) - low) * (255 / (high - low))).clamp(0, 255)
    return _look_up(images, stretched.where(low < high, low))


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Spread the levels evenly, with the integer arithmetic of PIL, which torchvision repeats."""
    n, channels = images.shape[:2]
    histogram = _histograms(images.reshape(n * channels, -1)).view(n, channels, 256)
    last = histogram.gather(2, images.amax((2, 3))[:, :, None].long())
    step = (histogram.sum(2, keepdim=True) - last) // 255
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return _look_up(images, table.where(step > 0, _levels(images)))


def _histograms(rows: Tensor) -> Tensor:
    if rows.is_cpu:
        return torch.stack([row.bincount(minlength=256) for row in rows])
    # On a GPU bincount would wait for it.
    bins = (rows + 256 * torch.arange(len(rows), device=rows.device)[:, None]).flatten()
    histograms = bins.new_zeros(len(rows) * 256)
    return histograms.scatter_add_(0, bins, bins.new_ones(()).expand_as(bins)).view(-1, 256)


# --- blends: away from a plain version of the image, or towards it -----------------------------


def _blend(image: Tensor, plain: Tensor | int, excess: Tensor) -> Tensor:
    """The image moved by ``excess`` times its difference from the plain one, rounded down.

    By way of int16, which is much faster on the CPU than straight from float32 to uint8.
    """
    return (image * (1 + excess)).sub_(plain * excess).clamp_(0, 255).to(torch.int16)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split_with_sizes([1, 1, 1], 1)
    return (red * 0.2989 + green * 0.587 + blue * 0.114).floor_()


def _color(images: Tensor, parameters: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return _blend(images, _grey(images), parameters[:, :1, None, None]).to(torch.uint8)


def _sharpness(images: Tensor, parameters: Tensor) -> Tensor:
    """Blend with the blurred image: of 3 x 3 pixels the middle weighs 5, the others 1."""
    wide, inner = images.to(torch.int16), images[..., 1:-1, 1:-1]
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[..., 1:-1, 1:-1]
    sharpened = _blend(inner, (total / 13).round_(), parameters[:, :1, None, None])
    changed = images.clone()
    changed[..., 1:-1, 1:-1] = sharpened
    return changed


# What is done to some images, given their parameters ``(k, 6)``: the coefficients of a warp, else
# the magnitude in column 0.
_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Identity": lambda images, _: images,
    OPERATIONS[WARPS.start]: _warp,  # stands for all of them
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
}
