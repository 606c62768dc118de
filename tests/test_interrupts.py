"""Ctrl-C and killed workers, with real processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SAID = r"interrupted: .* stored.*, and the same command goes on from there\n"
RUN = ["--datasets", "simulated[train=3000,calibration=60,test=90]", "--device", "cpu",
       "--preset", "quick[epochs=40]", "--methods", "cross-entropy,focal",
       "--folds", "1"]  # fmt: skip


def start(*words):
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run(folder, *words):
    places = ["--results", str(folder / "results"), "--data-root", str(folder / "data")]
    return start("-m", "benchmark", "run", *RUN, *words, *places)


def children(process):
    """The processes that work for it, by what they are called."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            words = path.with_name("cmdline").read_text()
        except OSError:
            continue
        if int(parent) == process.pid and state != "Z":
            found[int(path.parent.name)] = words
    return found


def workers(process):
    return [pid for pid, words in children(process).items() if "popen_loky" in words]


def wait_until(true, process, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupt(process, times=1):
    """Ctrl-C, which a terminal sends to all of a group: seconds to the end, output and errors."""
    group, began = list(children(process)), time.monotonic()
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    out, errors = process.communicate(timeout=30)
    took = time.monotonic() - began
    for pid in group:
        wait_until(lambda pid=pid: not is_alive(pid), Ended())
    return took, out, errors


class Ended:
    """A process that need not be alive."""

    def poll(self):
        return None

    def communicate(self):
        return "processes are left over"


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_ended(process, took, errors):
    assert process.returncode == 130, errors
    assert re.search(SAID + r"\Z", errors), errors
    assert errors.count("interrupted: ") == 1
    assert "Traceback" not in errors
    assert "leaked" not in errors
    assert took < 5  # two seconds, on a machine that does other things


# --- whatever the process does -------------------------------------------------------------

BODIES = {
    "python": "while True: pass",
    "sleeps": "time.sleep(99)",
    "swallows it": "try: time.sleep(99)\n    except BaseException: time.sleep(99)",
    "makes another error of it": "try: time.sleep(99)\n    finally: absent",
    "does not come back": "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    "waits for threads": ("with ThreadPoolExecutor() as e: list(e.map(time.sleep, [99] * 4))"),
    "is in a callback": (
        "class A:\n        def __del__(self): time.sleep(99)\n    A(); time.sleep(99)"
    ),
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_ctrl_c_ends_whatever_is_done(body, times):
    code = (
        "import hashlib, time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from benchmark import interrupts\nwith interrupts.watched():\n"
        f"    print('ready', flush=True)\n    {body}\n"
    )
    process = start("-c", code)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    took, _, errors = interrupt(process, times)
    assert_ended(process, took, errors)
    assert errors.count("\n") == 1


def test_a_job_in_the_background_is_not_interrupted():
    code = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from benchmark import interrupts\nwith interrupts.watched():\n"
        "    print('ready', flush=True)\n    time.sleep(1)\n"
    )
    process = start("-c", code)
    assert process.stdout.readline() == "ready\n"
    _, _, errors = interrupt(process)
    assert (process.returncode, errors) == (0, "")


# --- a run, at any moment ------------------------------------------------------------------


def left_over(folder):
    """Files that nobody asked for."""
    names = [path.name for path in folder.rglob("*")]
    return [n for n in names if n.startswith((".part", "run-")) or n.endswith((".tmp", ".part"))]


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (lambda process, folder: time.sleep(0.3), ()),
        (lambda process, folder: time.sleep(2), ()),
        (lambda process, folder: wait_until(lambda: children(process), process), ("--jobs", "2")),
        (lambda process, folder: wait_until(lambda: workers(process), process), ("--jobs", "2")),
        (
            lambda process, folder: (
                wait_until(lambda: len(workers(process)) == 2, process), time.sleep(4)
            ),
            ("--jobs", "2"),
        ),
        (
            lambda process, folder: (
                wait_until((folder / "results" / "manifest.json").exists, process), time.sleep(2)
            ),
            ("--jobs", "1"),
        ),
    ],
    ids=["imports", "imports later", "first process", "first worker", "training", "in one process"],
)  # fmt: skip
def test_a_run_is_interrupted(tmp_path, moment, words):
    process = run(tmp_path, *words)
    moment(process, tmp_path)
    took, _, errors = interrupt(process)
    assert_ended(process, took, errors)
    assert left_over(tmp_path) == []


def test_what_is_stored_is_said_and_used_again(tmp_path):
    process = run(tmp_path, "--jobs", "1", "--preset", "quick[epochs=10]")
    store = tmp_path / "results" / "store"
    wait_until(lambda: list(store.glob("*.npz")), process)
    took, _, errors = interrupt(process)
    assert_ended(process, took, errors)
    number = len(list(store.glob("*.npz")))
    assert f"interrupted: {number} of 2 fits are stored in {tmp_path / 'results'}, and" in errors
    process = run(tmp_path, "--jobs", "1", "--preset", "quick[epochs=10]", "--dry-run")
    plan, _ = process.communicate()
    assert f"{number} fits already stored, {2 - number} to train" in plan


def test_a_killed_worker_is_one_message_that_names_the_fits(tmp_path):
    process = run(tmp_path, "--jobs", "2")
    wait_until(lambda: len(workers(process)) == 2, process)
    time.sleep(2)
    os.kill(workers(process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = (line for line in errors.splitlines() if line.startswith("error:"))
    assert "a worker process was killed" in line
    assert "cross-entropy on simulated" in line
    assert "focal on simulated" in line
    assert "fewer fits at once" in line
    assert "Traceback" not in errors
    assert "--" not in line
    assert left_over(tmp_path) == []
