from types import SimpleNamespace

import pytest

from benchmark.report import write
from benchmark.report.board import make_boards
from benchmark.report.curves import of_methods
from benchmark.report.figures import draw_block
from benchmark.statistics import build, by_block, ordered, summarise

from . import builder

ATTACK = "<script>alert(1)</script>"
LONG = "a-very-long-method-name-that-somebody-typed+temperature"
METRICS = ("accuracy", "ece", "nll", "brier", "ece_classwise", "aurc")
FEW = ("cross-entropy", "mhml-2", "mhml-4", ATTACK)


def curves_of(made, alpha=0.05):
    """Of each block's methods."""
    return {
        block: of_methods(build(ordered(members))[0], alpha)
        for block, members in by_block(made).items()
    }


def drawn(board, made, definitions=()):
    """The figures of a block."""
    scores = summarise(made, METRICS, board.against, board.alpha).scores
    return draw_block(board, curves_of(made, board.alpha)[board.block], scores, definitions)


def material(methods, against="cross-entropy", alpha=0.05, **kwargs):
    made = builder.predictions(methods, **kwargs)
    tables = summarise(made, METRICS, against, alpha)
    costs = builder.costs(made)
    return SimpleNamespace(
        predictions=made,
        tables=tables,
        costs=costs,
        boards=make_boards(tables, costs, against, alpha, "cross-entropy"),
        methods=builder.definitions(methods),
        provenance=builder.PROVENANCE,
        against=against,
        alpha=alpha,
    )


def write_all(folder, made):
    """All files of a report of some material."""
    return write(
        folder, made.tables, curves_of(made.predictions, made.alpha), made.costs, made.methods,
        made.provenance, made.against, made.alpha, "cross-entropy",
    )  # fmt: skip


@pytest.fixture(scope="session")
def few():
    return material(FEW, images=400, infinite=("mhml-2",))


@pytest.fixture(scope="session")
def many():
    return material((*builder.METHODS, LONG), images=400)


@pytest.fixture(scope="session")
def report(tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("report")
    return SimpleNamespace(folder=folder, files=write_all(folder, few))
