"""Plain text tables."""

from megatron_lrps.monitor.text import table


def test_numbers_stand_right_and_words_left():
    assert table(("path", "end", "share"), [("main", 34000, "58%"), ("v1", 100, "-")]) == (
        "path     end  share\n----  ------  -----\nmain  34,000    58%\nv1       100      -"
    )
