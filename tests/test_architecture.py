"""Who may import whom, which words there are, and what the repository says of itself."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmark.api import Method, plugins
from benchmark.plan import registry

REPOSITORY = Path(__file__).resolve().parents[1]
PLUGINS = sorted([*REPOSITORY.glob("methods/*.py"), *REPOSITORY.glob("datasets/*.py")])
PACKAGE = REPOSITORY / "benchmark"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ARCHITECTURE = (REPOSITORY / "docs" / "architecture.md").read_text()
PURE = ("api", "plan", "measures", "results", "statistics", "report", "evaluation", "guard")


def imports(path):
    """The names of all modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path):
    """The sub-package of a module; the modules at the top are ``face``."""
    inside = path.relative_to(PACKAGE).parts
    return inside[0] if len(inside) > 1 else "face"


ROOMS = sorted({room(path) for path in SOURCES} - {"face"})


def room_imports():
    """For each room the rooms that its modules import."""
    found = defaultdict(set)
    for path in SOURCES:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "benchmark" and len(parts) > 1:
                found[room(path)].add(parts[1] if parts[1] in ROOMS else "face")
    return {name: found[name] - {name} for name in ROOMS}


def drawn():
    """What the table in docs/architecture.md says: each room, and whom it imports."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", ARCHITECTURE, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", others)) for name, others in rows}


def test_the_drawing_shows_who_imports_whom():
    # `face` are the modules at the top: the mounts of plug-ins and the package's version.
    assert drawn() == room_imports()


def test_nobody_imports_upwards():
    """The rooms of the table stand from the bottom up."""
    below = set()
    for name, others in drawn().items():
        assert others <= below | {"face"}, name
        below.add(name)


def test_the_command_line_is_imported_by_nobody():
    for path in SOURCES:
        if path.name != "__main__.py":
            assert "benchmark.cli" not in imports(path), path


def test_rooms_are_small_and_say_what_they_are_for():
    for name in ROOMS:
        modules = [p for p in (PACKAGE / name).glob("*.py") if p.stem != "__init__"]
        assert len(modules) <= 10, name
        assert ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())), name


def test_no_class_name_occurs_twice():
    names = Counter(
        node.name
        for path in [*SOURCES, *PLUGINS]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in names.items() if count > 1]


def test_every_word_of_the_glossary_is_there():
    places = re.findall(r"`(benchmark\.[\w.]+)`", (REPOSITORY / "docs" / "glossary.md").read_text())
    assert len(places) > 30
    for place in places:
        module, _, name = place.rpartition(".")
        assert hasattr(importlib.import_module(module), name), place


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins_import_the_api_and_third_parties(path):
    own = {name for name in imports(path) if name.split(".")[0] == "benchmark"}
    assert all(name.startswith("benchmark.api") for name in own), own


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins_are_short(path):
    limit = 50 if path.parent.name == "methods" else 80
    assert len(path.read_text().splitlines()) <= limit


def test_only_the_command_line_names_flags():
    """A library, a notebook and a service have none: messages say what, the command line how."""
    for path in [*SOURCES, *PLUGINS]:
        tree = ast.parse(path.read_text())
        documents = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        for node in ast.walk(tree) if path.name != "cli.py" else ():
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and text not in documents and not text.startswith("#"):
                assert not re.search(r"(?<![\w-])--[a-z]", text), (path, text)


DECLARES = ("cli.py", "guard/matrix.py", "plan/presets.py")
"""Files whose data or help may name plug-ins: defaults, examples, the guard's matrix."""


def names_of_plugins(text):
    """Plug-ins that code names in strings other than docstrings.

    A method's name counts wherever it is a word; names of calibrators and data sets are also
    ordinary words (``temperature``, ``folder:``) and count alone.
    """
    methods = {name.partition("[")[0] for name in registry.methods()}
    methods |= {m.name for m in plugins.entries("methods", "METHODS", Method)}
    others = {*registry.calibrators(), *registry.datasets()}
    word = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(methods)))})(?![\w-])")
    tree = ast.parse(text)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
    ]
    return {found for string in strings for found in word.findall(string)} | others & set(strings)


def test_the_package_names_no_plugin():
    modules = {f"benchmark.{path.parent.name}.{path.stem}" for path in PLUGINS}
    for path in REPOSITORY.glob("benchmark/**/*.py"):
        assert not imports(path) & modules, path
        if path.relative_to(REPOSITORY / "benchmark").as_posix() not in DECLARES:
            assert not names_of_plugins(path.read_text(encoding="utf-8")), path


def test_names_of_plugins_are_found_in_strings():
    found = names_of_plugins('"""mhml-4 is a method."""\nA = f"{x} mhml"\nB = ["temperature"]')
    assert found == {"mhml", "temperature"}
    assert names_of_plugins('REFERENCE = "to cross-entropy"') == {"cross-entropy"}
    assert not names_of_plugins('A = "no temperature, no folder: no non-focal entropy"')


def test_the_pure_rooms_do_not_load_torch():
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print('torch' in sys.modules)"
    modules = ["benchmark.cli"] + [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for room in PURE
        for path in REPOSITORY.glob(f"benchmark/{room}/*.py")
        if path.stem != "timing"
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], cwd=REPOSITORY, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_only_a_fit_and_the_guard_s_clock_reach_the_training_loop():
    for path in REPOSITORY.glob("benchmark/**/*.py"):
        if "benchmark.engine.train.train" in imports(path):
            assert path.name in ("fit.py", "timing.py")


def test_nothing_is_unpickled():
    # Spelt in pieces, so that this file does not find itself.
    forbidden = ["pickle" + ".load", "allow_pickle" + "=True", "weights_only" + "=False"]
    for path in [*REPOSITORY.glob("benchmark/**/*.py"), *PLUGINS]:
        for word in forbidden:
            assert word not in path.read_text(), path


def test_the_test_command_is_the_same_everywhere():
    command = "python3 -m venv .venv && .venv/bin/pip install -q tox && .venv/bin/tox"
    assert f"```sh\n{command}\n```" in (REPOSITORY / "README.md").read_text()
    assert (REPOSITORY / ".ci" / "run").read_text().splitlines()[-1] == command
