"""The network: a backbone, and one or more copies of its own classifier.

``forward`` returns logits shaped ``(batch, views, classes)``, in training and in evaluation: a
view is one head in one stochastic pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from benchmark.api import InputError, Recipe, require
from benchmark.engine.initial import Initialisation, check_source, first_line, load
from benchmark.plan.presets import SMALL
from benchmark.plan.seeding import derive

_WIDTH = 16


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the channels that the backbone expects, on a 0-1 scale."""

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)


class Network(nn.Module):
    """A trunk that turns images into features, and heads that turn features into logits.

    Args:
        trunk: maps images ``(batch, channels, height, width)`` to features ``(batch, features)``.
        classifiers: the heads' linear layers, all of one shape.
        norms: the heads' own layer norms, where the architecture's classifier has one.
        dropout: rate before the linear layers.
        normalisation: how images are normalised for the trunk.
    """

    def __init__(
        self,
        trunk: nn.Module,
        classifiers: list[nn.Linear],
        norms: list[nn.LayerNorm] | None = None,
        dropout: float = 0.0,
        normalisation: Normalisation | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        # The heads are kept as one block of weights: all of them are one matrix product.
        self.weight = nn.Parameter(torch.stack([c.weight.detach() for c in classifiers]))
        self.bias = nn.Parameter(torch.stack([c.bias.detach() for c in classifiers]))
        self.scale: nn.Parameter | None = None
        self.shift: nn.Parameter | None = None
        if norms:
            self.scale = nn.Parameter(torch.stack([n.weight.detach() for n in norms]))
            self.shift = nn.Parameter(torch.stack([n.bias.detach() for n in norms]))
            self.epsilon = norms[0].eps
        self.dropout = dropout
        self.normalisation = normalisation or Normalisation()

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.weight.shape[0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, heads, classes)``; dropout is active in training mode only."""
        return self.classify(self.trunk(images), passes=1, stochastic=self.training)

    def classify(self, features: Tensor, passes: int, stochastic: bool) -> Tensor:
        """Logits ``(batch, passes * heads, classes)`` of features, in one batched operation.

        In float32 also under autocast: logits of three digits would spoil the calibration.
        """
        if torch.is_autocast_enabled(features.device.type):
            with torch.autocast(features.device.type, enabled=False):
                return self.classify(features.float(), passes, stochastic)
        hidden = features.unsqueeze(1)
        if self.scale is not None and self.shift is not None:
            hidden = functional.layer_norm(hidden, hidden.shape[-1:], eps=self.epsilon)
            hidden = hidden * self.scale + self.shift
        if passes > 1:
            hidden = hidden.unsqueeze(1).expand(-1, passes, -1, -1)
        if stochastic and self.dropout:
            hidden = functional.dropout(hidden, self.dropout)
        if hidden.shape[-2] == 1:  # the heads read the same features
            flat = functional.linear(hidden.squeeze(-2), self.weight.flatten(0, 1))
            logits = flat.view(*flat.shape[:-1], *self.bias.shape) + self.bias
        else:
            logits = torch.einsum("...hf,hcf->...hc", hidden, self.weight) + self.bias
        views: Tensor = logits.reshape(len(features), -1, logits.shape[-1])
        return views


def build(
    backbone: str,
    *,
    weights: str,
    weights_file: Path | None,
    classes: int,
    channels: int,
    size: int,
    recipe: Recipe,
    seed: int,
) -> Network:
    """Make a network for a recipe, with the same initial backbone for every recipe.

    Args:
        backbone: ``small`` or a timm name.
        weights: ``none``, ``imagenet:TAG`` (from the hub), or anything else with
            ``weights_file``.
        weights_file: local weights (``.safetensors``, or a state dict saved by torch).
        classes: number of classes.
        channels: channels of the images; timm backbones see grey images as three channels.
        size: side of the images in pixels.
        recipe: says how many heads and how much dropout.
        seed: of the initial weights: head m is initialised from ``seed`` and m alone.

    Raises:
        InputError: unknown backbone, weights that cannot be had or do not fit, or a backbone
            without a linear classifier.
    """
    if backbone == SMALL:
        require(weights == "none", f"the built-in network {SMALL!r} has no pretrained weights")

    def seeding(head: int) -> AbstractContextManager[None]:
        return seeded(derive(seed, "head", head))

    def parts(head: int, weights: str) -> _Parts:
        with seeding(head):
            if backbone == SMALL:
                return _small(classes, channels)
            return _timm(backbone, weights, weights_file, classes, size)

    if recipe.heads == 1:
        trunk, norm, first, normalisation = parts(0, weights)
        classifiers = [first]
    else:
        with Initialisation() as initialisation:
            trunk, norm, first, normalisation = parts(0, weights)
        draw = initialisation.again(first, seeding) or (lambda head: parts(head, "none")[2])
        classifiers = [first, *(draw(head) for head in range(1, recipe.heads))]
    # Where the classifier has a norm, each head gets its own copy of the (pretrained) one.
    norms = [norm for _ in classifiers] if norm is not None else None
    if recipe.dropout_at == "everywhere":
        layers = _dropouts(trunk, torch.zeros(1, channels, size, size))
        require(
            bool(layers),
            f"backbone {backbone} has no dropout layer inside: dropout_at=everywhere would be the "
            "same as classifier",
        )
        for layer in layers:
            layer.p = recipe.dropout
    network = Network(trunk, classifiers, norms, recipe.dropout, normalisation)
    # Faster on the CPU, too: 1.1 times for a ResNet, 1.7 times for depthwise convolutions.
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:  # nn.Module.to refuses those of rank 5
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return network


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators within a block, and restore them after it.

    Initialisers and dropout layers can draw from nowhere else.
    """
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = [torch.cuda.current_device()] if on_gpu else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


_Parts = tuple[nn.Module, nn.LayerNorm | None, nn.Linear, Normalisation]


def _small(classes: int, channels: int) -> _Parts:
    """Three convolutions and a mean: learns 8x8 to 32x32 images in seconds on one core."""

    def block(inside: int, outside: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.0),
        ]

    trunk = nn.Sequential(
        *block(channels, _WIDTH, 1),
        *block(_WIDTH, 2 * _WIDTH, 2),
        *block(2 * _WIDTH, 4 * _WIDTH, 2),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
    )
    return trunk, None, nn.Linear(36 * _WIDTH, classes), Normalisation()


