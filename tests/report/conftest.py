from types import SimpleNamespace

import pytest

from benchmark.report import write
from benchmark.report.board import make_boards
from benchmark.statistics import summarise

from . import builder

ATTACK = "<script>alert(1)</script>"
LONG = "a-very-long-method-name-that-somebody-typed+temperature"
METRICS = ("accuracy", "ece", "nll", "brier", "ece_classwise", "aurc")
FEW = ("cross-entropy", "mhml-2", "mhml-4", ATTACK)


def material(methods, against="cross-entropy", alpha=0.05, **kwargs):
    made = builder.predictions(methods, **kwargs)
    tables = summarise(made, METRICS, against, alpha)
    costs = builder.costs(made)
    return SimpleNamespace(
        predictions=made,
        tables=tables,
        costs=costs,
        boards=make_boards(tables, costs, against, alpha),
        methods=builder.definitions(methods),
        provenance=builder.PROVENANCE,
    )


@pytest.fixture(scope="session")
def few():
    return material(FEW, images=400, infinite=("mhml-2",))


@pytest.fixture(scope="session")
def many():
    return material((*builder.METHODS, LONG), images=400)


@pytest.fixture(scope="session")
def report(tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("report")
    files = write(
        folder, few.tables, few.predictions, few.costs, few.methods, few.provenance
    )  # fmt: skip
    return SimpleNamespace(folder=folder, files=files)
