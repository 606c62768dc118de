"""What is committed in results/ is what its own predictions give."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmark import leaderboard, manifest

REPOSITORY = Path(__file__).resolve().parents[1]
COMMITTED = sorted(
    path.parent
    for path in REPOSITORY.glob(f"results/*/{manifest.NAME}")
    if path.parent.name != "local"
)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_the_committed_leaderboard_is_regenerated(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(folder / manifest.NAME, copy)
    shutil.copytree(folder / "store", copy / "store")
    assert leaderboard.regenerate(copy) == []
    for name in ("leaderboard.md", "leaderboard.tex"):
        assert (copy / name).read_text() == (folder / name).read_text(), name
    # Other versions may differ in the last digits.
    for name in ("scores.csv", "costs.csv", "leaderboard.csv"):
        made, kept = pd.read_csv(copy / name), pd.read_csv(folder / name)
        pd.testing.assert_frame_equal(made, kept, rtol=1e-9, atol=1e-12)
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {path.name for path in (copy / "figures").iterdir()} == figures


def test_the_readme_shows_the_head_of_the_leaderboard():
    readme = (REPOSITORY / "README.md").read_text()
    shown = readme.partition("<!-- leaderboard -->\n")[2].partition("\n<!-- end -->")[0]
    board = (REPOSITORY / "results" / "default" / "leaderboard.md").read_text()
    part = board.partition("\n## simulated")[2]
    table = [line for line in part.splitlines() if line.startswith("|")]
    assert shown.strip().splitlines() == table[: len(shown.strip().splitlines())]
    assert len(shown.strip().splitlines()) == 10
    for line in readme.splitlines():
        if "](results/" in line:
            assert (REPOSITORY / line.partition("](")[2].partition(")")[0]).is_file(), line
