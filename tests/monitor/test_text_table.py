"""Plain text tables."""

import math

import pytest

from megatron_lrps.monitor.text_table import count_words, number_words, table


def test_numbers_stand_right_and_words_left():
    assert table(("path", "end", "share"), [("main", 34000, "58%"), ("v1", 100, "-")]) == (
        "path     end  share\n----  ------  -----\nmain  34,000    58%\nv1       100      -"
    )


def test_marks_of_a_figure_keep_it_a_number():
    assert table(("path", "ppl"), [("v1", "9.5\N{DAGGER}"), ("v2", "10.5*")]).splitlines()[2] == "v1     9.5\N{DAGGER}"


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (0.0, 1, "0.0"),  # a zero is one
        (0.0031, 1, "0.0031"),
        (0.04, 1, "0.040"),
        (0.004, 0, "0.0040"),
        (4.26, 0, "4.3"),
        (10.4, 0, "10"),
        (1234.56, 1, "1,234.6"),
        (0.000054, 2, "0.000054"),
        (-0.0031, 1, "-0.0031"),
        (3e-8, 2, "3.0e-08"),
        (math.inf, 2, "not finite"),
    ],
)
def test_a_small_figure_is_no_zero(value: float, digits: int, words: str) -> None:
    assert number_words(value, digits) == words


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (999_999, "999,999"),
        (1_000_000, "1M"),
        (12_345_678, "12.3M"),
        (999_400_000, "999M"),
        (999_600_000, "1,000M"),
        (71_303_168_000, "71.3B"),
        (2 * 10**12, "2T"),
        (4567 * 10**12, "4,567T"),
    ],
)
def test_large_numbers_in_words(tokens: int, text: str) -> None:
    assert count_words(tokens) == text
