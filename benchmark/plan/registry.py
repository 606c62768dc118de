"""Finds the plug-ins, and selects methods and data sets by what was typed."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmark.api import Calibrator, Dataset, HandedInDataset, InputError, Method, Recipe, require
from benchmark.api.plugins import cached, entries, unique
from benchmark.plan.presets import PRESETS, Preset

T = TypeVar("T", Method, Calibrator, Dataset)
Named = TypeVar("Named", bound=Any)


@cached
def methods() -> dict[str, Method]:
    """Every registered method by name; families appear as their variants."""
    families = entries("methods", "METHODS", Method)
    return unique("method", [method for entry in families for method in _each(entry)])


@cached
def calibrators() -> dict[str, Calibrator]:
    """Every registered post-hoc calibrator by name."""
    return unique("calibrator", entries("methods", "CALIBRATORS", Calibrator))


@cached
def datasets() -> dict[str, Dataset]:
    """Every registered data set by name; a name ending in ``:`` or ``/`` takes an argument."""
    return unique("data set", entries("datasets", "DATASETS", Dataset))


def select_methods(text: str, changes: Mapping[str, Any] | None = None) -> list[Method]:
    """Methods by name or glob, as typed: ``all``, ``mhml-*``, ``mhml[heads=6]+temperature``.

    A method that equals a registered one by value takes its name, so nothing is listed twice.

    Args:
        text: names with parameters and calibrators, separated by commas.
        changes: a preset's own values of parameters, where a method has them; what is typed wins.

    Raises:
        InputError: an unknown name (with the nearest ones), parameter or calibrator.
    """
    chosen: dict[str, Method] = {}
    known = {name: _changed(method, changes or {}) for name, method in methods().items()}
    families = {name: _changed(method, changes or {}) for name, method in _families().items()}
    for word in split_top(text, ","):
        body, *suffixes = split_top(word, "+")
        require(len(suffixes) <= 1, f"{word!r}: one calibrator at most may follow a method")
        name, parameters = _bracket(body)
        for method in _match_methods(name, parameters, known, families):
            changed = _with_parameters(method, parameters)
            if suffixes:
                _look_up(suffixes[0], calibrators(), "calibrator")
                changed = dataclasses.replace(changed, calibrator=suffixes[0])
            changed = _canonical(changed, known)
            chosen.setdefault(changed.name, changed)
    require(bool(chosen), "no method is selected: name at least one (see `list methods`)")
    return list(chosen.values())


def select_datasets(
    text: str, root: Path = Path("data"), on_duplicates: str | None = None
) -> list[Dataset]:
    """Data sets by name or glob, as typed: ``digits,csv:FILE[group=patient]``.

    ``all`` is every data set that needs no argument.

    Args:
        text: names with parameters, separated by commas; a path may hold commas, too.
        root: folder of the data sets, where paths may lead.
        on_duplicates: the value of this parameter for those that have it and do not state it.

    Raises:
        InputError: an unknown name (with the nearest ones) or parameter, or a comma that can be
            read in two ways.
    """
    chosen: dict[str, Dataset] = {}
    for word in _dataset_words(text, root):
        found, parameters = _find_datasets(word)
        for dataset in found:
            own = dict(parameters)
            if getattr(dataset, "on_duplicates", on_duplicates) != on_duplicates is not None:
                own.setdefault("on_duplicates", on_duplicates)
            label = _label(dataset.name, own)
            changed = _replace(dataset, {"name": label, **own}, dataset.name)
            require(
                chosen.setdefault(changed.name, changed) == changed,
                f"two data sets would be called {changed.name!r}: give each its own [name=...]",
            )
    require(bool(chosen), "no data set is selected: name at least one (see `list datasets`)")
    return list(chosen.values())


def select_preset(text: str) -> Preset:
    """A preset as typed: ``quick``, or with other numbers ``quick[epochs=5,size=64]``.

    Raises:
        InputError: an unknown preset or setting.
    """
    name, parameters = _bracket(text)
    preset = _look_up(name, PRESETS, "preset")
    if not parameters:
        return preset
    for key in ("backbone", "weights"):
        require(key not in parameters, f"preset {text!r}: {key} is given apart from the preset")
    settings = _replace(preset.settings, parameters, f"preset {name}")
    return dataclasses.replace(preset, name=_label(name, parameters), settings=settings)


def parameters_of(method: Method) -> dict[str, Any]:
    """The parameters of a method that can be set in brackets, with their values."""
    values = {f.name: getattr(method.recipe, f.name) for f in dataclasses.fields(method.recipe)}
    return values | {"members": method.members, "passes": method.passes}


def split_top(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside brackets; empty pieces are dropped."""
    return [piece.strip() for piece in _split(text, separator) if piece.strip()]


