"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data that are not part of the repository: beside it, or where the environment says."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CALIBRATION_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no shared data: {folder} is missing (CALIBRATION_SHARED_DATA names it)")
    return folder


@pytest.fixture(scope="session")
def shared_cases(shared_data: Path) -> Path:
    """Inputs with right answers: beside the data."""
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases: {folder} is missing")
    return folder


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to no terminal, of no width; pytest-xdist pretends that it does."""
    monkeypatch.delenv("COLUMNS", raising=False)
