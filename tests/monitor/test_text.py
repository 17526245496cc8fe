"""Plain text tables."""

import pytest

from megatron_lrps.monitor.text import bytes_words, count_words, table


def test_numbers_stand_right_and_words_left():
    assert table(("path", "end", "share"), [("main", 34000, "58%"), ("v1", 100, "-")]) == (
        "path     end  share\n----  ------  -----\nmain  34,000    58%\nv1       100      -"
    )


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


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"), (3 * 2**29, "1.5 GiB"), (5000 * 2**40, "5,000.0 TiB")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert bytes_words(size) == text