def _split(text: str, separator: str) -> list[str]:
    pieces, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        require(depth >= 0, f"{text!r}: a closing bracket without its opening one")
        if character == separator and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    require(depth == 0, f"{text!r}: an opening bracket without its closing one")
    return pieces


# --- families --------------------------------------------------------------------------------


def _each(entry: Method) -> list[Method]:
    if entry.variants is None:
        return [entry]
    parameter, values = entry.variants
    return [_with_parameters(entry, {parameter: value}) for value in values]


def _families() -> dict[str, Method]:
    return {m.name: m for m in entries("methods", "METHODS", Method) if m.variants is not None}


# --- matching ------------------------------------------------------------------------------


def _changed(method: Method, changes: Mapping[str, Any]) -> Method:
    fields = {f.name for f in dataclasses.fields(method.recipe)}
    own = {name: value for name, value in changes.items() if name in fields}
    return dataclasses.replace(method, recipe=dataclasses.replace(method.recipe, **own))


def _match_methods(
    name: str,
    parameters: Mapping[str, str],
    known: Mapping[str, Method],
    families: Mapping[str, Method],
) -> list[Method]:
    family = families.get(name)
    if family is None or family.variants is None:
        return _match(name, known, "method")
    return [family] if family.variants[0] in parameters else _each(family)


def select_glob(text: str, known: Mapping[str, Named], kind: str) -> list[Named]:
    """Values by comma-separated names or globs.

    Raises:
        InputError: an unknown name, with the nearest ones.
    """
    words = split_top(text, ",")
    return list(dict.fromkeys(v for word in words for v in _match(word, known, kind)))


def _find_datasets(word: str) -> tuple[list[Dataset], dict[str, str]]:
    """The data sets of one word, without its parameters, and these."""
    typed, parameters = _bracket(word)
    family = next((d for n, d in datasets().items() if n[-1] in ":/" and typed.startswith(n)), None)
    if family is None:
        plain = {n: d for n, d in datasets().items() if n[-1] not in ":/"}
        if typed != "all" and not any(c in typed for c in "*?"):
            _look_up(typed, datasets(), "data set")  # its message names csv: and the like too
        return _match(typed, plain, "data set"), parameters
    argument = typed[len(family.name) :]
    require(bool(argument), f"{word!r}: say which, as in {family.name}NAME")
    own: dict[str, Any] = {}
    if isinstance(family, HandedInDataset):
        typed, own = family.name + family.short(argument), {"named": "name" in parameters}
    return [dataclasses.replace(family, name=typed, argument=argument, **own)], parameters


def _dataset_words(text: str, root: Path) -> list[str]:
    """The words of a list of data sets: a comma stands between them, or in a path that exists."""
    pieces, words = [piece for piece in _split(text, ",") if piece.strip()], []
    while pieces:
        first, *rest = map(str.strip, pieces)
        place, number = _place(first, root), 1
        if place is not None and rest:
            joined = {n: ",".join(pieces[:n]).strip() for n in range(2, len(pieces) + 1)}
            there = {n: w for n, w in joined.items() if (p := _place(w, root)) and p.exists()}
            apart = rest[: min(there, default=2) - 1]
            if there and place.exists() and all(map(_is_known, apart)):
                there[1] = " and ".join((first, *apart))
            if len(there) > 1:
                raise InputError(
                    f"{text!r} can be read in several ways, for all of it exists: "
                    f"{' or '.join(there[n] for n in sorted(there))}. Rename one, or write {first} "
                    "last"
                )
            if not there and not place.exists() and not _is_known(rest[0]):
                raise InputError(f"no {first} and {rest[0]}, nor {joined[2]}: nothing is there")
            number = next(iter(there), 1)
        words.append(",".join(pieces[:number]).strip())
        pieces = pieces[number:]
    return words


