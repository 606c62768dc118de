"""Initial weights: of further heads, drawn without a network around each of them; of a file.

Head m's classifier is, to the bit, what the making of a whole network with m's seed would give it:
what other layers draw before it moves torch's generator. So all that the first network drew is
noted, and drawn again from another seed; numbers of other layers are dropped at once.
"""

from __future__ import annotations

import copy
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.api import InputError, require

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_ANSWER_SECONDS = 5


class Initialisation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that notes what a network draws while it is made, and what it writes in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._noted: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Do an operation, and note it."""
        if _draws(operation) or _decides(operation, args) or operation._schema.is_mutable:
            self._noted.append((operation, args, kwargs or {}))
        return operation(*args, **(kwargs or {}))

    def again(
        self, classifier: nn.Linear, seeding: Callable[[int], AbstractContextManager[None]]
    ) -> Callable[[int], nn.Linear] | None:
        """How to draw the classifiers of further heads.

        Args:
            classifier: of head 0, whose network was made in this context.
            seeding: takes a head's number and gives the context in which its network is made.

        Returns:
            Takes a head's number and gives its classifier. None where only the making of a network
            does: values may have decided how many were drawn (rejection), the classifier is more
            than draws and arithmetic (it was loaded), or head 0 does not come out the same.
        """
        places = {
            parameter.untyped_storage().data_ptr(): name
            for name, parameter in classifier.named_parameters()
            if parameter.untyped_storage().nbytes() == parameter.nbytes
        }
        steps: list[Callable[[dict[str, Tensor]], object] | None] = []
        needed = 0  # what comes after the classifier is complete is of no account
        for operation, args, options in self._noted:
            changed = args[0] if args and isinstance(args[0], Tensor) else None
            place = None if changed is None else places.get(changed.untyped_storage().data_ptr())
            if place is not None or _draws(operation) or _decides(operation, args):
                steps.append(_step(operation, args, options, place))
                needed = len(steps) if place is not None else needed
        certain = [step for step in steps[:needed] if step is not None]
        if len(certain) < needed:
            return None

        def draw(head: int) -> nn.Linear:
            drawn = copy.deepcopy(classifier)
            parameters = {n: p.detach().fill_(torch.nan) for n, p in drawn.named_parameters()}
            with seeding(head), torch.no_grad():
                for step in certain:
                    step(parameters)
            return drawn

        same = zip(draw(0).parameters(), classifier.parameters())
        return draw if all(torch.equal(a, b) for a, b in same) else None


def _draws(operation: Any) -> bool:
    """Whether it takes numbers from a generator."""
    return torch.Tag.nondeterministic_seeded in operation.tags


def _decides(operation: Any, args: tuple[Any, ...]) -> bool:
    """Whether Python learns a truth about values, on which more draws may depend."""
    return operation is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool


def _step(
    operation: Any, args: tuple[Any, ...], options: dict[str, Any], place: str | None
) -> Callable[[dict[str, Tensor]], object] | None:
    """The operation on a parameter of another classifier, or on scratch memory.

    None where it may depend on more than the numbers of torch's generator.
    """
    tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
    if options.get("generator") is not None or _decides(operation, args):
        return None
    if not tensors:
        return lambda _: operation(*args, **options)
    if len(tensors) > 1 or not operation._schema.is_mutable:
        return None
    (tensor,), others = tensors, args[1:]
    layout, dtype = (tensor.size(), tensor.stride()), tensor.dtype
    offset = tensor.storage_offset()

    def repeat(parameters: dict[str, Tensor]) -> object:
        if place is None:
            return operation(torch.empty_strided(*layout, dtype=dtype), *others, **options)
        return operation(parameters[place].as_strided(*layout, offset), *others, **options)

    return repeat


def load(model: Any, file: Path) -> None:
    """Load local weights into a timm model, leaving its classifier as initialised.

    Names are timm's, perhaps behind a prefix; or those of another source that timm's own filter
    of the architecture translates, which also resizes position tables; or any others, if order,
    shapes, layers and the last part of each name agree.

    Raises:
        InputError: they do not fit, or in more than one way.
    """
    loaded = read_weights(file)
    own = model.state_dict()
    classifier = model.get_classifier()
    places = {name for name, module in model.named_modules() if module is classifier}
    needed = {n: t for n, t in own.items() if n.rpartition(".")[0] not in places}
    first = next(iter(needed))
    prefixes = [n.removesuffix(first) for n in loaded if n == first or n.endswith(f".{first}")]
    whole = [p for p in prefixes if all(p + name in loaded for name in needed)]
    if len(whole) > 1 and "" not in whole:
        raise InputError(
            f"the weights in {file} hold more than one network, behind the prefixes "
            f"{' and '.join(repr(prefix) for prefix in whole)}: save the one that is meant"
        )
    prefix = "" if "" in whole else whole[0] if whole else _shared_prefix(list(loaded))
    named = {n.removeprefix(prefix): t for n, t in loaded.items() if n.startswith(prefix)}
    problem = _misfit(named, needed)
    if problem:
        named = _translated(named, model)
    if problem and _misfit(named, needed):
        named, by_order = _ordered(loaded, own, needed)
        problem = f"{problem}; by order: {by_order}" if by_order else _misfit(named, needed)
        if problem:
            raise InputError(f"the weights in {file} do not fit the backbone: {problem}")
    model.load_state_dict({name: named[name] for name in needed}, strict=False)


def check_source(name: str) -> None:
    """Refuse at once where pretrained weights are not here and their server does not answer.

    The libraries that fetch them would try for a minute.

    Args:
        name: of a timm model.

    Raises:
        InputError: naming what is missing, and where it is.
    """
    import timm
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id or constants.HF_HUB_OFFLINE:
        return
    source, _, revision = config.hf_hub_id.partition("@")
    names = [config.hf_hub_filename] if config.hf_hub_filename else list(_HUB_FILES)
    if any(
        isinstance(try_to_load_from_cache(source, file, revision=revision or None), str)
        for file in names
    ):
        return
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it is there
    except OSError as error:
        raise InputError(
            f"the ImageNet weights of {name} are not on this machine, and {constants.ENDPOINT} "
            f"does not answer ({getattr(error, 'reason', error)}): get "
            f"{hf_hub_url(source, names[0])} elsewhere and give the file as weights, or take none"
        ) from error


def _shared_prefix(names: list[str]) -> str:
    """What all names begin with, up to a dot."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names)))
    common = "".join(letter for letter, _ in pairs)
    return common[: common.rfind(".") + 1]


