"""The corpus of this machine, larger than the quick start takes it: about 7 s, made once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from megatron_lrps.data.quickstart import installed_text
from megatron_lrps.data.quickstart.installed_text import (
    PIECE_CHARS,
    Document,
    Lines,
    VersionText,
    characters,
    collect,
    mix,
    paragraphs,
    unseen,
)
from megatron_lrps.errors import RefusedError


@pytest.fixture(scope="module")
def versions() -> list[VersionText]:
    return collect(version_chars=3_500_000)


def long_paragraphs(document: Document) -> Iterator[str]:
    for paragraph in paragraphs(document.text):
        text = "\n".join(line.strip() for line in paragraph)
        if len(text.replace("\n", "")) >= 80:
            yield text


def runs_of_five_lines(document: Document) -> Iterator[str]:
    lines = [line.strip() for line in document.text.split("\n") if line.strip()]
    for first in range(len(lines) - 4):
        yield "\n".join(lines[first : first + 5])


def test_four_versions_large_enough_and_capped(versions: list[VersionText]) -> None:
    assert [version.name for version in versions] == ["v1", "v2", "v3", "v4"]
    for version in versions:
        assert 3_500_000 <= characters(version.train) + characters(version.valid) <= 3_500_000 * 17 / 16


def test_three_to_five_percent_are_held_out_by_file(versions: list[VersionText]) -> None:
    for version in versions:
        valid = characters(version.valid)
        assert 0.03 <= valid / (valid + characters(version.train)) <= 0.05
        held_out = {document.file for document in version.valid}
        assert len(held_out) >= 8
        assert not held_out & {document.file for document in version.train}


@pytest.mark.parametrize("parts", [long_paragraphs, runs_of_five_lines])
def test_no_validation_block_is_in_any_training_text(
    versions: list[VersionText], parts: Callable[[Document], Iterator[str]]
) -> None:
    trained = {part for version in versions for document in version.train for part in parts(document)}
    held_out = [part for version in versions for document in version.valid for part in parts(document)]
    assert len(held_out) > 1000
    assert not trained.intersection(held_out)


def lines_of(documents: list[Document]) -> list[str]:
    return sorted(line for document in documents for line in document.text.splitlines(keepends=True))


def test_mixed_versions_have_the_same_text_in_equal_shares_of_every_domain(versions: list[VersionText]) -> None:
    mixed = mix(versions)
    for kind in ("train", "valid"):
        before = [document for version in versions for document in getattr(version, kind)]
        after = [document for version in mixed for document in getattr(version, kind)]
        assert characters(after) == characters(before)
        assert lines_of(after) == lines_of(before)
        assert max(len(each.text) for each in after) < PIECE_CHARS + max(map(len, lines_of(before)))
    whole = sum(characters(version.train) for version in versions)
    for version in mixed:
        assert characters(version.train) == pytest.approx(whole / 4, rel=0.05)
        for kind_of_text in versions:
            files = {document.file for document in kind_of_text.train}
            share = characters(each for each in version.train if each.file in files) / characters(kind_of_text.train)
            assert share == pytest.approx(0.25, abs=0.05)
    assert mix(versions) == mixed


def test_the_same_seed_gives_the_same_text() -> None:
    first, again, other = (collect(seed, version_chars=200_000) for seed in (1, 1, 2))
    assert first == again
    assert all(version.train != another.train for version, another in zip(first, other, strict=True))


def test_sources_are_names_with_versions_and_no_paths(versions: list[VersionText]) -> None:
    for version in versions:
        assert all(len(origin.split()) == 2 for origin in version.origin)
        assert not any(Path(document.file).is_absolute() for document in version.train)


def test_a_python_without_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_text, "TESTS_ENOUGH_BYTES", 10**12)
    kind = installed_text.tests()
    assert [origin.split()[0] for origin in kind.origin] == ["matplotlib", "networkx", "numpy"]
    assert sum(len(read()) for read in kind.files.values()) > 3_500_000
    # None of them is a file of the documentation.
    assert not kind.files.keys() & installed_text.documentation().files.keys()


def test_a_machine_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_text, "CODE_LIBRARIES", ("no-such-package",))
    with pytest.raises(RefusedError) as refused:
        collect(version_chars=200_000)
    assert "v4 (library code) has 0 of 200000 characters" in refused.value.what
    assert "Install matplotlib, networkx, numpy, no-such-package" in refused.value.fix


def lines(prefix: str, count: int) -> str:
    return "\n".join(f"{prefix} line {number} with some more words" for number in range(count))


def test_paragraphs() -> None:
    assert paragraphs("\n\na  \nb\n \n\n c\n") == [("a", "b"), (" c",)]


def test_the_same_text_is_kept_once() -> None:
    seen: set[Lines] = set()
    text = lines("one", 10)
    assert unseen(text, seen) == [text + "\n"]
    assert unseen(text, seen) == []


def test_a_repeated_paragraph_splits_the_file_in_two() -> None:
    seen: set[Lines] = set()
    shared = "shared words, " * 8  # one line of 112 characters
    unseen(f"{lines('one', 9)}\n\n{shared}", seen)
    first, last = lines("two", 9), lines("three", 9)
    assert unseen(f"{first}\n\n{shared}\n\n{last}", seen) == [first + "\n", last + "\n"]


def test_five_lines_in_a_row_go_with_their_paragraph_and_four_stay() -> None:
    seen: set[Lines] = set()
    unseen(lines("one", 10), seen)
    kept = lines("two", 9)
    with_four = f"{lines('one', 4)}\n{lines('four', 9)}"
    with_five = f"{lines('one', 5)}\n{lines('five', 9)}"
    assert unseen(f"{kept}\n\n{with_four}", seen) == [f"{kept}\n\n{with_four}\n"]
    assert unseen(f"{lines('three', 9)}\n\n{with_five}", seen) == [lines("three", 9) + "\n"]


def test_indentation_does_not_hide_a_repetition() -> None:
    seen: set[Lines] = set()
    unseen(lines("one", 10), seen)
    assert unseen("\n".join("    " + line for line in lines("one", 10).split("\n")), seen) == []


def test_short_paragraphs_of_the_language_stay() -> None:
    seen: set[Lines] = set()
    unseen(f"import os\n\n{lines('one', 9)}", seen)
    assert unseen(f"import os\n\n{lines('two', 9)}", seen) == [f"import os\n\n{lines('two', 9)}\n"]


def test_what_is_left_of_a_file_may_be_too_short() -> None:
    assert unseen("word " * 39, set()) == []  # 194 characters without the last space


def test_the_same_text_can_be_dealt_to_more_versions(versions: list[VersionText]) -> None:
    eight = mix(versions, count=8)
    assert [version.name for version in eight] == [f"v{number}" for number in range(1, 9)]
    whole = sum(characters(version.train) for version in versions)
    assert sum(characters(version.train) for version in eight) == whole
    for version in eight:
        assert characters(version.train) == pytest.approx(whole / 8, rel=0.1)
