"""The headline says what the tests say, and nothing else."""

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.inference import comparison
from benchmark.report.board import make_boards
from benchmark.report.sentences import headline, reading
from benchmark.statistics import Tables
from benchmark.statistics.ranks import _relation

EMPTY = pd.DataFrame()
RANKED = ("accuracy", "ece", "nll")
HEAD = {"preset": "p", "dataset": "d", "backbone": "b", "folds": "draws"}


def board_of(values, different, question="methods"):
    """A board whose tests said this.

    Args:
        values: ``(3, methods)`` of accuracy, ECE and NLL.
        different: ``(3, methods, methods)`` whether two are told apart.
    """
    number = values.shape[1]
    higher = [True, False, False]
    single = [comparison.ranks(v, h) for v, h in zip(values, higher)]
    better = np.array([d * np.sign(r[None] - r[:, None]) for d, r in zip(different, single)])
    rank = np.mean(single, axis=0)
    order = np.argsort(rank, kind="stable")
    relation = _relation(better, order[0])
    letters = [comparison.letters(b != 0, r) for b, r in zip(better, single)]
    ranks, shown = [], []
    for m in order:
        row = {**HEAD, "question": question, "method": f"m{m}", "rank": rank[m], "low": 1.0,
               "high": float(number), "against_first": relation[m]}  # fmt: skip
        for i, metric in enumerate(RANKED):
            row |= {f"rank_{metric}": single[i][m], f"group_{metric}": letters[i][m],
                    f"best_{metric}": not (better[i, m] < 0).any()}  # fmt: skip
            shown.append({**HEAD, "method": f"m{m}", "metric": metric, "value": values[i, m],
                          "images": 9, "replicates": 3})  # fmt: skip
        ranks.append(row)
    tables = Tables(pd.DataFrame(shown), pd.DataFrame(ranks), EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, ())
    [board] = make_boards(tables, EMPTY, "m0")
    return board, better


def said(board):
    return {label: "".join(pieces) for label, pieces in headline(board)}


def told_apart(number, *pairs):
    """In accuracy, ECE and NLL: which pairs."""
    different = np.zeros((3, number, number), bool)
    for metric, one, other in pairs:
        different[metric, one, other] = different[metric, other, one] = True
    return different


def test_methods_between_which_metrics_disagree_are_not_ordered():
    values = np.array([[0.9, 0.8], [0.2, 0.1], [0.3, 0.4]])
    board, _ = board_of(values, told_apart(2, (0, 0, 1), (1, 0, 1), (2, 0, 1)))
    assert said(board)["Not ordered with"] == (
        "1 of 1: m1 (it is better in accuracy and NLL, worse in ECE)"
    )
    assert not {"Ahead of", "Behind", "Not told apart from"} & set(said(board))


def test_a_first_method_that_another_one_beats_is_said_to_be_behind():
    values = np.array([[0.9, 0.8], [0.2, 0.1], [0.3, 0.4]])
    board, _ = board_of(values, told_apart(2, (1, 0, 1)))
    assert said(board)["Behind"].endswith("in none as better): m1")
    assert said(board)["May be best in ECE"].startswith("m1 (")
    assert "m0" not in said(board)["May be best in ECE"]


def test_many_names_are_shortened_but_counted():
    values = np.tile(np.linspace(0.9, 0.1, 9), (3, 1)) * [[1], [-1], [-1]] + [[0], [1], [1]]
    board, _ = board_of(values, told_apart(9))
    assert said(board)["Not told apart from"] == "8 of 8: m1, m2, m3 and 5 others"
    assert said(board)["May be best in NLL"].startswith("any of the 9; first m0 (lowest value: ")


def test_trained_networks_are_called_so():
    values = np.array([[0.9, 0.8], [0.1, 0.2], [0.3, 0.4]])
    board, _ = board_of(values, told_apart(2), "networks")
    assert "too few independent replicates: 2; at least 3 are needed" in said(board)["Speaks of"]
    assert "they say nothing of other trainings" in " ".join(reading([board]))
    both = reading([board, dataclasses.replace(board, question="methods")])
    assert any(line.startswith(board.title) for line in both)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 6), st.sampled_from([0.1, 0.5, 0.9]))
def test_the_headline_says_nothing_that_the_tests_do_not(seed, number, share):
    generator = np.random.default_rng(seed)
    values = generator.random((3, number))
    different = np.triu(generator.random((3, number, number)) < share, 1)
    board, better = board_of(values, different | different.swapaxes(1, 2))
    sentences = said(board)
    methods = [int(row.method[1:]) for row in board.rows]
    first, others = methods[0], methods[1:]
    ahead, behind = (better[:, first] > 0).any(0), (better[:, first] < 0).any(0)
    counts = {
        "Ahead of": ahead & ~behind,
        "Behind": behind & ~ahead,
        "Not ordered with": ahead & behind,
        "Not told apart from": ~(ahead | behind),
    }
    for label, which in counts.items():
        expected = sum(which[others])
        assert sentences.get(label, "0").split()[0] == str(expected)
    for i, short in enumerate(("accuracy", "ECE", "NLL")):
        text = sentences[f"May be best in {short}"].replace("(", " ").replace(",", " ")
        for m in methods:
            beaten = (better[i, m] < 0).any()
            assert not (beaten and f"m{m}" in text.split())
