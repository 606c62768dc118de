import pytest

from benchmark.report.markdown import bullets, escape_markdown, markdown_table


def test_a_table_is_aligned_where_it_is_read_raw():
    assert markdown_table(["name", "n"], [["a", "1,000"], ["日本", "2"]]).splitlines() == [
        "| name |     n |",
        "| ---- | ----: |",
        "| a    | 1,000 |",
        "| 日本 |     2 |",  # wide characters take two columns
    ]


def test_any_columns_can_be_aligned_to_the_left():
    lines = markdown_table(["a", "b"], [["1", "2"]], left=(1,)).splitlines()
    assert lines == ["|   a | b   |", "| --: | --- |", "|   1 | 2   |"]


def test_a_line_too_short_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        markdown_table(["a", "b"], [["1"]])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<b>", r"\<b>"),
        ("p < 0.05", "p < 0.05"),
        ("train_seconds", "train_seconds"),
        ("_so_", r"\_so\_"),
        ("two\nlines", "two lines"),
        ("[a](b)", r"[a\](b)"),
    ],
)
def test_only_markup_is_escaped(text, escaped):
    assert escape_markdown(text) == escaped


def test_bullets_are_escaped():
    assert bullets(["a", "*b*"]) == "- a\n- \\*b\\*"
