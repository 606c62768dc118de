"""A short version of the coverage simulation; the long one is ``python -m tools.coverage``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as distributions

from benchmark.measures.declared import metrics
from tools import coverage
from tools.coverage import Cell, Model

SETS = 50


@pytest.mark.parametrize(
    "cell",
    [Cell(350, 0.9, False, scenario) for scenario in coverage.SCENARIOS],
    ids=lambda cell: cell.name,
)
def test_true_values_are_those_of_a_large_draw(cell: Cell) -> None:
    models = [Model(side, cell.accuracy, cell.grouped) for side in cell.sides]
    large = Cell(200_000, cell.accuracy, cell.grouped, cell.scenario)
    samples = coverage.draw(large, models, np.random.default_rng(0))
    for model, method in zip(models, coverage.METHODS):
        for name in coverage.MEASURES:
            found = metrics()[name].value(samples[method][0])
            assert found == pytest.approx(model.truth[name], abs=0.007), (method, name)
        assert model.truth["accuracy"] == pytest.approx(cell.accuracy, abs=1e-4)
        assert model.truth["ece"] == pytest.approx(model.side.ece, abs=1e-3)


@pytest.mark.parametrize(
    "cell",
    [
        Cell(350, 0.8, False, "one-over"),
        Cell(350, 0.9, True, "sharp-flat"),
        Cell(350, 0.9, False, "far-apart"),
        Cell(2139, 0.98, False, "one-over"),
    ],
    ids=lambda cell: cell.name,
)
def test_intervals_cover(cell: Cell) -> None:
    counts = coverage.simulate(cell, SETS, seed=0)
    # Fewer would occur by chance once in ten thousand such tests.
    least = distributions.binom.ppf(1e-4, SETS, 0.95)
    for name, count in counts.items():
        if name.startswith("cover"):
            assert count >= least, (name, count)
    if cell.scenario == "sharp-flat":
        most = distributions.binom.ppf(1 - 1e-4, SETS, 0.05)
        assert counts["reject accuracy d"] <= most
        assert counts["reject ece d"] <= most


def test_p_values_of_the_noise_floor_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "MEASURES", ("ece",))
    counts = coverage.simulate(Cell(350, 0.8, False, "equal"), 120, seed=1)
    tenths = [counts.get(f"p {m} {i}", 0) for m in coverage.METHODS for i in range(10)]
    per_tenth = np.add(tenths[:10], tenths[10:])
    assert per_tenth.sum() == 240
    assert distributions.chisquare(per_tenth).pvalue > 1e-3


def test_the_table_is_resumed_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(350, 0.9, False, "equal")
    monkeypatch.setattr(coverage, "cells", lambda: [cell])
    monkeypatch.setattr(coverage, "CHUNK", 2)
    output = tmp_path / "docs" / "coverage.md"
    arguments = ["--folder", str(tmp_path), "--output", str(output), "--sets"]
    coverage.main([*arguments, "2"])
    chunk = tmp_path / f"{cell.name}-0.json"
    first = json.loads(chunk.read_text())
    chunk.write_text(json.dumps(first | {"sets": 2, "cover ece a": 0}))
    coverage.main([*arguments, "4"])
    text = output.read_text()
    assert "| 350 | 0.9 | images | 4 | 0.000 / 0.000 |" in text
    assert coverage.collect(cell, tmp_path)["cover ece a"] <= 2
    assert "\n`accuracy`, `nll`, `brier`, `ece`. Not simulated:\n`balanced_accuracy`, `auc`" in text
    committed = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
    assert committed.partition("\n| scenario")[0] == text.partition("\n| scenario")[0]
