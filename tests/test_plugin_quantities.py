"""A metric and a cost, added in one place, are in every output: CONTRIBUTING's example."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
METHODS = "cross-entropy,deep-ensemble[members=2]"


def benchmark(*words):
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, words)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    text = (REPOSITORY / "CONTRIBUTING.md").read_text().partition("## A metric or a cost")[2]
    (folder / "metrics").mkdir()
    (folder / "metrics" / "own.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1])
    done = benchmark(
        "run", "--plugins", folder, "--methods", METHODS, "--preset", "quick[epochs=1]",
        "--datasets", "simulated[train=64,calibration=40,test=50]", "--folds", 2, "--jobs", 1,
        "--device", "cpu", "--results", folder / "results", "--data-root", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_they_are_in_the_tidy_files(run):
    scores = pd.read_csv(run / "results" / "scores.csv").query("metric == 'top_2'")
    assert len(scores) == 2 * 2  # two draws of each method
    assert scores["value"].between(0, 1).all()
    costs = pd.read_csv(run / "results" / "costs.csv").query("metric == 'head_parameters'")
    charged = costs.groupby("method")["value"].unique()
    [single], [double] = charged["cross-entropy"], charged["deep-ensemble[members=2]"]
    assert double == 2 * single > 0


def test_they_are_in_the_leaderboard_and_on_the_page(run):
    columns = pd.read_csv(run / "results" / "leaderboard.csv").columns
    assert {"top_2", "top_2_low", "top_2_high", "head_parameters"} <= set(columns)
    page = (run / "results" / "report.html").read_text()
    for name, short, meaning in (
        ("top_2", "Top 2", "Share of the images whose class is among the two likeliest."),
        ("head_parameters", "Head parameters", "Trained numbers of the heads alone."),
    ):
        assert f'data-name="{name}"' in page
        assert short in page
        assert meaning in page
    assert "mean of [y among the 2 largest p]" in page


def test_they_are_listed(run):
    for what, name in (("metrics", "top_2"), ("costs", "head_parameters")):
        listed = benchmark("list", what, "--plugins", run, "--format", "json")
        assert name in [row["name"] for row in json.loads(listed.stdout)]
        assert name not in benchmark("list", what).stdout


def test_a_cost_that_nobody_declares_any_more_is_an_error(run):
    done = benchmark("leaderboard", "--results", run / "results")
    assert done.returncode == 2
    assert "costs that nobody declares: head_parameters" in done.stderr
    assert "is a folder of plug-ins missing?" in done.stderr
