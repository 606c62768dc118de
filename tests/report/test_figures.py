import dataclasses
import hashlib
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchmark.report import figures
from benchmark.report.board import Value, make_boards
from benchmark.report.drawing import _spread, _wrapped, style
from benchmark.report.figures import (
    DIGESTS,
    _first_errors,
    cost,
    draw_block,
    draw_overall,
    families,
    intervals,
    pareto,
    reliability,
    render,
    replicate_ranks,
)
from benchmark.statistics import scores, summarise

from . import builder
from .conftest import ATTACK, METRICS, curves_of, drawn, material

KINDS = ["reliability", "intervals", "ece-cost", "heads", "risk-coverage", "critical-differences"]


def kinds(drawings):
    return [d.name.partition("--")[0] for d in drawings]


def test_every_figure_is_drawn(few):
    drawings = drawn(few.boards[0], few.predictions, few.methods)
    assert kinds(drawings) == KINDS
    suffix = few.boards[0].file_name
    assert all(d.name.endswith(f"--{suffix}") for d in drawings)
    assert all(d.title and d.caption and d.alt for d in drawings)


def test_pyplot_and_its_settings_are_left_alone(few):
    before = dict(mpl.rcParams)
    for drawing in drawn(few.boards[0], few.predictions)[:2]:
        assert drawing.png.startswith(b"\x89PNG")
    assert pyplot.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_two_methods_need_no_ranks_nor_heads():
    two = material(("cross-entropy", "mhml-4"), images=200)
    assert kinds(drawn(two.boards[0], two.predictions, two.methods)) == [
        "reliability", "intervals", "ece-cost", "risk-coverage",
    ]  # fmt: skip
    assert draw_overall(two.boards) == []


def test_one_method_alone():
    one = material(("mine",), against="mine", images=60, blocks=(("only", 3, 0.0),), folds=1)
    assert kinds(drawn(one.boards[0], one.predictions)) == [
        "reliability", "intervals", "risk-coverage",
    ]  # fmt: skip
    assert draw_overall(one.boards) == []


def test_nothing_is_cut_off(many):
    """All text lies within each picture, also with 22 methods and a long name."""
    board = many.boards[0]
    drawings = drawn(board, many.predictions, many.methods)
    drawings += draw_overall(many.boards)
    assert "heads" in kinds(drawings)
    for drawing in drawings:
        figure = drawing.figure
        with style():
            figure.draw_without_rendering()
            box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
        width, height = figure.get_size_inches()
        assert box.x0 >= -0.02, drawing.name
        assert box.y0 >= -0.02, drawing.name
        assert box.x1 <= width + 0.02, drawing.name
        assert box.y1 <= height + 0.02, drawing.name


def test_svg_is_well_formed_and_names_are_text(few):
    for drawing in drawn(few.boards[0], few.predictions):
        tree = ElementTree.fromstring(drawing.svg)
        assert not [e for e in tree.iter() if e.tag.endswith("script")]
        assert ATTACK.encode() not in drawing.svg


