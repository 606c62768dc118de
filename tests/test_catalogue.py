import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import catalogue

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("what", ["metrics", "costs"])
def test_the_documentation_is_what_is_declared(what):
    text = (REPOSITORY / "docs" / f"{what}.md").read_text()
    assert text.endswith("\n\n" + catalogue.markdown(what) + "\n")


def test_metrics_and_costs_of_plugins_are_listed(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine.py").write_text(
        "from benchmark.api import Cost, PerImage\n"
        "METRICS = (PerImage(name='sureness', short='Sureness', of=lambda p: p.confidence),)\n"
        "COSTS = (Cost(name='tea_cups', short='Tea', meaning='Drunk.', members='sum'),)\n"
    )
    for what, row in (
        ("metrics", {"name": "sureness", "title": "Sureness", "unit": "fraction"}),
        ("costs", {"name": "tea_cups", "title": "Tea", "members": "sum", "meaning": "Drunk."}),
    ):
        words = ["list", what, "--plugins", str(tmp_path), "--format", "json"]
        done = subprocess.run(
            [sys.executable, "-m", "benchmark", *words], cwd=REPOSITORY, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        listed = json.loads(done.stdout)
        assert len(listed) > 5
        assert row.items() <= listed[-1].items()


def test_a_bar_in_a_cell_does_not_end_it():
    first, *_ = catalogue.markdown("metrics").splitlines()
    columns = first.count("|")
    for line in catalogue.markdown("metrics").splitlines():
        assert line.replace("\\|", "").count("|") == columns
