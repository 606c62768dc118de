from pathlib import Path

from benchmark import catalogue

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_documentation_of_the_metrics_is_the_registry():
    text = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert text.endswith("\n\n" + catalogue.markdown("metrics") + "\n")


def test_a_bar_in_a_cell_does_not_end_it():
    first, *_ = catalogue.markdown("metrics").splitlines()
    columns = first.count("|")
    for line in catalogue.markdown("metrics").splitlines():
        assert line.replace("\\|", "").count("|") == columns