def test_same_bytes_in_another_process_with_another_hash_seed(tmp_path):
    program = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "from report.conftest import FEW, drawn, material\n"
        "m = material(FEW, images=100, blocks=(('d', 3, 0.0),))\n"
        "drawings = drawn(m.boards[0], m.predictions, m.methods)\n"
        "print(*(name in sys.modules for name in ('torch', 'matplotlib')))\n"
        "for d in drawings:\n"
        "    print(d.name, d.digest, *(hashlib.sha256(f).hexdigest() for f in (d.svg, d.png)))\n"
    )
    tests = str(__import__("pathlib").Path(__file__).parents[1])
    said = [
        subprocess.run(
            [sys.executable, "-c", program, tests],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{tests}/..", "PATH": ""},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert said[0].count("\n") == 7
    assert said[0].startswith("False False\n")


def test_dates_and_versions_are_not_written(few):
    drawing = drawn(few.boards[0], few.predictions)[1]
    assert b"<dc:date>" not in drawing.svg
    assert b"matplotlib.org" not in drawing.svg
    assert b"Software" not in drawing.png
    assert hashlib.sha256(drawing.png).digest()


def test_pareto_by_hand():
    x = np.array([1.0, 2.0, 3.0, 3.0, 1.0])
    y = np.array([5.0, 3.0, 3.0, 1.0, 5.0])
    assert pareto(x, y).tolist() == [True, True, False, True, True]


def test_a_little_quicker_is_no_reason_to_stand_on_the_front():
    seconds = np.array([100.0, 104.0, 99.0, 106.0])
    errors = np.array([2.0, 1.0, 1.0, 0.5])
    assert pareto(seconds, errors).tolist() == [False, False, True, True]


def test_labels_are_spread():
    placed = _spread(np.array([0.0, 0.1, 0.1, 9.9, 9.95]), 1.0, 0.0, 10.0)
    assert (np.diff(placed) >= 1 - 1e-9).all()
    assert placed[-1] <= 9.5


def test_hopeless_comparisons_are_called_underpowered(many):
    [drawing] = draw_overall(many.boards)
    assert "Underpowered" in drawing.caption
    assert "Underpowered" in drawing.alt


def test_seeds_are_not_taken_for_independent_replicates():
    def caption(seeds, fold=None):
        made = builder.predictions(
            ("cross-entropy", "mhml-2", "focal"), (("d", 3, 0.0),), 60,
            folds=1 if fold else 2, seeds=seeds,
        )  # fmt: skip
        if fold:
            made = [p.at(fold=fold.format(p.origin.seed)) for p in made]
        if fold and "draw" in fold:
            made = [
                dataclasses.replace(p.at(seed=0), ids=np.char.add(p.origin.fold, p.ids))
                for p in made
            ]
        [board] = make_boards(summarise(made, METRICS), pd.DataFrame(), "cross-entropy")
        return drawn(board, made)[-1].caption

    assert "folds share most of their training images:" in caption(1)
    assert "training images and seeds share all their images:" in caption(2)
    assert "but seeds share all their images:" in caption(3, "official")
    assert "independent" not in caption(3, "draw-{}")


def test_critical_differences_heed_alpha(monkeypatch, few):
    used = []
    diagram = scikit_posthocs.critical_difference_diagram

    def spy(*args, alpha=0.05, **kwargs):
        used.append(alpha)
        return diagram(*args, alpha=alpha, **kwargs)

    monkeypatch.setattr(scikit_posthocs, "critical_difference_diagram", spy)
    board = dataclasses.replace(few.boards[0], alpha=0.2)
    assert replicate_ranks(board, scores(few.predictions)).figure
    assert used == [0.2, 0.2, 0.2]


def test_methods_inside_their_own_floor_are_hollow_in_the_cost_figure(few):
    board = few.boards[0]
    inside = {r.method for r in board.rows if r.values["ece"].all_inside}
    assert 0 < len(inside) < len(board.rows)
    [drawing] = cost(board)
    ax = drawing.figure.axes[0]
    hollow = [
        y for line in ax.lines if line.get_markerfacecolor() == "white" for y in line.get_ydata()
    ]
    assert sorted(hollow) == sorted(
        r.values["ece"].value * 100 for r in board.rows if r.method in inside
    )
    assert not [p for p in ax.patches if p.get_height() > 0]
    assert all(method in drawing.alt.partition("Inside")[2] for method in inside)


def test_an_outlier_makes_the_axis_of_nll_logarithmic(few):
    board = few.boards[0]
    assert [ax.get_xscale() for ax in intervals(board).figure.axes] == ["linear", "linear"]
    rows = list(board.rows)
    nll = Value(value=9.0, low=7.0, high=12.0)
    rows[-1] = dataclasses.replace(rows[-1], values={**rows[-1].values, "nll": nll})
    axes = intervals(dataclasses.replace(board, rows=tuple(rows))).figure.axes
    assert [ax.get_xscale() for ax in axes] == ["linear", "log"]
    assert "logarithmic axis" in axes[1].get_xlabel()


def test_infinite_values_are_drawn_at_the_edge(few):
    drawing = drawn(few.boards[0], few.predictions)[1]
    labels = [t.get_text() for t in drawing.figure.legends[0].get_texts()]
    assert "infinite" in labels


def test_overlap_is_not_taken_for_equality(few):
    caption = families(few.boards[0], few.methods)[0].caption
    assert "may overlap although the methods differ" in caption
    assert "does not matter" not in caption


def test_the_dashed_line_is_in_the_legend_and_above_the_bands(few):
    figure = intervals(few.boards[0]).figure
    assert "value of cross-entropy" in [t.get_text() for t in figure.legends[0].get_texts()]
    for ax in figure.axes:
        [dashed] = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert all(dashed.get_zorder() > patch.get_zorder() for patch in ax.patches)


def test_a_logarithmic_cost_axis_says_so_and_has_ticks(few):
    board = few.boards[0]
    for spread in (3.5, 12.0, 4e4):
        rows = [
            dataclasses.replace(
                row, costs={k: dataclasses.replace(c, value=0.77 * spread ** (i / 3))
                            for k, c in row.costs.items()},
            )
            for i, row in enumerate(board.rows)
        ]  # fmt: skip
        [drawing] = cost(dataclasses.replace(board, rows=tuple(rows)))
        ax = drawing.figure.axes[0]
        assert "logarithmic axis" in ax.get_xlabel()
        low, high = ax.get_xlim()
        assert 4 <= sum(low <= tick <= high for tick in ax.get_xticks()) <= 12


def test_a_name_is_broken_without_another_character():
    assert _wrapped("method 20 with spaces", 15) == "method 20 with \nspaces"
    for name in ("abcdefghijklmnopqrst", "a_b-cdefghijklmnopq", "x" * 16):
        assert _wrapped(name, 15).replace("\n", "") == name


def test_coverage_begins_where_errors_do():
    coverage = np.linspace(0, 1, 201)[1:]
    assert _first_errors(coverage, coverage * 0.3) == 0
    assert _first_errors(coverage, np.where(coverage > 0.78, 0.02, 0.0)) == 0.7
    assert _first_errors(coverage, np.where(coverage > 0.998, 0.02, 0.0)) == 0.9
    assert _first_errors(coverage, np.zeros(200)) == 0


def test_band_and_legend_of_reliability_follow_alpha(few):
    board = few.boards[0]
    widths = []
    for alpha, coverage in ((0.05, "95 %"), (0.4, "60 %")):
        known = curves_of(few.predictions, alpha)[board.block]
        drawing = reliability(dataclasses.replace(board, alpha=alpha), known)
        widths.append(sum((r.high - r.low).sum() for r in drawing.values["binned"]))
        assert f"in {coverage} of cases" in drawing.caption
        keys = [t.get_text() for t in drawing.figure.legends[0].get_texts()]
        assert f"expected under perfect calibration ({coverage} of cases)" in keys
    assert widths[1] < 0.7 * widths[0]


def of_family(few, *pairs):
    """The leaderboard with its methods renamed, and definitions of these parameters."""
    rows = [
        dataclasses.replace(row, method=name)
        for row, (name, _) in zip(few.boards[0].rows, pairs, strict=True)
    ]
    board = dataclasses.replace(few.boards[0], rows=tuple(rows), cost_reference=pairs[0][0])
    return board, [{"name": name, "parameters": parameters} for name, parameters in pairs]


def test_a_family_of_any_name_and_parameter_is_drawn(few):
    [drawing] = families(*of_family(
        few, ("plain", {"weight": 0.0, "heads": 1}), ("smooth-0.1", {"weight": 0.1, "heads": 1}),
        ("smooth-0.3", {"weight": 0.3, "heads": 1}), ("other-0.1", {"weight": 0.1, "heads": 1}),
    ))  # fmt: skip
    assert drawing.name.startswith("weight--")
    assert drawing.title == "Which weight?"
    assert drawing.alt.startswith("ECE of smooth by weight: weight 0.1 ")
    [ax, _] = drawing.figure.axes
    assert ax.get_xlabel() == "Weight"
    assert ax.get_xticks() == pytest.approx([0.1, 0.3])
    keys = [t.get_text() for t in drawing.figure.legends[0].get_texts()]
    assert keys[:3] == ["smooth-N", "other-N", "plain (weight 0.0)"]


def test_numbers_of_something_are_called_so(few):
    [drawing] = families(*of_family(
        few, ("plain", {"members": 1}), ("many-2", {"members": 2}), ("many-8", {"members": 8}),
        ("?", {}),
    ))  # fmt: skip
    assert drawing.title == "How many members?"
    assert "multi-member methods against the number of members" in drawing.caption
    assert "by number of members: 2 members " in drawing.alt
    keys = [t.get_text() for t in drawing.figure.legends[0].get_texts()]
    assert "plain (one member)" in keys


def test_a_number_in_a_name_alone_makes_no_family(few):
    nothing = {"name": "mhml-2", "parameters": {"heads": 7}}, {"name": "mhml-4", "parameters": {}}
    assert families(few.boards[0], nothing) == []
    assert families(few.boards[0], []) == []


def test_without_the_ranked_scores_ranks_are_not_drawn(few):
    board, curves = few.boards[0], curves_of(few.predictions)[few.boards[0].block]
    frame = scores(few.predictions)
    assert kinds(draw_block(board, curves, frame))[-1] == "critical-differences"
    without = frame[frame["metric"] != "nll"]
    assert "critical-differences" not in kinds(draw_block(board, curves, without))


def put(folder, drawings):
    folder.mkdir(exist_ok=True)
    (folder / DIGESTS).write_bytes(render(drawings, folder))
    for d in drawings:
        (folder / f"{d.name}.png").write_bytes(d.png)
        (folder / f"{d.name}.svg").write_bytes(d.svg)


def test_only_what_has_changed_is_drawn_again(few, tmp_path, monkeypatch):
    drawn, draw = [], figures._render

    def spy(picture, values):
        drawn.append(picture)
        return draw(picture, values)

    monkeypatch.setattr(figures, "_render", spy)

    def draw_again(board):
        drawn.clear()
        again = [intervals(board), *cost(board), *families(board, few.methods)]
        put(tmp_path, again)
        return sorted(drawn), again

    board = few.boards[0]
    pictures, first = draw_again(board)
    assert pictures == ["family", "forest", "scatter"]
    pictures, second = draw_again(board)
    assert pictures == []
    assert [(d.png, d.svg) for d in second] == [(d.png, d.svg) for d in first]
    (tmp_path / f"{first[0].name}.svg").write_bytes(b"cut off")
    assert draw_again(board)[0] == ["forest"]
    (tmp_path / f"{first[1].name}.png").unlink()
    assert draw_again(board)[0] == ["scatter"]
    rows = [dataclasses.replace(r, costs={k: dataclasses.replace(c, value=c.value + 1)
                                          for k, c in r.costs.items()})
            for r in board.rows]  # fmt: skip
    assert draw_again(dataclasses.replace(board, rows=tuple(rows)))[0] == ["scatter"]
    (tmp_path / DIGESTS).write_text("nonsense")
    assert len(draw_again(board)[0]) == 3
    monkeypatch.setattr(figures, "_code", lambda: "other versions")
    assert len(draw_again(board)[0]) == 3


def test_two_processes_draw_the_same_bytes_in_the_same_order(few, monkeypatch):
    def drawings():
        return [intervals(few.boards[0]), *cost(few.boards[0]), intervals(few.boards[1])]

    alone, together = drawings(), drawings()
    monkeypatch.setattr(figures, "_MANY", 100)
    expected = render(alone)
    monkeypatch.setattr(figures, "_MANY", 2)
    monkeypatch.setattr(figures.joblib, "cpu_count", lambda: 2)
    assert render(together) == expected
    assert [(d.png, d.svg) for d in together] == [(d.png, d.svg) for d in alone]
