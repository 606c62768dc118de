"""What the terminal shows is true, fits, and takes no name for more than a name."""

import io
import json
import math
import re

import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console

from benchmark import terminal
from benchmark.api import BlockKey
from benchmark.cards import cards
from benchmark.library import Results
from benchmark.report import words
from benchmark.statistics import scores, summarise
from tests.report import builder

KEY = list(BlockKey._fields)
MARKUP, CONTROL = "a[/b]", "red\x1b[2Jalert\x07\u202e"
METHODS = (
    "cross-entropy",
    "deep-ensemble",
    "mhml-2",
    "focal[gamma=2]+temperature",
    MARKUP,
    CONTROL,
)
RANKED = ("accuracy", "ece", "nll")
FRAMES = ("ranks", "intervals", "pairs", "detectable", "scores", "costs")
WIDTHS = (80, 100, 160)


def results_of(predictions, costs):
    tables = summarise(predictions, RANKED)
    return Results(
        folder=None,
        ranks=tables.ranks,
        intervals=tables.values,
        pairs=tables.pairs,
        detectable=tables.detectable,
        scores=scores(predictions, RANKED),
        costs=costs,
        notes=tables.notes,
    )


@pytest.fixture(scope="module")
def results():
    alike = builder.predictions(METHODS[:1] + METHODS[3:], (("alike", 3, 1.9),), 24, folds=2)
    apart = builder.predictions(METHODS, (("apart", 7, 0.0),), 400, infinite=("mhml-2",))
    return results_of(alike + apart, builder.costs(alike + apart))


def printed(results, width, **options):
    console = Console(
        width=width, record=True, file=io.StringIO(), markup=False, highlight=False, **options
    )
    terminal.show(cards(results), console)
    return console.file.getvalue()


def of(frame, dataset):
    return frame[frame["dataset"] == dataset]


