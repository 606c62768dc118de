import dataclasses
import io
import math
import re

import numpy as np
import pandas as pd
import pytest

from benchmark.report.board import make_boards
from benchmark.report.markdown import escape_markdown
from benchmark.report.sentences import footnotes, needed, over_all_blocks, reading
from benchmark.report.tables import csv, escape_latex, latex, markdown
from benchmark.statistics import summarise

from . import builder
from .conftest import ATTACK, METRICS, material


def cells(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_tables_are_aligned_and_whole(few):
    lines = markdown(few.boards, few.tables).splitlines()
    table = [line for line in lines if line.startswith("|")]
    four = "leaderboard", "to the best", "networks"
    three = "to the reference", "what could be found", "networks to the reference"
    assert len(table) == 2 * (len(four) * (2 + 4) + len(three) * (2 + 3))
    first = table[:6]
    assert len({len(line) for line in first}) == 1
    assert {len(cells(line)) for line in first} == {12}
    assert cells(first[0])[:8] == [
        "Rank ↓", "Method", "Accuracy % ↑", "letters", "ECE % ↓ (noise removed)", "letters",
        "inside floor", "NLL nats ↓",
    ]  # fmt: skip


def test_markdown_shows_values_as_they_are(few):
    text = markdown(few.boards, few.tables)
    board = few.boards[0]
    row = board.rows[0]
    line = next(n for n in text.splitlines() if n.startswith("|") and row.method in n)
    accuracy = row.values["accuracy"]
    assert cells(line)[2] == (
        f"{accuracy.value * 100:.1f} [{accuracy.low * 100:.1f}, {accuracy.high * 100:.1f}]"
    )
    infinite = next(n for n in text.splitlines() if "mhml-2" in n)
    assert "∞" in infinite
    assert "∞ [" not in infinite


def test_the_floor_is_marked_where_all_networks_are_inside(few):
    rows = few.boards[0].rows
    inside = [r for r in rows if r.values["ece"].inside_floor == 5]
    text = markdown(few.boards, few.tables)
    assert 0 < len(inside) < len(rows)
    assert "- ° inside the noise floor, all of its trained networks" in text
    for row in rows:
        line = next(n for n in text.splitlines() if n.startswith("|") and row.method[:6] in n)
        assert ("°" in cells(line)[4]) == (row in inside)
        assert cells(line)[6] == f"{row.values['ece'].inside_floor:.0f} of 5"


def test_networks_have_a_table_of_their_own_with_their_floors(few):
    board = few.boards[0]
    text = markdown(few.boards, few.tables)
    own = text.partition("### These trained networks\n")[2].partition("###")[0]
    assert "for other test images only" in own
    tex = latex(few.boards, few.tables)
    digits = board.digits("ece")
    for row in board.rows:
        ece = row.values["ece"]
        line = next(n for n in own.splitlines() if n.startswith("|") and row.method[:6] in n)
        ends = f"[{ece.networks_low * 100:.{digits}f}, {ece.networks_high * 100:.{digits}f}]"
        assert cells(line)[2].replace("°", "") == f"{ece.networks_value * 100:.{digits}f} {ends}"
        floor = f"{ece.floor_mean * 100:.{digits}f} ({ece.floor_high * 100:.{digits}f})"
        p = "< 0.001" if ece.p_calibrated < 0.001 else f"{ece.p_calibrated:.3f}"
        assert cells(line)[3:6] == [floor, p, f"{ece.inside_floor:.0f} of 5"]
        assert floor in tex
    said = " ".join(reading(few.boards))
    assert "its mean, and in brackets its 97.5 % point" in said
    assert "one inside can have a p between 0.025 and 0.050" in said


def of_scheme(folds, seeds):
    """Predictions of two methods, on folds, draws or an official split."""
    made = builder.predictions(
        ("cross-entropy", "mhml-2"), (("d", 3, 0.0),), 60,
        folds=folds if isinstance(folds, int) else 1, seeds=seeds,
    )  # fmt: skip
    if folds == "official":
        made = [p.at(fold="official") for p in made]
    if folds == "draw":
        made = [p.at(fold=f"draw-{p.origin.seed}", seed=0) for p in made]
        made = [dataclasses.replace(p, ids=np.char.add(f"{p.origin.fold}-", p.ids)) for p in made]
    tables = summarise(made, METRICS)
    return make_boards(tables, pd.DataFrame(), "cross-entropy"), tables


@pytest.mark.parametrize(
    ("folds", "seeds", "covers"),
    [
        (5, 1, "for other trainings and other test images"),
        (5, 2, "for other trainings and other test images"),
        ("official", 3, "for other seeds of training on the same images, and for other test"),
        ("draw", 3, "for other trainings and other test images"),
    ],
)
def test_intervals_say_what_they_are_for(folds, seeds, covers):
    boards, tables = of_scheme(folds, seeds)
    for text in (" ".join(reading(boards)), markdown(boards, tables).partition("|")[0]):
        assert covers in text
        assert "given these trained networks" not in text
    kept = {"official": "seeds", "draw": "draws"}.get(folds, "seeds")
    assert f"What is stored is kept when {kept} are added to a run" in markdown(boards, tables)


@pytest.mark.parametrize(
    ("folds", "seeds", "has"),
    [(1, 1, 1), (2, 1, 2), (2, 3, 2), ("official", 2, 2), ("draw", 2, 2)],
)
def test_too_few_replicates_say_nothing_of_methods(folds, seeds, has):
    boards, tables = of_scheme(folds if folds != 1 else "official", seeds)
    text = markdown(boards, tables)
    assert f"too few independent replicates: {has}; at least 3 are needed" in text
    assert "for other test images, given these trained networks" in text
    assert not re.search("other trainings and|moderated|noise removed|What could", text)
    assert "### These trained networks" not in text  # it is the first table
    [head] = [cells(line) for line in text.splitlines() if line.startswith("|") and "Rank" in line]
    assert head[4:9] == ["ECE % ↓", "letters", "ECE floor % (97.5 %)", "p calibrated",
                         "inside floor"]  # fmt: skip
    assert all("[" not in cells(line)[0] for line in text.splitlines() if line.startswith("|"))


def test_no_interval_says_nothing():
    for folds, seeds in ((1, 1), (3, 1), ("official", 3)):
        boards, tables = of_scheme(folds if folds != 1 else "official", seeds)
        text = markdown(boards, tables)
        assert "[0, 100]" not in text
        assert "[0.0, 100.0]" not in text


def test_markup_in_names_is_shown_as_text(few):
    text = markdown(few.boards, few.tables)
    assert ATTACK not in text
    assert r"\<script>alert(1)\</script>" in text
    assert r"p \<" not in text


def test_csv_is_unrounded(few):
    frame = pd.read_csv(io.StringIO(csv(few.boards, few.tables)))
    assert len(frame) == 8
    for board in few.boards:
        for row in board.rows:
            line = frame[
                (frame.dataset == board.block.dataset) & (frame.method == row.method)
            ].iloc[0]
            assert line.ece == row.values["ece"].value
            assert line.ece_inside_floor == row.values["ece"].inside_floor
            assert line.ece_networks_value == row.values["ece"].networks_value
            assert line.group_ece == row.places["ece"].group
            assert line.best_ece == row.places["ece"].best
            assert line.against_first == row.against_first
            assert line.train_seconds_ratio == row.costs["train_seconds", "2 x Xeon 2.8 GHz"].ratio
    assert math.isinf(frame[frame.method == "mhml-2"].nll.iloc[0])


def test_latex_is_balanced_and_escaped(few):
    text = latex(few.boards, few.tables)
    for name in ("table", "tabular", "minipage"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2 * 6
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 2 * 6
    labels = re.findall(r"\\label{(.*)}", text)
    assert len(set(labels)) == len(labels) == 2 * 6
    assert r"\textless{}script\textgreater{}alert(1)" in text
    assert r"$\infty$" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {11, 4, 5, 7}
    assert text.isascii()


def test_escape_latex():
    assert escape_latex(r"50 % of a_b & {c}\d~e^f#$") == (
        r"50 \% of a\_b \& \{c\}\textbackslash{}d\textasciitilde{}e\textasciicircum{}f\#\$"
    )


def test_differences_name_their_reference(few):
    text = markdown(few.boards, few.tables)
    assert text.count("Method minus cross-entropy, paired by replicate and image") == 2 * 2
    assert text.count("the 95 % interval for other test images alone, each by itself") == 2
    assert text.count("Method minus the best one of the column") == 2
    assert text.count("for all pairs at once") == 2


def test_differences_to_the_best_are_shown(few):
    board = few.boards[0]
    pairs = few.tables.pairs
    best = board.leaders["methods", "nll"]
    assert best == board.leading("nll").method != "cross-entropy"
    [pair] = pairs[
        (pairs.dataset == board.block.dataset) & (pairs.metric == "nll")
        & (pairs.question == "methods")
        & (pairs.method == "cross-entropy") & (pairs.reference == best)
    ].to_dict("records")  # fmt: skip
    assert pair["simultaneous"]
    text = markdown(few.boards, few.tables)
    digits = board.digits("nll")
    bounds = f"[{pair['low']:.{digits}f}, {pair['high']:.{digits}f}]".replace("-", "−")
    shown = f"{pair['difference']:.{digits}f} {bounds}, d = {pair['effect_size']:.2f}, p "
    assert shown in text
    assert "Method minus the best one of the column" in text
    assert "Method minus the best one of the column" in latex(few.boards, few.tables)
    frame = pd.read_csv(io.StringIO(csv(few.boards, few.tables)))
    line = frame[(frame.dataset == board.block.dataset) & (frame.method == "cross-entropy")].iloc[0]
    assert line.nll_leader == best
    assert line.nll_difference_to_best == pair["difference"]
    assert line.nll_difference_to_best_p_holm == pair["p_holm"]


def test_differences_to_the_best_stay_where_the_reference_is_missing():
    few = material(("focal", "mhml-2", "mixup"), images=60, blocks=(("d", 3, 0.0),))
    text = markdown(few.boards, few.tables)
    assert "Method minus cross-entropy" not in text
    assert "Method minus the best one of the column" in text
    assert any("| best" in line or " best |" in line for line in text.splitlines())


def test_a_best_that_is_the_reference_is_compared_in_one_table_alone(few):
    """Differences to the reference do not hold for all pairs at once."""
    made = material(("focal", "mhml-2", "mixup"), against="mixup", images=200, folds=3,
                    blocks=(("d", 3, 0.0),))  # fmt: skip
    [board] = made.boards
    best = board.leaders["methods", "nll"]
    [board] = make_boards(summarise(made.predictions, METRICS, best), pd.DataFrame(), best)
    text = markdown([board], made.tables)
    to_best = text.partition("### Differences to the best")[2].partition("###")[0]
    assert f"Where {best} is the best, see the differences to it" in to_best
    column = [cells(line)[3] for line in to_best.splitlines() if line.startswith("| m")]
    assert set(column) <= {"best", "–"}


def test_the_table_says_what_it_could_have_found(few):
    board = few.boards[0]
    text = markdown(few.boards, few.tables)
    own = text.partition("### What could this table have seen?")[2].partition("###")[0]
    lines = [cells(line) for line in own.splitlines() if line.startswith("|")][2:]
    assert [line[0] for line in lines] == ["Accuracy % ↑", "ECE % ↓", "NLL nats ↓"]
    for line, metric in zip(lines, ("accuracy", "ece", "nll")):
        found = board.detectable[metric]
        assert line[2:4] == list(map(escape_markdown, (found.first, found.second)))
        assert line[1] == board.printed(metric, found.detectable)[0]
        assert line[5] == "–"  # folds are as many as they are


def test_more_replicates_than_anybody_trains_are_called_so():
    assert needed(math.inf) == "more than 1,000"
    assert needed(12.0) == "12"


def test_unstable_training_is_marked_and_explained(few):
    board = few.boards[0]
    row = board.rows[0]
    ece = dataclasses.replace(row.values["ece"], unstable=True, inside_floor=0)
    shaken = dataclasses.replace(row, values={**row.values, "ece": ece})
    shown = [dataclasses.replace(board, rows=(shaken, *board.rows[1:]))]
    text = markdown(shown, few.tables)
    line = next(n for n in text.splitlines() if n.startswith("|") and row.method[:6] in n)
    assert "‡ [" in cells(line)[4]
    assert "- ‡ unstable training: the scatter of its trainings is larger" in text
    calm = dataclasses.replace(ece, unstable=False)
    steady = [dataclasses.replace(r, values={"ece": calm}) for r in board.rows]
    assert "‡" not in dict(footnotes([dataclasses.replace(board, rows=tuple(steady))]))
    assert r"$^{\ddagger}$" in latex(shown, few.tables)


def test_too_few_blocks_are_called_so(few):
    text = markdown(few.boards, few.tables)
    assert text.count("no difference could be significant, whatever the data.") == 1
    assert "ECE: lowest mean rank" in text


def test_one_block_is_not_tested_over_blocks():
    one = material(("cross-entropy", "mhml-2"), images=60, blocks=(("d", 3, 0.0),))
    assert over_all_blocks(one.tables) == []


def test_the_coverage_is_named():
    one = material(("cross-entropy",), images=60, blocks=(("d", 3, 0.0),), alpha=0.1)
    text = markdown(one.boards, one.tables)
    assert "the 90 % interval for" in text
    assert "95 % interval" not in text
    assert "at most about 10 % a metric" in text
    assert "ECE floor % (95 %)" in text  # two-sided at 10 %


def test_few_errors_are_marked_once():
    one = material(("cross-entropy",), images=60, blocks=(("d", 3, 0.0),))
    assert one.boards[0].rows[0].few_errors
    assert markdown(one.boards, one.tables).count("cross-entropy †") == 1
