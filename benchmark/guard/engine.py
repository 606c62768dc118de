"""Has the code that makes fits changed, and do they still predict the same?

The address of a fit in the store does not depend on this code: ``FORMAT`` alone says which engine
made it. A change must therefore leave all predictions as they are, to the last bit, or raise
``FORMAT``; otherwise old fits would pass for new ones.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.api import InputError
from benchmark.guard.verdicts import Comparison, Verdict
from benchmark.plan.addresses import FORMAT, without_words

PACKAGE = Path(__file__).resolve().parents[1]

DECIDES = (
    "engine/*.py",
    "data/images.py",
    "plan/folds.py",
    "plan/seeding.py",
    "plan/cells.py",
    "api/method.py:Recipe",
    "data/material.py",
    "running/reading.py",
    "running/prepare.py",
    "running/execute.py",
    "running/calibrate.py",
    "api/calibrator.py",
    "results/members.py",
)
"""All code that decides what is stored under an address: files, or one class of a file. Numbers of
presets and the code of plug-ins are no part of it: addresses depend on them."""

STATE = "let the baseline state the new code: tools.guard_digest, as CONTRIBUTING.md says"
RAISE = "raise FORMAT, and make a new baseline: every fit is then made anew"


@dataclass(frozen=True)
class Engine:
    """The code that makes fits, as the baseline states it.

    Attributes:
        format: its ``FORMAT``.
        reason: how it is known that it predicts what the baseline holds.
        digests: of its code, by file.
    """

    format: int
    reason: str
    digests: Mapping[str, str]


def current(reason: str = "", package: Path = PACKAGE) -> Engine:
    """This tree's engine.

    Raises:
        InputError: a file or class that decides about predictions is gone.
    """
    return Engine(FORMAT, reason, digests(package))


def digests(package: Path = PACKAGE) -> dict[str, str]:
    """A digest of the code of each file that decides about predictions.

    Docstrings, comments, formatting, annotations and the messages of errors do not count.
    """
    found = {}
    for pattern in DECIDES:
        files, _, name = pattern.partition(":")
        paths = sorted(package.glob(files))
        for path in paths:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if name:
                tree.body = [node for node in tree.body if getattr(node, "name", "") == name]
            found[path.relative_to(package).as_posix()] = _digest(tree)
        if not paths or (name and not tree.body):
            raise InputError(f"{package}: there is no {pattern} any more; mend DECIDES")
    return found


def compare(
    old: Engine | None, new: Engine, same: bool | None, elsewhere: Sequence[str]
) -> Comparison:
    """The verdict on a changed engine.

    Args:
        old: the baseline's, if it states one.
        new: this tree's.
        same: whether all predictions are bit-equal to the baseline's; None if that cannot be known.
        elsewhere: versions and hardware that are not the baseline's.
    """
    verdict: Verdict
    if old is None:
        verdict, note = "not compared", f"the baseline does not state it: {STATE}"
    elif new.format > old.format:
        verdict = "not compared"
        note = f"FORMAT was raised from {old.format} to {new.format}: make a new baseline with it"
    elif new.format < old.format:
        verdict = "regressed"
        note = f"FORMAT fell from {old.format} to {new.format}: old fits would pass for new ones"
    elif not (files := changed(old, new)):
        verdict, note = "identical", ""
    elif same:
        verdict, note = "unchanged", f"{files} changed, all predictions are bit-equal: {STATE}"
    elif same is None:
        verdict = "not compared"
        note = (
            f"{files} changed, and whether predictions are still bit-equal cannot be known "
            f"({'; '.join(elsewhere) or 'not all could be compared'}). Show it on one machine "
            "with a baseline that the tree before the change makes there, and "
            f"{STATE}; or {RAISE}"
        )
    else:
        verdict = "regressed"
        note = (
            f"{files} changed, and predictions with it, but FORMAT is still {old.format}: stored "
            f"fits would pass for new ones. If the change was meant, {RAISE}"
        )
    return Comparison(kind="engine", what="code of the engine", verdict=verdict, note=note)


def changed(old: Engine, new: Engine) -> str:
    """Names of the files whose code differs."""
    names = sorted({*old.digests, *new.digests})
    return ", ".join(n for n in names if old.digests.get(n) != new.digests.get(n))


def _digest(tree: ast.Module) -> str:
    bare = without_words(tree)
    used = {node.id for node in ast.walk(bare) if isinstance(node, ast.Name)}
    for node in ast.walk(bare):
        if isinstance(node, (ast.Import, ast.ImportFrom)):  # what only annotations used goes, too
            node.names = [a for a in node.names if (a.asname or a.name).split(".")[0] in used]
    return hashlib.sha256(json.dumps(_plain(bare)).encode()).hexdigest()[:16]


def _plain(node: object) -> object:
    """Code as lists that are the same in all versions of Python."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _only_for_types(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.AnnAssign) and node.value:
        node = ast.Assign([node.target], node.value)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [type(node).__name__, *([name, _plain(value)] for name, value in fields)]


def _only_for_types(node: object) -> bool:
    match node:
        case ast.Import(names=[]) | ast.ImportFrom(names=[]) | ast.If(ast.Name("TYPE_CHECKING")):
            return True
    return False
