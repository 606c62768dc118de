"""The network: a backbone, and one or more copies of its own classifier.

``forward`` returns logits shaped ``(batch, views, classes)``, in training and in evaluation: a
view is one head in one stochastic pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.api import InputError, Recipe, require
from benchmark.engine.initial import Initialisation
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
    dropout = recipe.dropout
    if recipe.dropout_at == "everywhere":
        layers = [m for m in trunk.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
        require(
            bool(layers),
            f"backbone {backbone} has no dropout layer inside: dropout_at=everywhere would be the "
            "same as classifier",
        )
        for layer in layers:
            layer.p = dropout
    network = Network(trunk, classifiers, norms, dropout, normalisation)
    # Faster on the CPU, too: 1.1 times for a ResNet, 1.7 times for depthwise convolutions.
    return network.to(memory_format=torch.channels_last)


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


class _Features(nn.Module):
    """A timm model up to the input of its classifier."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        features = self.model.forward_features(images)
        result: Tensor = self.model.forward_head(features, pre_logits=True)
        return result


def _timm(name: str, weights: str, file: Path | None, classes: int, size: int) -> _Parts:
    import timm
    from timm.layers.classifier import NormMlpClassifierHead

    check_backbone(name)
    options: dict[str, Any] = {"num_classes": classes}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options["img_size"] = size
    try:
        model: Any = timm.create_model(name, pretrained=weights.startswith("imagenet"), **options)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        if weights.startswith("imagenet"):
            raise InputError(
                f"the ImageNet weights of {name} could not be had ({type(error).__name__}: "
                f"{_first_line(error)}); without internet give a local state dict as weights, "
                "or none"
            ) from error
        raise InputError(f"backbone {name} at {size} pixels: {_first_line(error)}") from error
    if weights != "none" and not weights.startswith("imagenet"):
        assert file is not None
        _load(model, file)
    classifier = model.get_classifier()
    require(
        isinstance(classifier, nn.Linear),
        f"backbone {name} ends in {type(classifier).__name__}, not in one linear classifier",
    )
    norm = None
    head = getattr(model, "head", None)
    if isinstance(head, NormMlpClassifierHead) and isinstance(head.norm, nn.LayerNorm):
        norm, head.norm = head.norm, nn.Identity()
    model.reset_classifier(0)
    cfg = model.pretrained_cfg
    normalisation = Normalisation(tuple(cfg["mean"]), tuple(cfg["std"]))
    return _Features(model), norm, classifier, normalisation


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


def _load(model: Any, file: Path) -> None:
    """Load local weights into a model, leaving its classifier as initialised.

    Names may differ from timm's if the tensors' order and shapes agree.
    """
    loaded = read_weights(file)
    own = model.state_dict()
    names = set(own) & set(loaded)
    if len(names) < len(own) // 2 and len(own) == len(loaded):
        loaded = dict(zip(own, loaded.values()))
    prefix = {n for n, m in model.named_modules() if m is model.get_classifier()}
    chosen = {}
    for name, tensor in own.items():
        if name.rpartition(".")[0] in prefix:
            continue
        given = loaded.get(name)
        if given is None or given.shape != tensor.shape:
            what = "is missing" if given is None else f"has the shape {tuple(given.shape)}"
            raise InputError(
                f"the weights in {file} do not fit the backbone: {name} {what}, "
                f"{tuple(tensor.shape)} is needed"
            )
        chosen[name] = given
    model.load_state_dict(chosen, strict=False)


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """A state dict from a ``.safetensors`` file or one saved by torch (weights only).

    Raises:
        InputError: no such file, or nothing of the kind in it.
    """
    require(file.is_file(), f"weights {file}: there is no such file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(os.fspath(file))
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # each format fails in its own way
        raise InputError(f"weights {file}: not a state dict ({_first_line(error)})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"weights {file}: not a state dict of tensors")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
