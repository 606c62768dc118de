"""Addresses by meaning: a fit's key follows from what changes its result, and nothing else.

What is left at its default, docstrings, comments, types and error messages do not count; so a new
setting with a neutral default changes no key. Of the engine's own code :data:`FORMAT` stands for
everything; of a plug-in its code counts. A record states all values that it was made with, and is
used only if they agree with those asked for: that catches a default that was changed.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from benchmark.api import Recipe

FORMAT = 3
"""Raise it when the engine's training or prediction changes: every fit is then made anew."""


def digest(description: object) -> str:
    """A digest of plain JSON values that does not depend on the order of keys."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def changed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their defaults, or have none."""
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != _default(field)
    }


def agrees(stated: Mapping[str, Any], value: Any) -> bool:
    """Whether values stated in a record are those of a dataclass.

    A field that did not exist when the record was made agrees at its default.
    """
    now = _plain(dataclasses.asdict(value))
    defaults = {f.name: _plain(_default(f)) for f in dataclasses.fields(value)}
    return stated.keys() <= now.keys() and all(
        stated.get(name, defaults[name]) == given for name, given in now.items()
    )


def _plain(value: Any) -> Any:
    """As it comes back from a file; what cannot lie in one is only itself."""
    return value if value is dataclasses.MISSING else json.loads(json.dumps(value))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def recipe_address(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe changes a training: parameters, and the code of its plug-in."""
    kind: Any = type(recipe)
    return {"parameters": changed(recipe), "code": plugin_code(kind)}


@functools.cache
def plugin_code(kind: Any) -> list[str]:
    """A digest of the code of a class and of its bases, but for those that the benchmark brings.

    The whole file of each counts, and the plug-in files that it imports, for a helper may change
    what a class does; but not its lists of entries and what only they use.
    """
    return [
        f"{base.__qualname__}:{digest(sorted(_sources(base.__module__, {}).values()))}"
        for base in kind.__mro__
        if base is not object and not base.__module__.startswith("benchmark.api")
        and base.__module__ not in ("abc", "typing")
    ]  # fmt: skip


def _sources(module: str, found: dict[str, str]) -> dict[str, str]:
    """The code of a module, and of the plug-ins that it imports, by name."""
    try:
        text = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):  # in no file, as in an interactive session
        text = repr(module)
    tree = ast.parse(textwrap.dedent(text))
    tree.body = [node for node in tree.body if not _assigns(node, _LISTS)]
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    tree.body = [
        node
        for node in tree.body
        if not isinstance(node, ast.Assign | ast.AnnAssign) or _assigns(node, used)
    ]
    found[module] = ast.unparse(without_words(tree))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = "benchmark.methods" if node.level else node.module or ""
            inside = f"{package}.{node.module}" if node.level and node.module else package
            names = [inside, *(f"{inside}.{alias.name}" for alias in node.names)]
        for name in names:
            own = name.startswith("benchmark.methods.") and name in sys.modules
            if own and name not in found:
                _sources(name, found)
    return found


_LISTS = {"METHODS", "CALIBRATORS", "DATASETS"}


def _assigns(node: ast.stmt, names: set[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return any(not isinstance(t, ast.Name) or t.id in names for t in targets)


def without_words(tree: ast.AST) -> ast.AST:
    """The code without what is said in it: docstrings, types and error messages."""
    return _WithoutWords().visit(tree)  # type: ignore[no-any-return]


class _WithoutWords(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant):  # a docstring
            return None
        call = node.value
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "require":
            call.args = call.args[:1]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        node.cause = None
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._with_body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._with_body(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant("")
        return self.generic_visit(node)

    def _with_body(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node  # type: ignore[no-any-return]
