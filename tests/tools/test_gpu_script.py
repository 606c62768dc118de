"""What the measuring script does around its measurements; most of these need a GPU."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import gpu


@pytest.fixture
def script():
    return gpu


@pytest.fixture
def started(script, monkeypatch, tmp_path):
    """Run the script with children that succeed, fail or hang as told; returns who was started."""

    def start(*options, **behaviour):
        names = []

        def child(command, seconds):
            name = command[command.index("--only") + 1]
            names.append(name)
            how = behaviour.get(name.replace("-", "_"), "ends well")
            if how == "hangs":
                raise subprocess.TimeoutExpired(command, seconds)
            if how == "fails":
                return "Error: too hot"
            speeds = {"images_per_second": 100.0, "ceiling_images_per_second": 80.0}
            if name.endswith("eager"):
                speeds["ceiling_images_per_second"] = 125.0
            others = {"passed": True, "reason": "well", "train_ratio": 1.0, "predict_ratio": 1.0}
            script.write(tmp_path / f"{name}.json", speeds | others)
            return None

        monkeypatch.setattr(script, "attempt", child)
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--out", str(tmp_path), *options])
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
    assert "engine 100: 0.800 of the best" in text


def test_what_failed_is_named_and_tried_again_last(started, tmp_path):
    everything = started(paper_loop="fails", paper_engine_bf16_eager="hangs")
    assert json.loads((tmp_path / "paper-loop.json").read_text()) == {"failed": "Error: too hot"}
    text = (tmp_path / "speed.md").read_text()
    assert "paper-loop: not measured: Error: too hot" in text
    assert "paper-engine-bf16-eager: not measured: not done after 420 s" in text
    (tmp_path / f"{everything[-1]}.json").unlink()
    assert started() == [everything[-1], "paper-loop", "paper-engine-bf16-eager"]


def test_a_short_time_left_is_no_failure_and_no_start(started, tmp_path):
    assert "paper-loop" in started("--minutes", "5", paper_loop="hangs")
    assert not (tmp_path / "paper-loop.json").exists()
    assert started("--minutes", "0.9") == []
    assert started() == ["paper-loop"]


def test_the_plan_begins_with_what_matters_most(script):
    names = [name for name, _ in script.measurements(script.Scale())]
    assert len(set(names)) == len(names)
    kinds = list(dict.fromkeys(name.partition("-")[0] for name in names))
    assert kinds == ["check", "ceiling", "paper", "heads"]
    assert {
        "ceiling-resnet50-batch-8-eager",
        "ceiling-convnext_tiny-batch-128-eager",
        "paper-loop",
        "paper-engine-float32-eager",
        "paper-engine-bf16-4-at-once",
        "heads-batch-8-mhml-10",
    } <= set(names)


def test_the_whole_family_of_a_slow_measurement_ends(script, tmp_path):
    code = (
        "import subprocess, sys, time; c = [sys.executable, '-c', 'import time; time.sleep(60)'];"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(subprocess.Popen(c).pid)); time.sleep(60)"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        script.attempt([sys.executable, "-c", code], 2)
    status = Path("/proc") / (tmp_path / "pid").read_text() / "status"
    for _ in range(50):  # it may wait for its new parent to take notice
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("the grandchild lives")


def test_a_failed_measurement_tells_its_last_words(script):
    code = "import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)"
    assert script.attempt([sys.executable, "-c", code], 20) == "last"
    code = "raise RuntimeError('CUDA error: too hot\\nCompile with this, set that.')"
    assert script.attempt([sys.executable, "-c", code], 20) == "RuntimeError: CUDA error: too hot"
    assert script.attempt([sys.executable, "-c", "pass"], 20) is None


def test_fits_at_once_do_not_wait_for_one_that_failed(script, tmp_path):
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="exit code 3"):
        script.together(_fail_or_wait, (tmp_path,), 2, 200)
    assert time.monotonic() - started < 100


def _fail_or_wait(folder, results, barrier):
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        barrier.wait()
    else:
        sys.exit(3)


def test_fits_at_once_count_from_the_first_start_to_the_last_end(script, monkeypatch):
    each = [
        {"images": 100, "images_per_second": 50.0, "first": 10.0, "last": 12.0},
        {"images": 100, "images_per_second": 50.0, "first": 11.0, "last": 15.0},
    ]
    monkeypatch.setattr(script, "together", lambda *_: each)
    assert script.paper_several(script.TINY, "bf16", 2, 9)["images_per_second"] == 40.0


def test_checks_see_what_is_wrong(script, monkeypatch):
    assert script.check(script.masks_differ)["passed"]
    assert script.check(script.equal_seeds_equal_weights)["passed"]
    assert script.check(script.looking_loss_falls_back)["passed"]
    monkeypatch.setattr(script.Toy, "losses", lambda *_: ("graph", [1.0, 1.0, 1.0]))
    found = script.check(script.masks_differ)
    assert not found["passed"]
    assert "0 with dropout" in found["reason"]
    assert not script.check(script.looking_loss_falls_back)["passed"]
    monkeypatch.setattr(script.Toy, "fit", lambda toy: 1 / 0)
    assert "ZeroDivisionError" in script.check(script.equal_seeds_equal_weights)["reason"]
