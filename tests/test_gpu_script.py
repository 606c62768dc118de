"""What the measuring script does around its measurements; these need a GPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "benchmarks" / "gpu.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_script", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def started(script, monkeypatch, tmp_path):
    """Run the script with children that succeed, fail or hang as told; returns who was started."""

    def start(**behaviour):
        names = []

        def child(command, **options):
            name = command[command.index("--only") + 1]
            names.append(name)
            how = behaviour.get(name.replace("-", "_"), "ends well")
            if how == "hangs":
                raise subprocess.TimeoutExpired(command, options["timeout"])
            if how == "ends well":
                numbers = {"images_per_second": 100.0} if name.startswith("paper") else {}
                if name.startswith("ceiling"):
                    numbers = {"engine_to_best_ceiling": {"graph": 0.97},
                               "ceiling_images_per_second": {"graph": 2000.0}}  # fmt: skip
                script.write(tmp_path / f"{name}.json", numbers)
            code = int(how == "fails")
            return subprocess.CompletedProcess(command, code, "", "Traceback\nError: too hot\n")

        monkeypatch.setattr(script.subprocess, "run", child)
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--out", str(tmp_path)])
        assert script.main() == 0
        return names

    return start


def test_what_is_measured_is_not_measured_again(script, started, tmp_path):
    everything = [name for name, _ in script.measurements(script.TINY)]
    assert started() == everything
    (tmp_path / "paper-loop.json").unlink()
    assert started() == ["paper-loop"]
    assert started() == []
    text = (tmp_path / "speed.md").read_text()
    assert "of it the engine: graph 0.970" in text


def test_what_failed_is_named_and_tried_again(started, tmp_path):
    started(paper_loop="fails", paper_engine_bf16="hangs")
    assert json.loads((tmp_path / "paper-loop.json").read_text()) == {"failed": "Error: too hot"}
    text = (tmp_path / "speed.md").read_text()
    assert "paper-loop: not measured: Error: too hot" in text
    assert "paper-engine-bf16: not measured: not done after" in text
    assert started() == ["paper-loop", "paper-engine-bf16"]


def test_every_measurement_of_the_plan_has_its_own_name(script):
    names = [name for name, _ in script.measurements(script.Scale())]
    assert len(set(names)) == len(names)
    assert {
        "ceiling-resnet50-batch-8",
        "ceiling-convnext_tiny-batch-128",
        "paper-loop",
        "paper-engine-float32",
        "paper-engine-bf16-4-at-once",
        "heads-batch-8",
    } <= set(names)
