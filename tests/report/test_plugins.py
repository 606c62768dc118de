"""Metrics and costs that a folder of plug-ins declares stand wherever the bundled ones do."""

import dataclasses
import html
import importlib
import io
import re
import sys
import textwrap

import pandas as pd
import pytest

from benchmark.api import plugins
from benchmark.report import page
from benchmark.report.board import make_boards
from benchmark.report.tables import csv, latex, markdown
from benchmark.statistics import summarise

from . import builder

DECLARED = """
    import numpy as np
    from benchmark.api import Cost, PerImage

    METRICS = (
        PerImage(name="second_guess", short="Top 2", title="Top-2 accuracy", main=9,
                 meaning="Share of images whose class is among the two likeliest.",
                 direction="higher", formula="mean of [y among the 2 largest p]",
                 source="Our own 2026",
                 of=lambda p: (np.argsort(-p.log_probs)[:, :2] == p.labels[:, None]).any(1) * 1.0),
    )
    COSTS = (
        Cost(name="water_litres", short="Water", title="Cooling water", unit="l", members="sum",
             meaning="Water that cooling took.", ratio=True, main=9),
    )
"""


@pytest.fixture
def own_quantities(tmp_path, monkeypatch):
    """Mounts a metric and a cost, and unmounts them afterwards."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "of_the_report.py").write_text(textwrap.dedent(DECLARED))
    monkeypatch.setenv("BENCHMARK_PLUGINS", "")
    plugins.mount(str(tmp_path))
    yield
    monkeypatch.undo()
    sys.modules.pop("benchmark.metrics.of_the_report", None)
    for name in plugins.FOLDERS:
        importlib.reload(importlib.import_module(f"benchmark.{name}"))
    plugins.clear()


@pytest.fixture
def made(own_quantities):
    predictions = builder.predictions(("cross-entropy", "mhml-2"), (("d", 3, 0.0),), 60)
    tables = summarise(predictions, ("brier", "second_guess"), "cross-entropy")
    litres = [
        dataclasses.asdict(p.origin)
        | {"metric": "water_litres", "hardware": "2 x Xeon 2.8 GHz", "doubt": ""}
        | {"value": 6.0 if p.origin.method == "mhml-2" else 4.0}
        for p in predictions
    ]
    costs = pd.concat([builder.costs(predictions), pd.DataFrame(litres)], ignore_index=True)
    return make_boards(tables, costs, "cross-entropy"), tables


def test_they_stand_in_every_table(made):
    frame = pd.read_csv(io.StringIO(csv(*made))).set_index("method")
    assert frame["second_guess"].between(0.5, 1).all()
    assert frame.loc["mhml-2", "second_guess_low"] < frame.loc["mhml-2", "second_guess"]
    assert frame["water_litres"].to_dict() == {"cross-entropy": 4.0, "mhml-2": 6.0}
    assert frame.loc["mhml-2", "water_litres_ratio"] == 1.5
    for text in (markdown(*made), latex(*made).replace(r"\%", "%").replace(r"$\uparrow$", "↑")):
        assert "Top 2 % ↑" in text
        assert "Water l" in text
    assert "6.00 (1.50×)" in markdown(*made)


def test_they_are_columns_of_the_page_and_are_explained_there(made):
    text = html.unescape(page.render(*made, [], {}, {}))
    for name, head, title, meaning in (
        ("second_guess", "Top 2<small>%, ↑ better</small>", "Top-2 accuracy",
         "Share of images whose class is among the two likeliest. Higher is better."),
        ("water_litres", "Water<small>l, ↓ better</small>", "Cooling water",
         "Water that cooling took. Lower is better."),
    ):  # fmt: skip
        assert re.search(rf'<th scope="col" data-name="{name}"[^>]*>{head}</th>', text)
        assert text.count(f'<td data-name="{name}"') == 2
        assert f'name="column" value="{name}" checked' in text
        assert f"<dt>{title}</dt><dd>{meaning}" in text
    assert "mean of [y among the 2 largest p] (Our own 2026)" in text
    assert "6.00</span> <small>(1.50×)</small>" in text