def _is_known(word: str) -> bool:
    try:
        return bool(_find_datasets(word))
    except InputError:
        return False


def _place(word: str, root: Path) -> Path | None:
    """Where the path of a word leads, if it has one."""
    if _is_known(word):
        (dataset, *_), _ = _find_datasets(word)
        if isinstance(dataset, HandedInDataset):
            return dataset.place(root)
    return None


def _match(pattern: str, known: Mapping[str, Named], kind: str) -> list[Named]:
    if pattern == "all":
        return list(known.values())
    if any(c in pattern for c in "*?"):
        names = fnmatch.filter(known, pattern)
        require(bool(names), f"no {kind} matches {pattern!r}; known: {', '.join(known)}")
        return [known[name] for name in names]
    return [_look_up(pattern, known, kind)]


def _look_up(name: str, known: Mapping[str, Named], kind: str) -> Named:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise InputError(f"unknown {kind} {name!r}; {hint}")


def _bracket(text: str) -> tuple[str, dict[str, str]]:
    if not text.endswith("]"):
        return text, {}
    name, _, inside = text[:-1].partition("[")
    parameters = {}
    for assignment in split_top(inside, ","):
        key, equals, value = assignment.partition("=")
        require(bool(equals and key and value), f"{text!r}: write parameters as [name=value]")
        parameters[key.strip()] = value.strip()
    return name, parameters


def _with_parameters(method: Method, parameters: Mapping[str, Any]) -> Method:
    """The method with other parameters, named after them: the family mhml becomes mhml-6."""
    recipe_fields = {f.name for f in dataclasses.fields(method.recipe)}
    own = {k: v for k, v in parameters.items() if k in ("members", "passes")}
    recipe_part = {k: v for k, v in parameters.items() if k not in own}
    for key in recipe_part:
        if key not in recipe_fields:
            known = ", ".join(parameters_of(method))
            raise InputError(f"{method.name} has no parameter {key!r}; it has: {known}")
    recipe: Recipe = _replace(method.recipe, recipe_part, method.name)
    changed = _replace(dataclasses.replace(method, recipe=recipe), own, method.name)
    name, rest = method.name, dict(parameters)
    if method.variants is not None:
        parameter = method.variants[0]
        name = f"{method.name}-{getattr(recipe, parameter)}"
        rest.pop(parameter, None)
    return dataclasses.replace(changed, name=_label(name, rest), variants=None)


def _canonical(method: Method, registered: Mapping[str, Method]) -> Method:
    """The method under the name of the registered one that equals it by value, if there is one."""
    for calibrator in dict.fromkeys((method.calibrator, None)):
        for known in registered.values():
            if _value(known) == (*_value(method)[:-1], calibrator):
                if calibrator == method.calibrator:
                    return known
                name = f"{known.name}+{method.calibrator}"
                return dataclasses.replace(method, name=name)
    suffix = f"+{method.calibrator}" if method.calibrator else ""
    return dataclasses.replace(method, name=method.name + suffix)


def _value(method: Method) -> tuple[Recipe, int, int, str | None]:
    return (method.recipe, method.members, method.passes, method.calibrator)


def _label(name: str, parameters: Mapping[str, Any]) -> str:
    inside = ",".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    return f"{name}[{inside}]" if inside else name


def _replace(value: Named, parameters: Mapping[str, Any], what: str) -> Named:
    """``dataclasses.replace`` with texts turned into the types of the values they replace."""
    known = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    changes = {}
    for key, text in parameters.items():
        if key not in known:
            raise InputError(f"{what} has no parameter {key!r}; it has: {', '.join(known)}")
        changes[key] = _convert(text, known[key], f"{what}[{key}={text}]")
    try:
        return dataclasses.replace(value, **changes)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _convert(text: Any, like: Any, what: str) -> Any:
    if not isinstance(text, str) or isinstance(like, str):
        return text
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(like, int | float):
            number = type(like)(text)
            if not math.isfinite(number):
                raise ValueError
            return number
    except (KeyError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(like)]
        raise InputError(f"{what}: {text!r} is not {kind}") from None
    raise InputError(f"{what}: this parameter cannot be set by text")
