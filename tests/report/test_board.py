import math

import pandas as pd
import pytest

from benchmark.report.board import Standing, make_boards
from benchmark.report.sentences import footnotes
from benchmark.report.tables import csv
from benchmark.statistics import Tables

from .builder import definitions

HEAD = {"preset": "standard", "dataset": "d", "backbone": "b", "folds": "2 folds"}
EMPTY = pd.DataFrame()


def ranks(**methods):
    """Rank and letters in accuracy, or in accuracy and NLL: those of ECE are shared by all."""
    first = min(methods, key=lambda m: methods[m][0])
    rows = []
    for method, (rank, *groups) in methods.items():
        alike = all(set(a) & set(b) for a, b in zip(groups, methods[first][1:]))
        relation = "first" if method == first else "not told apart" if alike else "behind"
        row = {**HEAD, "question": "methods", "method": method, "rank": rank, "low": rank - 1,
               "high": rank + 1, "against_first": relation}  # fmt: skip
        for metric, group in zip(("accuracy", "nll", "ece"), (*groups, "a", "a")):
            best = "a" in group
            row |= {f"rank_{metric}": rank, f"group_{metric}": group, f"best_{metric}": best}
        rows.append(row)
    return pd.DataFrame(rows)


def values(**methods):
    return pd.DataFrame(
        [{**HEAD, "method": m, "metric": metric, "value": v, "images": 10, "replicates": 3}
         for m, line in methods.items() for metric, v in line.items()]
    )  # fmt: skip


def tables(ranks, values=EMPTY, pairs=EMPTY):
    return Tables(values, ranks, pairs, EMPTY, EMPTY, EMPTY, EMPTY, ())


def cost(method, seconds, fold="1/2", hardware="cpu", doubt=""):
    return {"preset": "standard", "dataset": "d", "backbone": "b", "method": method, "fold": fold,
            "seed": 0, "metric": "train_seconds", "value": seconds,
            "hardware": hardware, "doubt": doubt}  # fmt: skip


def priced(costs, against="m", reference="cross-entropy"):
    frame = ranks(m=(1.0, "a"), **{"cross-entropy": (2.0, "a")})
    return make_boards(tables(frame), costs, against, cost_reference=reference)


def test_rows_are_sorted_by_rank_then_name_and_unranked_last():
    frame = ranks(b=(2.0, "a"), c=(1.0, "a"), a=(2.0, "a"), x=(math.nan, ""))
    [board] = make_boards(tables(frame), EMPTY, "c")
    assert [r.method for r in board.rows] == ["c", "a", "b", "x"]


def test_alike_are_those_that_the_tests_do_not_tell_apart_from_the_first():
    frame = ranks(a=(1.0, "ab"), b=(2.0, "a"), c=(3.0, "bc"), d=(4.0, "c"))
    [board] = make_boards(tables(frame), EMPTY, "a")
    assert [r.method for r in board.alike] == ["a", "b", "c"]


def test_letters_beyond_z_are_other_letters():
    assert not Standing(group="ba1").letters & Standing(group="a").letters
    assert Standing(group="ba1").letters & Standing(group="a1b").letters


def test_what_tells_two_methods_apart_is_known_by_metric():
    frame = ranks(a=(1.0, "a", "b"), b=(2.0, "b", "a"))
    frame["rank_nll"] = [2.0, 1.0]
    a, b = make_boards(tables(frame), EMPTY, "a")[0].rows
    assert a.compared(b) == {"accuracy": True, "nll": False}
    assert b.compared(a) == {"accuracy": False, "nll": True}


def test_the_rank_of_one_method_alone_has_no_interval():
    [board] = make_boards(tables(ranks(a=(1.0, "a"))), EMPTY, "a")
    assert math.isnan(board.rows[0].rank.low)
    assert not board.differ


def test_an_interval_that_is_all_of_the_range_is_not_shown():
    frame = values(a={"accuracy": 0.5, "nll": 1.0}).assign(low=0.0, high=[1.0, 3.0])
    [board] = make_boards(tables(ranks(a=(1.0, "a")), frame), EMPTY, "a")
    assert str(board.columns[0].cells["a"]) == "50"
    assert str(board.columns[1].cells["a"]) == "1.0 [0.0, 3.0]"


def test_coverage_is_that_of_the_intervals():
    [board] = make_boards(tables(ranks(a=(1.0, "a"))), EMPTY, "a", alpha=0.1)
    assert board.coverage == "90 %"


def test_the_leading_method_follows_the_direction_and_skips_what_is_absent():
    frame = values(a={"accuracy": 0.8, "nll": math.inf}, b={"accuracy": 0.9, "nll": math.nan})
    [board] = make_boards(tables(ranks(a=(1.0, "a"), b=(2.0, "a")), frame), EMPTY, "a")
    assert board.leading("accuracy").method == "b"
    assert board.leading("nll").method == "a"


