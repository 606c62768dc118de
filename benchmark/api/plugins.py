"""Finds plug-ins: the folders of this repository, and one of the user's own."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from benchmark.api.errors import InputError, require

Named = TypeVar("Named", bound=Any)

Value = TypeVar("Value")

FOLDERS = ("methods", "datasets", "metrics")

_caches: list[Callable[[], None]] = []


def cached(function: Callable[[], Value]) -> Callable[[], Value]:
    """Call a function once, and once again when plug-ins are mounted."""
    kept = functools.cache(function)
    _caches.append(kept.cache_clear)
    return kept


def mount(folder: str) -> None:
    """Add a user's own ``methods/``, ``datasets/`` and ``metrics/``, here and in workers.

    Raises:
        InputError: there is no such folder.
    """
    require(os.path.isdir(folder), f"plug-ins: there is no folder {folder}")
    os.environ["BENCHMARK_PLUGINS"] = os.path.abspath(folder)
    for name in list(sys.modules):
        if name.startswith(tuple(f"benchmark.{folder}." for folder in FOLDERS)):
            del sys.modules[name]
    importlib.invalidate_caches()
    for name in FOLDERS:
        importlib.reload(importlib.import_module(f"benchmark.{name}"))
    clear()
    if "joblib" in sys.modules:  # workers that run already know of no other folder
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


def clear() -> None:
    """Look everything up anew."""
    for forget in _caches:
        forget()


def entries(folder: str, attribute: str, kind: Any) -> list[Any]:
    """What the files of a folder list under a name.

    Args:
        folder: one of :data:`FOLDERS`.
        attribute: such as ``METHODS``.
        kind: what each entry must be.

    Raises:
        InputError: a file cannot be imported, or lists something else.
    """
    found = []
    for module in _modules(folder):
        for entry in getattr(module, attribute, ()):
            if not isinstance(entry, kind):
                raise InputError(
                    f"{module.__file__}: {attribute} holds {entry!r}, not a {kind.__name__}"
                )
            found.append(entry)
    return found


def _modules(folder: str) -> list[ModuleType]:
    package = importlib.import_module(f"benchmark.{folder}")
    found = []
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        name = f"benchmark.{folder}.{info.name}"
        try:
            found.append(importlib.import_module(name))
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the plug-in {folder}/{info.name}.py cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
    return found


def unique(kind: str, found: Iterable[Named]) -> dict[str, Named]:
    """Entries by name.

    Raises:
        InputError: two have one name.
    """
    named: dict[str, Named] = {}
    for entry in found:
        require(entry.name not in named, f"two plug-ins define the {kind} {entry.name!r}")
        named[entry.name] = entry
    return named
