import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd

from benchmark.report import write
from benchmark.statistics import summarise

from .conftest import ATTACK, curves_of, material, write_all


def test_the_files_are_those_that_are_told(report):
    names = [f.relative_to(report.folder).as_posix() for f in report.files]
    assert names[:3] == ["leaderboard.md", "leaderboard.csv", "leaderboard.tex"]
    assert names[-1] == "report.html"
    assert len(names) == len(set(names)) == 5 + 2 * 13
    on_disk = sorted(p for p in report.folder.rglob("*") if p.is_file())
    assert on_disk == sorted(report.files)


def test_written_again_byte_for_byte(report, few, tmp_path):
    shuffled = {"predictions": few.predictions[::-1], "costs": few.costs.iloc[::-1]}
    again = write_all(tmp_path, SimpleNamespace(**{**vars(few), **shuffled}))
    assert len(again) == len(report.files)
    for a, b in zip(again, report.files, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_figures_of_an_earlier_report_go_and_nothing_else(tmp_path):
    stale = tmp_path / "figures" / "reliability--other--data.svg"
    stale.parent.mkdir()
    kept = stale.with_name("my-own--figure.svg")
    stale.touch(), kept.touch()
    one = material(("cross-entropy",), images=60, blocks=(("d", 3, 0.0),))
    write(
        tmp_path, one.tables, curves_of(one.predictions), one.costs, [], {}, "cross-entropy", 0.05
    )
    assert not stale.exists()
    assert kept.exists()


def test_figures_of_a_family_that_is_gone_go_too(tmp_path):
    two = material(("cross-entropy", "focal"), images=60, blocks=(("d", 3, 0.0),), folds=2)
    names = {"cross-entropy": "smooth-0.1", "focal": "smooth-0.3"}
    renamed = [p.at(method=names[p.origin.method]) for p in two.predictions]
    tables = summarise(renamed, ("accuracy", "ece", "nll"), "smooth-0.1")
    methods = [{"name": f"smooth-{w}", "parameters": {"weight": w}, "summary": "", "paper": ""}
               for w in (0.1, 0.3)]  # fmt: skip
    given = tables, curves_of(renamed), pd.DataFrame()
    files = write(tmp_path, *given, methods, {}, "smooth-0.1", 0.05)
    [drawn] = [f for f in files if f.name.startswith("weight--") and f.suffix == ".svg"]
    assert drawn.exists()
    write(tmp_path, *given, [], {}, "smooth-0.1", 0.05)
    assert not drawn.exists()


def test_without_costs_and_definitions(tmp_path):
    few = material(("cross-entropy", "mhml-4"), images=60, blocks=(("d", 3, 0.0),))
    write(
        tmp_path,
        few.tables,
        curves_of(few.predictions),
        pd.DataFrame(),
        [],
        {},
        "cross-entropy",
        0.05,
    )
    page = (tmp_path / "report.html").read_text()
    assert "mhml-4" in page
    assert "ratio to" not in page
    assert not list(tmp_path.glob("figures/ece-cost*"))


def test_no_raw_name_in_any_text(report):
    for file in report.files:
        if file.suffix in {".html", ".svg", ".tex"}:
            assert ATTACK not in file.read_text()


def test_importing_the_report_is_light():
    program = (
        "import sys, benchmark.report\n"
        "print([m for m in ('torch', 'matplotlib', 'scipy', 'pandas') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert said.stdout == "[]\n"


def test_without_a_complete_method_the_notes_are_all_there_is(tmp_path, few):
    nothing = {
        name: getattr(few.tables, name).iloc[:0]
        for name in ("values", "ranks", "pairs", "detectable", "overall", "mean_ranks")
    }
    tables = dataclasses.replace(few.tables, **nothing, notes=("focal is missing.",))
    write(tmp_path, tables, {}, few.costs, [], {}, "cross-entropy", 0.05)
    text = (tmp_path / "leaderboard.md").read_text()
    assert text == "# Leaderboard\n\n## Small print\n\n- focal is missing.\n"
    assert "focal is missing." in (tmp_path / "report.html").read_text()