def test_ratio_uses_the_replicates_that_both_have():
    costs = pd.DataFrame([cost("cross-entropy", 10.0), cost("cross-entropy", 90.0, "2/2"),
                          cost("m", 20.0)])  # fmt: skip
    [board] = priced(costs)
    by_name = {r.method: r.costs["train_seconds", "cpu"] for r in board.rows}
    assert by_name["m"].ratio == pytest.approx(2.0)
    assert (by_name["cross-entropy"].value, by_name["cross-entropy"].ratio) == (50.0, 1.0)


def test_ratio_leaves_out_what_the_reference_lacks():
    costs = pd.DataFrame([cost("cross-entropy", 10.0), cost("m", 20.0), cost("m", 90.0, "2/2")])
    [board] = priced(costs)
    assert board.rows[0].costs["train_seconds", "cpu"].ratio == pytest.approx(2.0)
    assert board.rows[0].costs["train_seconds", "cpu"].value == pytest.approx(55.0)


def test_without_their_reference_costs_are_compared_with_that_of_the_differences():
    costs = pd.DataFrame([cost("cross-entropy", 10.0), cost("m", 20.0)])
    for reference in ("", "never run"):
        [board] = priced(costs, against="m", reference=reference)
        assert board.cost_reference == "m"
        assert board.rows[1].costs["train_seconds", "cpu"].ratio == 0.5


def test_there_is_no_ratio_to_a_cost_of_nothing():
    [board] = priced(pd.DataFrame([cost("cross-entropy", 0.0), cost("m", 20.0)]))
    assert math.isnan(board.rows[0].costs["train_seconds", "cpu"].ratio)


def test_hardware_is_never_mixed():
    costs = pd.DataFrame([cost("cross-entropy", 10.0), cost("m", 1.0, hardware="gpu")])
    [board] = priced(costs)
    assert board.costs == (("train_seconds", "cpu"), ("train_seconds", "gpu"))
    assert [c.head for c in board.columns] == ["Training s ↓ (cpu)", "Training s ↓ (gpu)"]
    m = next(r for r in board.rows if r.method == "m").costs
    assert set(m) == {("train_seconds", "gpu")}
    assert math.isnan(m["train_seconds", "gpu"].ratio)
    assert str(board.columns[1].cells["m"]) == "1.00§"


def test_what_cannot_be_compared_is_marked_and_has_no_ratio():
    costs = pd.DataFrame([
        cost("cross-entropy", 10.0), cost("cross-entropy", 10.0, "2/2"),
        cost("m", 20.0), cost("m", 60.0, "2/2", doubt="disturbed"),
    ])  # fmt: skip
    [board] = priced(costs)
    [column] = board.columns
    assert str(column.cells["m"]) == "40.0§ (2.00×)"  # of the replicate that was not disturbed
    assert str(column.cells["cross-entropy"]) == "10.0 (1.00×)"
    [sign] = footnotes([board])
    assert sign[0] == "§"
    assert sign[1].startswith("not to be compared")
    [board] = priced(costs[costs["fold"] == "2/2"])
    assert str(board.columns[0].cells["m"]) == "60.0§"
    assert "train_seconds_doubt" in csv([board], None).splitlines()[0]
    assert board.cheapest is None


def test_ratios_have_intervals():
    costs = [cost("cross-entropy", 10.0, f"{i}/3") for i in (1, 2, 3)]
    costs += [cost("m", seconds, f"{i}/3") for i, seconds in ((1, 10.0), (2, 20.0), (3, 40.0))]
    frame = ranks(m=(1.0, "a"), **{"cross-entropy": (2.0, "a")}).assign(folds="3 folds")
    [board] = make_boards(tables(frame), pd.DataFrame(costs), "cross-entropy")
    assert str(board.columns[0].cells["m"]) == "23.3 (2.00× [0.36, 11.19])"
    assert board.cheapest == ("cross-entropy", ("m",))


def test_differences_are_known_by_their_reference():
    pairs = pd.DataFrame(
        [{**HEAD, "question": "methods", "metric": "ece", "method": "b", "reference": r,
          "difference": d}
         for r, d in (("a", 0.1), ("c", 0.2))]
    )  # fmt: skip
    frame = ranks(a=(1.0, "a"), b=(2.0, "a"), c=(3.0, "a"))
    [board] = make_boards(tables(frame, pairs=pairs), EMPTY, "c")
    assert board.rows[1].differences["methods", "ece", "c"].difference == 0.2
    assert board.leaders == {("methods", "ece"): "a"}  # the other one is the best


def test_main_metrics_are_all_where_no_primary_one_was_asked_for():
    frame = values(a={"mce": 0.1, "aurc": 0.2})
    [board] = make_boards(tables(ranks(a=(1.0, "a")), frame), EMPTY, "a")
    assert board.main_metrics == ("mce", "aurc")


def test_blocks_are_kept_apart(many):
    assert [b.block.dataset for b in many.boards] == ["ham10000", "pneumoniamnist"]
    assert all(len(b.rows) == len(definitions()) + 1 for b in many.boards)
    assert len({b.file_name for b in many.boards}) == 2


def test_names_of_a_board():
    frame = ranks(a=(1.0, "a")).assign(folds="official")
    [board] = make_boards(tables(frame), EMPTY, "a")
    assert board.title == "d · b · official split · standard"
    assert board.file_name == "d--b--official--standard"