class TimmTrunk(nn.Module):
    """A timm model whose classifier hands on the features that it is given.

    Args:
        model: with its classifier still in place.
        classifier: that of the model.

    Attributes:
        side: of the images that the architecture was made for.
    """

    def __init__(self, model: Any, classifier: nn.Module) -> None:
        super().__init__()
        modules = model.named_modules(remove_duplicate=False)
        self._places = [name.rpartition(".") for name, module in modules if module is classifier]
        self.model = model
        self.side: int = model.pretrained_cfg["input_size"][-1]
        self.put(nn.Identity())

    def put(self, classifier: nn.Module) -> None:
        """Put another module in the place of the classifier."""
        for parent, _, name in self._places:
            setattr(self.model.get_submodule(parent), name, classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(batch, features)`` of images; grey ones are seen as three channels."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        features: Tensor = self.model(images)
        return features


def _timm(name: str, weights: str, file: Path | None, classes: int, size: int) -> _Parts:
    import timm
    from timm.layers.classifier import NormMlpClassifierHead

    check_backbone(name)
    options: dict[str, Any] = {"num_classes": classes}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options["img_size"] = size
    if weights.startswith("imagenet"):
        check_source(name)
    try:
        model: Any = timm.create_model(name, pretrained=weights.startswith("imagenet"), **options)
    except Exception as error:  # each architecture has its own reasons
        if weights.startswith("imagenet"):
            raise InputError(
                f"the ImageNet weights of {name} could not be had ({type(error).__name__}: "
                f"{first_line(error)}); without internet give a local state dict as weights, "
                "or none"
            ) from error
        raise InputError(f"backbone {name} at {size} pixels: {first_line(error)}") from error
    classifier = model.get_classifier()
    require(
        isinstance(classifier, nn.Linear) and classifier.bias is not None,
        f"backbone {name} ends in {type(classifier).__name__}, not in one linear classifier "
        "that heads could copy; choose another",
    )
    if weights != "none" and not weights.startswith("imagenet"):
        assert file is not None
        load(model, file)
    _never_drop(model)
    norm = None
    head = getattr(model, "head", None)
    # With a hidden layer between them, the norm is no part of what a head copies.
    if (
        isinstance(head, NormMlpClassifierHead)
        and isinstance(head.pre_logits, nn.Identity)
        and isinstance(head.norm, nn.LayerNorm)
    ):
        norm, head.norm = head.norm, nn.Identity()
    cfg = model.pretrained_cfg
    normalisation = Normalisation(tuple(cfg["mean"]), tuple(cfg["std"]))
    return TimmTrunk(model, classifier), norm, classifier, normalisation


def _never_drop(model: nn.Module) -> None:
    """Set an architecture's own dropout and stochastic depth to 0: the recipe decides."""
    for module in model.modules():
        rates = [name for name, value in vars(module).items() if type(value) is float]
        for name in rates:
            if "drop" in name or (name == "p" and isinstance(module, _DropoutNd)):
                setattr(module, name, 0.0)


def _dropouts(trunk: nn.Module, images: Tensor) -> list[_DropoutNd]:
    """The dropout layers of a trunk but those whose output goes straight into another dropout.

    That of the heads counts as another. A layer that is never called stays in: attention reads
    its rate.
    """
    layers = [module for module in trunk.modules() if isinstance(module, _DropoutNd)]
    outputs: list[tuple[Tensor, int, _DropoutNd]] = []  # kept, so that no address is used twice

    def before(given: Tensor) -> set[_DropoutNd]:
        where = given.data_ptr(), given._version
        return {layer for out, version, layer in outputs if (out.data_ptr(), version) == where}

    def note(layer: _DropoutNd, given: tuple[Tensor, ...], out: Tensor) -> None:
        followed.update(before(given[0]))
        outputs.append((out, out._version, layer))

    followed: set[_DropoutNd] = set()
    hooks = [layer.register_forward_hook(note) for layer in layers]
    trunk.eval()
    with torch.no_grad():
        followed.update(before(trunk(images)))
    trunk.train()
    for hook in hooks:
        hook.remove()
    return [layer for layer in layers if layer not in followed]


def check_backbone(name: str) -> None:
    """Refuse a backbone that does not exist, naming the nearest ones.

    Raises:
        InputError: neither ``small`` nor a timm name.
    """
    if name == SMALL:
        return
    import difflib

    import timm

    try:
        known = timm.is_model(name) and timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:  # the model exists, but not with these weights
        known = False
    if not known and not (timm.is_model(name) and "." not in name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        raise InputError(
            f"unknown backbone {name!r}; did you mean {', '.join(near) or SMALL}? Any timm model "
            f"name will do, or {SMALL!r}"
        )


def pretrained_tag(name: str) -> str:
    """The full timm name of a backbone's default weights, such as ``resnet50.a1_in1k``."""
    import timm

    config = timm.get_pretrained_cfg(name)
    tag = config.tag if config is not None else ""
    return name if "." in name or not tag else f"{name}.{tag}"