def _misfit(given: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> str:
    """The first tensor that is missing or has another shape, in words; empty if all fit."""
    for name, tensor in needed.items():
        shape = tuple(given[name].shape) if name in given else None
        if shape != tuple(tensor.shape):
            what = "is missing" if shape is None else f"has the shape {shape}"
            return f"{name} {what}, {tuple(tensor.shape)} is needed"
    return ""


def _translated(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """As timm's filter of the architecture makes it of weights from elsewhere."""
    translate = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        return dict(translate(dict(state), model)) if translate else {}
    except Exception:  # it expects weights of certain sources, and these are of none
        return {}


def _ordered(
    loaded: Mapping[str, Tensor], own: Mapping[str, Tensor], needed: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """The tensors under the model's names, matched by order, and the first that disagrees.

    As many tensors; each of the shape and with the last part of the name (weight, bias, ...) that
    is needed; and those of one layer again in one layer.
    """
    if len(loaded) != len(own):
        return {}, f"there are {len(loaded)} tensors, {len(own)} are needed"
    layers: dict[str, str] = {}
    for (name, tensor), (theirs, given) in zip(own.items(), loaded.items()):
        layer, _, last = name.rpartition(".")
        other, _, their_last = theirs.rpartition(".")
        fits = last == their_last and layers.setdefault(layer, other) == other
        if not fits or (name in needed and given.shape != tensor.shape):
            shapes = f"{tuple(given.shape)} for {tuple(tensor.shape)}"
            return {}, f"{theirs} stands where {name} is needed ({shapes})"
    if len(set(layers.values())) < len(layers):
        return {}, "one layer of the file stands for several"
    return dict(zip(own, loaded.values())), ""


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
        raise InputError(f"weights {file}: not a state dict ({first_line(error)})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"weights {file}: not a state dict of tensors")
    return state


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
