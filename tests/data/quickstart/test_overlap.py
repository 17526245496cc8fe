from megatron_lrps.data.quickstart.overlap import OverlapFilter, paragraphs


def lines(prefix: str, count: int) -> str:
    return "\n".join(f"{prefix} line {number} with some more words" for number in range(count))


def test_paragraphs() -> None:
    assert paragraphs("\n\na  \nb\n \n\n c\n") == [("a", "b"), (" c",)]


def test_the_same_text_is_kept_once() -> None:
    overlap = OverlapFilter()
    text = lines("one", 10)
    assert overlap.keep(text) == [text + "\n"]
    assert overlap.keep(text) == []


def test_a_repeated_paragraph_splits_the_file_in_two() -> None:
    overlap = OverlapFilter()
    shared = "shared words, " * 8  # one line of 112 characters
    overlap.keep(f"{lines('one', 9)}\n\n{shared}")
    first, last = lines("two", 9), lines("three", 9)
    assert overlap.keep(f"{first}\n\n{shared}\n\n{last}") == [first + "\n", last + "\n"]


def test_five_lines_in_a_row_go_with_their_paragraph_and_four_stay() -> None:
    overlap = OverlapFilter()
    overlap.keep(lines("one", 10))
    kept = lines("two", 9)
    with_four = f"{lines('one', 4)}\n{lines('four', 9)}"
    with_five = f"{lines('one', 5)}\n{lines('five', 9)}"
    assert overlap.keep(f"{kept}\n\n{with_four}") == [f"{kept}\n\n{with_four}\n"]
    assert overlap.keep(f"{lines('three', 9)}\n\n{with_five}") == [lines("three", 9) + "\n"]


def test_indentation_does_not_hide_a_repetition() -> None:
    overlap = OverlapFilter()
    overlap.keep(lines("one", 10))
    assert overlap.keep("\n".join("    " + line for line in lines("one", 10).split("\n"))) == []


def test_short_paragraphs_of_the_language_stay() -> None:
    overlap = OverlapFilter()
    overlap.keep(f"import os\n\n{lines('one', 9)}")
    assert overlap.keep(f"import os\n\n{lines('two', 9)}") == [f"import os\n\n{lines('two', 9)}\n"]


def test_what_is_left_of_a_file_may_be_too_short() -> None:
    assert OverlapFilter().keep("word " * 39) == []  # 194 characters without the last space
