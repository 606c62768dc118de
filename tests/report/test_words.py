import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.api import InputError
from benchmark.measures.declared import metrics
from benchmark.report import words

steady = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1.856, 2, "1.86"),
        (-0.5, 1, "−0.5"),
        (-0.004, 2, "0.00"),
        (math.inf, 3, "∞"),
        (-math.inf, 3, "−∞"),
        (math.nan, 3, "–"),
        (0.0, 1, "0.0"),
    ],
)
def test_number(value, digits, text):
    assert words.number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2071.0, "2,070"),
        (412.4, "412"),
        (9.996, "10.0"),
        (0.01234, "0.0123"),
        (11_180_103, "11.2 M"),
        (1.82e9, "1.82 G"),
        (0.0, "0"),
        (math.inf, "∞"),
    ],
)
def test_significant(value, text):
    assert words.significant(value) == text


@pytest.mark.parametrize(
    ("widths", "digits"),
    [([1.6, 1.7, 1.5], 1), ([0.8], 2), ([0.023, math.inf, math.nan], 3), ([], 7), ([35.0], 0)],
)
def test_digits_show_two_significant_digits_of_the_interval(widths, digits):
    assert words.sensible_digits(widths, default=7) == digits


@pytest.mark.parametrize(
    ("group", "text"),
    [("", ""), ("a", "a"), ("ab", "ab"), ("abc", "a–c"), ("abcdfhi", "a–d fhi"),
     ("acefgik", "ac e–g ik"), ("xyza1b1", "x–b1"), ("yza2", "yza2")],
)  # fmt: skip
def test_letter_ranges(group, text):
    assert words.letter_ranges(group) == text


def test_directions_and_formulas_are_those_of_the_metrics():
    for metric in metrics().values():
        kind = words.quantity(metric.name)
        assert (kind.direction, kind.formula) == (metric.direction, metric.formula)
        assert kind.meaning, f"a plain sentence on {metric.name} is missing"


def test_listed():
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"


def test_shortened_keeps_both_ends():
    assert words.shortened("focal", 5) == "focal"
    assert words.shortened("some-method+temperature", 11) == "some-…ature"
    assert len(words.shortened("x" * 99, 20)) == 20


def test_plain_names_stay_readable():
    assert words.file_name("ham10000", "resnet18", "5-folds") == "ham10000--resnet18--5-folds"


@steady
@given(st.lists(st.text(max_size=80), min_size=1, max_size=3))
def test_file_names_are_safe(parts):
    name = words.file_name(*parts)
    assert re.fullmatch(r"[a-z0-9._-]{1,200}", name)
    assert not name.startswith((".", "-"))


@steady
@given(st.text(max_size=60), st.text(max_size=60))
def test_file_names_of_different_things_differ(a, b):
    assert (words.file_name(a) == words.file_name(b)) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"), [("A", "a"), ("a/b", "a-b"), ("../x", "x"), ("a" * 50, "a" * 51)]
)
def test_file_names_that_would_collide(a, b):
    assert words.file_name(a) != words.file_name(b)


def test_what_nobody_declared_is_an_error():
    with pytest.raises(InputError, match="'my_new_score' is neither a metric nor a cost"):
        words.quantity("my_new_score")


@steady
@given(st.text(max_size=40))
def test_pieces_of_a_name_make_the_name(name):
    assert "".join(words.broken(name)) == name


def test_names_break_after_hyphens_and_signs():
    assert words.broken("focal-adaptive[gamma=5]+temperature") == [
        "focal-", "adaptive[", "gamma=5]+", "temperature",
    ]  # fmt: skip
