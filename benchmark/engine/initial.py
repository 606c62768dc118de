"""Initial weights of further heads, drawn without making a network around each of them.

Head m's classifier is, to the bit, what the making of a whole network with m's seed would give it:
what other layers draw before it moves torch's generator. So all that the first network drew is
noted, and drawn again from another seed; numbers of other layers are dropped at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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
