import dataclasses
import io
import math
import re

import numpy as np
import pandas as pd
import pytest

from benchmark.report.board import make_boards
from benchmark.report.tables import (
    csv,
    escape_latex,
    footnotes,
    latex,
    markdown,
    overall_sentences,
    reading,
)
from benchmark.statistics import summarise

from . import builder
from .conftest import ATTACK, METRICS, material


def cells(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_tables_are_aligned_and_whole(few):
    lines = markdown(few.boards, few.tables).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 * ((2 + 4) + (2 + 3) + (2 + 4) + (2 + 4))
    first = table[:6]
    assert len({len(line) for line in first}) == 1
    assert {len(cells(line)) for line in first} == {12}
    assert cells(first[0])[:8] == ["Rank ↓", "Method", "Group", "Best in %", "Accuracy % ↑",
                                   "ECE % ↓", "ECE floor % (97.5 %)", "p calibrated"]  # fmt: skip


def test_markdown_shows_values_as_they_are(few):
    text = markdown(few.boards, few.tables)
    board = few.boards[0]
    row = board.rows[0]
    line = next(n for n in text.splitlines() if n.startswith("|") and row.method in n)
    accuracy = row.values["accuracy"]
    assert cells(line)[4] == (
        f"{accuracy.value * 100:.1f} [{accuracy.low * 100:.1f}, {accuracy.high * 100:.1f}]"
    )
    infinite = next(n for n in text.splitlines() if "mhml-2" in n)
    assert "∞" in infinite
    assert "∞ [" not in infinite


def test_noise_floor_is_marked_and_explained(few):
    inside = [r for r in few.boards[0].rows if r.values["ece"].inside_floor]
    text = markdown(few.boards, few.tables)
    assert inside
    for row in inside:
        assert f"{row.values['ece'].value * 100:.1f}°" in text
    assert "- ° inside the noise floor" in text
    assert dict(footnotes(few.boards))


def test_floor_p_and_chance_of_best_stand_beside_every_ece(few):
    board = few.boards[0]
    lines = markdown(few.boards, few.tables).splitlines()
    tex = latex(few.boards, few.tables)
    digits = board.digits("ece")
    for row in board.rows:
        ece = row.values["ece"]
        line = next(n for n in lines if n.startswith("|") and row.method[:6] in n)
        floor = f"{ece.floor_mean * 100:.{digits}f} ({ece.floor_high * 100:.{digits}f})"
        p = "< 0.001" if ece.p_calibrated < 0.001 else f"{ece.p_calibrated:.3f}"
        assert cells(line)[6:8] == [floor, p]
        assert cells(line)[3] == f"{row.chance_best * 100:.0f}"
        assert floor in tex
    text = " ".join(reading(few.boards))
    assert "its mean, and in brackets its 97.5 % point" in text
    assert "a marked value can have a p between 0.025 and 0.050" in text


@pytest.mark.parametrize(
    ("folds", "seeds", "value", "training"),
    [
        (5, 1, "given these trained models", "Nadeau and Bengio"),
        (5, 2, "the variance between seeds is added", "Nadeau and Bengio"),
        ("official", 3, "the variance between seeds is added", "between seeds alone"),
        ("draw", 3, "or over seeds too where there are several", "other draws of training"),
    ],
)
def test_intervals_say_what_they_cover(folds, seeds, value, training):
    made = builder.predictions(
        ("cross-entropy", "mhml-2"), (("d", 3, 0.0),), 60,
        folds=folds if folds == 5 else 1, seeds=seeds,
    )  # fmt: skip
    if folds == "official":
        made = [p.at(fold="official") for p in made]
    if folds == "draw":
        made = [p.at(fold=f"draw-{p.origin.seed}", seed=0) for p in made]
        made = [dataclasses.replace(p, ids=np.char.add(f"{p.origin.fold}-", p.ids)) for p in made]
    tables = summarise(made, METRICS)
    boards = make_boards(tables, pd.DataFrame(), "cross-entropy")
    text = markdown(boards, tables)
    assert value in " ".join(reading(boards))
    assert ("given these trained models" in text) == (folds == "draw" or seeds == 1)
    assert training in text
    assert ("none is marked" in text) == (folds != "official")
    assert ("over training too" in text) == (folds != "official")


def test_markup_in_names_is_shown_as_text(few):
    text = markdown(few.boards, few.tables)
    assert ATTACK not in text
    assert r"\<script>alert(1)\</script>" in text
    assert r"p \<" not in text


def test_csv_is_unrounded(few):
    frame = pd.read_csv(io.StringIO(csv(few.boards)))
    assert len(frame) == 8
    for board in few.boards:
        for row in board.rows:
            line = frame[
                (frame.dataset == board.block.dataset) & (frame.method == row.method)
            ].iloc[0]
            assert line.ece == row.values["ece"].value
            assert line.ece_inside_floor == row.values["ece"].inside_floor
            assert line.train_seconds_ratio == row.costs["train_seconds", "2 x Xeon 2.8 GHz"].ratio
    assert math.isinf(frame[frame.method == "mhml-2"].nll.iloc[0])


def test_latex_is_balanced_and_escaped(few):
    text = latex(few.boards, few.tables)
    for name in ("table", "tabular", "minipage"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2 * 4
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 2 * 4
    labels = re.findall(r"\\label{(.*)}", text)
    assert len(set(labels)) == len(labels) == 2 * 4
    assert r"\textless{}script\textgreater{}alert(1)" in text
    assert r"$\infty$" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {11, 4}
    assert text.isascii()


def test_escape_latex():
    assert escape_latex(r"50 % of a_b & {c}\d~e^f#$") == (
        r"50 \% of a\_b \& \{c\}\textbackslash{}d\textasciitilde{}e\textasciicircum{}f\#\$"
    )


def test_differences_name_their_reference(few):
    text = markdown(few.boards, few.tables)
    assert text.count("Method minus cross-entropy, paired on the same images") == 2


def test_differences_to_the_best_are_shown(few):
    board = few.boards[0]
    pairs = few.tables.pairs
    best = {m: board.leaders[m] for m in ("accuracy", "ece", "nll")}
    assert best["nll"] == board.best("nll").method != "cross-entropy"
    [pair] = pairs[
        (pairs.dataset == board.block.dataset) & (pairs.metric == "nll")
        & (pairs.method == "cross-entropy") & (pairs.reference == best["nll"])
    ].to_dict("records")  # fmt: skip
    text = markdown(few.boards, few.tables)
    digits = board.digits("nll")
    bounds = f"[{pair['low']:.{digits}f}, {pair['high']:.{digits}f}]".replace("-", "−")
    shown = f"{pair['difference']:.{digits}f} {bounds}, d = {pair['effect_size']:.2f}, p "
    assert shown in text
    assert "Method minus the best one of the column" in text
    assert "Method minus the best one of the column" in latex(few.boards, few.tables)
    frame = pd.read_csv(io.StringIO(csv(few.boards)))
    line = frame[(frame.dataset == board.block.dataset) & (frame.method == "cross-entropy")].iloc[0]
    assert line.nll_best == best["nll"]
    assert line.nll_difference_to_best == pair["difference"]
    assert line.nll_difference_to_best_p_holm == pair["p_holm"]


def test_differences_to_the_best_stay_where_the_reference_is_missing():
    few = material(("focal", "mhml-2", "mixup"), images=60, blocks=(("d", 3, 0.0),))
    text = markdown(few.boards, few.tables)
    assert "Method minus cross-entropy" not in text
    assert "Method minus the best one of the column" in text
    assert any("| best" in line or " best |" in line for line in text.splitlines())


def test_the_mean_of_the_replicates_stands_beside_the_pooled_value(few):
    text = markdown(few.boards, few.tables)
    row = few.boards[0].rows[0]
    value = row.values["ece"]
    digits = few.boards[0].digits("ece")
    ends = value.training_low * 100, value.training_high * 100
    bounds = ", ".join(f"{e:.{digits}f}".replace("-", "−") for e in ends)
    assert f"{value.mean_of_folds * 100:.{digits}f} [{bounds}]" in text


def test_too_few_blocks_are_called_so(few):
    text = markdown(few.boards, few.tables)
    assert text.count("no difference could be significant, whatever the data.") == 1
    assert "ECE: best mean rank" in text


def test_one_block_is_not_tested_over_blocks():
    one = material(("cross-entropy", "mhml-2"), images=60, blocks=(("d", 3, 0.0),))
    assert overall_sentences(one.tables) == []


def test_the_coverage_is_named():
    one = material(("cross-entropy",), images=60, blocks=(("d", 3, 0.0),), alpha=0.1)
    text = markdown(one.boards, one.tables)
    assert "its 90 % interval" in text
    assert "95 % interval" not in text
    assert "ECE floor % (95 %)" in text  # two-sided at 10 %


def test_few_errors_are_marked_once():
    one = material(("cross-entropy",), images=60, blocks=(("d", 3, 0.0),))
    assert one.boards[0].rows[0].few_errors
    assert markdown(one.boards, one.tables).count("cross-entropy †") == 1