@pytest.mark.parametrize("width", [40, 60, *WIDTHS])
def test_no_line_is_wider_than_the_terminal(results, width):
    assert max(map(cell_len, printed(results, width).splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_method_stands_in_one_piece_beside_its_values(results, width):
    text = printed(results, width)
    table = text[text.index("apart ·") :].partition("Rank ")[2]
    for row in of(results.ranks, "apart").to_dict("records"):
        name = re.escape(terminal.printable(row["method"]))
        start = rf"^ *{row['rank']:.1f}[^a-z]*  {name} .*\d"
        assert re.search(start, table, re.MULTILINE), row["method"]


@pytest.mark.parametrize("width", [60, *WIDTHS])
def test_what_does_not_fit_is_named(results, width):
    text = printed(results, width)
    said = " ".join(re.sub(r".*full table", "full table", text[-2000:]).split())
    assert "full table: leaderboard.md, report.html" in said
    left_out = " ".join(text.split()).partition("without ")[2].partition("; full")[0]
    heads = {"Rank", "Accuracy", "ECE", "NLL", "Training", "Inference"}
    shown = next(line for line in text.splitlines() if line.lstrip().startswith("Rank "))
    assert {head for head in heads if head not in shown} == {h for h in heads if h in left_out}
    bounds = re.search(r"^ *\d.*\[\d.*\[\d.*\[\d", text, re.MULTILINE)
    assert bool(bounds) == ("intervals" not in left_out)


def test_intervals_go_first_then_the_costs(results):
    assert "without" not in printed(results, 160)
    assert "without intervals at" in printed(results, 100)
    assert re.search(r"without intervals(, Inference)? at", printed(results, 80))
    assert "without intervals, Training, Inference at" in " ".join(printed(results, 60).split())


def test_data_sets_on_which_methods_differ_come_first(results):
    first, second = cards(results)
    assert (first.title.split(" · ")[0], first.differ) == ("apart", True)
    assert (second.title.split(" · ")[0], second.differ) == ("alike", False)
    groups = {
        name: max(of(results.ranks, name)[f"group_{metric}"].nunique() for metric in RANKED)
        for name in ("alike", "apart")
    }
    assert groups["alike"] == 1 < groups["apart"]


@pytest.mark.parametrize("dataset", ["alike", "apart"])
def test_the_card_says_what_the_frames_say(results, dataset):
    [card] = (c for c in cards(results) if c.title.startswith(dataset))
    said = dict(card.sentences)
    ranks = of(results.ranks, dataset).sort_values(["rank", "method"])
    best = ranks.iloc[0]
    name = terminal.printable
    assert said["First in mean rank"].startswith(f"{name(best['method'])}: {best['rank']:.1f}")
    bounds = f"[{best['low']:.1f}, {best['high']:.1f}]"
    assert (bounds in said["First in mean rank"]) == (dataset == "apart")
    assert ("Speaks of" in said) == (dataset == "alike")  # two folds say nothing of methods
    for metric, short in zip(RANKED, ("accuracy", "ECE", "NLL")):
        values = of(results.intervals, dataset).query("metric == @metric").set_index("method")
        candidates = ranks[ranks[f"best_{metric}"]].sort_values(f"rank_{metric}")["method"]
        text = said[f"May be best in {short}"]
        assert name(candidates.iloc[0]) in text
        if len(candidates) == len(ranks):
            assert text.startswith(f"any of the {len(ranks)}; ")
        elif len(candidates) <= 4:
            assert all((name(m) in text) == (m in set(candidates)) for m in ranks["method"])
        extreme = values["value"].max() if metric == "accuracy" else values["value"].min()
        number = re.search(r"value: ([\d.]+)", text)[1]
        shown = float(number) / words.quantity(metric).scale
        assert shown == pytest.approx(extreme, abs=0.005)
    for relation, label in (("behind", "Ahead of"), ("not told apart", "Not told apart from"),
                            ("not ordered", "Not ordered with"), ("ahead", "Behind")):  # fmt: skip
        others = ranks[ranks["against_first"] == relation]["method"]
        assert said.get(label, "0").startswith(str(len(others)))
        if 0 < len(others) <= 4:
            assert all(name(m) in said[label] for m in others)
    alike = ranks[ranks["against_first"].isin(["first", "not told apart"])]["method"]
    costs = of(results.costs, dataset).query("metric == 'train_seconds'")
    seconds = costs.groupby("method")["value"].mean()
    assert f"Training {words.significant(seconds[best['method']])} s" in said["Its cost"]
    clear = costs.groupby("method")["doubt"].agg(lambda doubts: not any(doubts))
    candidates = [m for m in alike if clear[m]]
    assert ("Cheapest not told apart" in said) == (len(candidates) > 1)
    if len(candidates) > 1:
        cheapest, _, cost = said["Cheapest not told apart"].partition(": Training ")
        [method] = (m for m in seconds.index if name(m) == cheapest)
        assert seconds[method] == min(seconds[m] for m in candidates)
        assert cost.startswith(words.significant(seconds[method]))


def test_the_table_says_what_the_frames_say(results):
    card = cards(results)[0]
    columns = {column.head: column for column in (*card.metrics, *card.costs)}
    order = of(results.ranks, "apart").sort_values(["rank", "method"])["method"].tolist()
    values = of(results.intervals, "apart").set_index(["metric", "method"])
    for metric, head in zip(RANKED, ("Accuracy", "ECE", "NLL")):
        scale = words.quantity(metric).scale
        for place, method in enumerate(order):
            row, cell = values.loc[metric, method], columns[head].cells[place]
            assert ("°" in cell) == (row["inside_floor"] == row["replicates"])
            assert ("‡" in cell) == row["unstable"]
            value = math.inf if "∞" in cell else float(cell.strip("°‡"))
            assert value == pytest.approx(row["value"] * scale, abs=0.06)
    paid = of(results.costs, "apart").groupby(["metric", "method"])["value"].mean()
    for metric, head in (("train_seconds", "Training"), ("predict_images_per_second", "Inference")):
        assert columns[head].cells == [words.significant(paid[metric, m]) for m in order]


def test_names_are_no_markup_and_bring_no_control_characters(results):
    text = printed(results, 160)
    assert MARKUP in text
    assert CONTROL not in text
    assert "red\ufffd[2Jalert\ufffd\ufffd" in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_colour_is_for_terminals_and_can_be_refused(results, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    green = "\x1b[32m"
    colours = {"force_terminal": True, "color_system": "standard"}
    assert green in printed(results, 100, **colours)
    assert green not in printed(results, 100)
    monkeypatch.setenv("NO_COLOR", "1")
    assert green not in printed(results, 100, **colours)


def test_hardware_is_never_mixed_in_a_column(results):
    costs = of(results.costs, "apart").copy()
    costs.loc[costs["method"] == "mhml-2", "hardware"] = "another"
    two = results_of_part(results, "apart", costs)
    [card] = cards(two)
    heads = [column.head for column in card.costs]
    assert heads == [
        "Training (2 x Xeon 2.8 GHz)", "Training (another)",
        "Inference (2 x Xeon 2.8 GHz)", "Inference (another)",
    ]  # fmt: skip
    place = [name.split()[0] for name in card.methods].index("mhml-2")
    assert [column.cells[place] == "–" for column in card.costs] == [True, False, True, False]
    assert max(map(cell_len, printed(two, 80).splitlines())) <= 80


def results_of_part(results, dataset, costs):
    return Results(
        folder=None,
        **{n: of(getattr(results, n), dataset) for n in FRAMES if n != "costs"},
        costs=costs,
    )


def test_without_costs_there_are_no_columns_of_them(results):
    none = results_of_part(results, "apart", results.costs.iloc[:0])
    assert cards(none)[0].costs == []
    assert "Training" not in printed(none, 80)


def test_json_holds_the_frames_and_nothing_that_json_does_not_know(results):
    content = json.loads(results.to_json(), parse_constant=pytest.fail)
    ranks = pd.DataFrame(content["ranks"])
    assert ranks["rank"].tolist() == results.ranks["rank"].tolist()
    infinite = [row["dataset"] for row in content["values"] if row["value"] == "Infinity"]
    assert infinite == ["apart"]
    assert {row["metric"] for row in content["costs"]} == set(results.costs["metric"])
    kept = [row["value"] for row in content["values"] if row["value"] != "Infinity"]
    assert kept == [v for v in results.intervals["value"] if math.isfinite(v)]
    assert len(content["detectable"]) == len(results.detectable) == len(RANKED)


def test_a_notebook_shows_all_methods_and_no_script_of_theirs(results):
    attacked = results_of_part(results, "apart", results.costs.iloc[:0])
    attacked = Results(**{
        **vars(attacked), "ranks": attacked.ranks.replace("apart", "<script>alert(1)</script>"),
        "intervals": attacked.intervals.replace("apart", "<script>alert(1)</script>"),
    })  # fmt: skip
    html = attacked._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert all(terminal.printable(name) in html for name in METHODS)


def test_a_name_longer_than_the_line_ends_lines_where_its_parts_end(results):
    long = "a-very-long-name[heads=6,learning_rate=0.001,weight=0.25,members=7]+temperature"
    renamed = {n: getattr(results, n).replace("deep-ensemble", long) for n in FRAMES}
    text = printed(Results(folder=None, **renamed), 80)
    assert max(map(cell_len, text.splitlines())) <= 80
    table = text.partition("\nRank ")[2]
    parts = re.findall(r"[a-z0-9.]+[-+_,=]?", long)
    assert all(re.search(re.escape(part), table) for part in parts)
    assert "…" not in table


def test_an_invisible_bar_prints_nothing(capsys):
    with terminal.progress(visible=False) as (_, decoding):
        decoding(1, 2)
    assert capsys.readouterr() == ("", "")
