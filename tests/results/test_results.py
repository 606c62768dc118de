"""What is committed in results/ is what its own predictions give."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark import leaderboard
from benchmark.measures.declared import metrics
from benchmark.results import manifest
from benchmark.results.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = sorted(
    path.parent
    for path in REPOSITORY.glob(f"results/*/{manifest.NAME}")
    if path.parent.name != "local"
)


def numpy_of(folder=None):
    """Major and minor version: the one here, or the one that the records of a folder name."""
    version = np.__version__
    if folder is not None:
        first = json.loads((folder / manifest.NAME).read_text())["entries"][0]["fits"][0]
        version = Store(folder / "store").fit(first).environment["numpy"]
    return version.split(".")[:2]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_the_committed_leaderboard_is_regenerated(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(folder / manifest.NAME, copy)
    shutil.copytree(folder / "store", copy / "store")
    assert leaderboard.regenerate(copy).missing == []
    made, kept = (
        {name: pd.read_csv(of / name) for name in ("scores.csv", "costs.csv", "leaderboard.csv")}
        for of in (copy, folder)
    )
    scores = [(of / "scores.csv").read_bytes() for of in (copy, folder)]
    # Another numpy draws other numbers; another processor rounds otherwise in the last digit, and
    # what is drawn with such a probability may be another number, too.
    if numpy_of(folder) == numpy_of() and scores[0] == scores[1]:
        for name in ("leaderboard.md", "leaderboard.tex"):
            assert (copy / name).read_text() == (folder / name).read_text(), name
    else:  # bootstraps, drawn intervals and all that rests on them may be others
        for tables in (made, kept):
            board = tables["leaderboard.csv"]
            same = ["dataset", "method", "rank", *(m for m in metrics() if m in board)]
            tables["leaderboard.csv"] = board[same]
    for name, table in kept.items():  # other versions may differ in the last digits
        pd.testing.assert_frame_equal(made[name], table, rtol=1e-9, atol=1e-12)
    figures, made_of = (
        {path.name for path in (here / "figures").iterdir() if path.suffix != ".json"}
        for here in (folder, copy)
    )
    assert made_of == figures


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
