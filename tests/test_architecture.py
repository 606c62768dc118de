"""Who may import whom, and what the repository says of itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PLUGINS = sorted([*REPOSITORY.glob("methods/*.py"), *REPOSITORY.glob("datasets/*.py")])
PURE = ("api", "plan", "measures", "results", "statistics", "report", "guard")


def imports(path):
    """The names of all modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins_import_the_api_and_third_parties(path):
    own = {name for name in imports(path) if name.split(".")[0] == "benchmark"}
    assert all(name.startswith("benchmark.api") for name in own), own


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins_are_short(path):
    limit = 40 if path.parent.name == "methods" else 80
    assert len(path.read_text().splitlines()) <= limit


def test_the_engine_names_no_plugin():
    names = {f"benchmark.{path.parent.name}.{path.stem}" for path in PLUGINS}
    for path in REPOSITORY.glob("benchmark/**/*.py"):
        assert not imports(path) & names, path


def test_the_pure_rooms_do_not_load_torch():
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print('torch' in sys.modules)"
    modules = ["benchmark.cli"] + [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for room in PURE
        for path in REPOSITORY.glob(f"benchmark/{room}/*.py")
        if path.stem not in ("timing", "invariants")
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], cwd=REPOSITORY, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_statistics_and_report_do_not_know_the_engine():
    engine = {"run", "fit", "train", "predict", "network", "batches", "store", "plan", "manifest",
              "registry", "leaderboard", "cli", "images"}  # fmt: skip
    for folder in ("stats", "report"):
        for path in REPOSITORY.glob(f"benchmark/{folder}/*.py"):
            own = {n.split(".")[1] for n in imports(path) if n and n.startswith("benchmark.")}
            assert not own & engine, path


def test_only_a_fit_and_the_guard_s_clock_reach_the_training_loop():
    for path in REPOSITORY.glob("benchmark/**/*.py"):
        if "benchmark.engine.train" in imports(path):
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
