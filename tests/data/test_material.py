"""The folders of runs: locked, swept when left, and never swept while a run begins."""

import subprocess
import sys
from pathlib import Path

from benchmark.data.material import RUN, run_folder

BEGIN = """
import sys
from pathlib import Path
from benchmark.data.material import run_folder
print("ready", flush=True)
sys.stdin.readline()
for _ in range(60):
    with run_folder(Path(sys.argv[1])) as folder:
        assert folder.is_dir()
"""


def test_runs_that_begin_at_once_do_not_sweep_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BEGIN, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert not list(tmp_path.glob(f"{RUN}*"))


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    left = tmp_path / f"{RUN}left"
    left.mkdir()
    with run_folder(tmp_path) as folder, run_folder(tmp_path) as other:
        assert not left.exists()
        assert folder.is_dir()
        assert other.is_dir()
    assert not list(tmp_path.glob(f"{RUN}*"))
