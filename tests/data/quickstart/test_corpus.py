"""The corpus of this machine, larger than the quick start takes it: about 7 s, made once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from megatron_lrps.data.quickstart import installed_text
from megatron_lrps.data.quickstart.corpus import PIECE_CHARS, Document, Window, characters, collect, deal
from megatron_lrps.data.quickstart.overlap import paragraphs
from megatron_lrps.errors import RefusedError


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return collect(window_chars=3_500_000)


def long_paragraphs(document: Document) -> Iterator[str]:
    for paragraph in paragraphs(document.text):
        text = "\n".join(line.strip() for line in paragraph)
        if len(text.replace("\n", "")) >= 80:
            yield text


def runs_of_five_lines(document: Document) -> Iterator[str]:
    lines = [line.strip() for line in document.text.split("\n") if line.strip()]
    for first in range(len(lines) - 4):
        yield "\n".join(lines[first : first + 5])


def test_four_windows_large_enough_and_capped(windows: list[Window]) -> None:
    assert [window.name for window in windows] == ["v1", "v2", "v3", "v4"]
    for window in windows:
        assert 3_500_000 <= characters(window.train) + characters(window.valid) <= 3_500_000 * 17 / 16


def test_three_to_five_percent_are_held_out_by_file(windows: list[Window]) -> None:
    for window in windows:
        valid = characters(window.valid)
        assert 0.03 <= valid / (valid + characters(window.train)) <= 0.05
        held_out = {document.source for document in window.valid}
        assert len(held_out) >= 8
        assert not held_out & {document.source for document in window.train}


@pytest.mark.parametrize("parts", [long_paragraphs, runs_of_five_lines])
def test_no_validation_block_is_in_any_training_window(
    windows: list[Window], parts: Callable[[Document], Iterator[str]]
) -> None:
    trained = {part for window in windows for document in window.train for part in parts(document)}
    held_out = [part for window in windows for document in window.valid for part in parts(document)]
    assert len(held_out) > 1000
    assert not trained.intersection(held_out)


def lines_of(documents: list[Document]) -> list[str]:
    return sorted(line for document in documents for line in document.text.splitlines(keepends=True))


def test_dealt_windows_have_the_same_text_in_equal_shares_of_every_domain(windows: list[Window]) -> None:
    dealt = deal(windows)
    for kind in ("train", "valid"):
        before = [document for window in windows for document in getattr(window, kind)]
        after = [document for window in dealt for document in getattr(window, kind)]
        assert characters(after) == characters(before)
        assert lines_of(after) == lines_of(before)
        assert max(len(each.text) for each in after) < PIECE_CHARS + max(map(len, lines_of(before)))
    whole = sum(characters(window.train) for window in windows)
    for window in dealt:
        assert characters(window.train) == pytest.approx(whole / 4, rel=0.05)
        for source in windows:
            files = {document.source for document in source.train}
            share = characters(each for each in window.train if each.source in files) / characters(source.train)
            assert share == pytest.approx(0.25, abs=0.05)
    assert deal(windows) == dealt


def test_the_same_seed_gives_the_same_text() -> None:
    first, again, other = (collect(seed, window_chars=200_000) for seed in (1, 1, 2))
    assert first == again
    assert all(window.train != another.train for window, another in zip(first, other, strict=True))


def test_sources_are_names_with_versions_and_no_paths(windows: list[Window]) -> None:
    for window in windows:
        assert all(len(origin.split()) == 2 for origin in window.origin)
        assert not any(Path(document.source).is_absolute() for document in window.train)


def test_a_python_without_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_text, "TESTS_ENOUGH_BYTES", 10**12)
    source = installed_text.tests()
    assert "came without its tests" in source.note
    assert [origin.split()[0] for origin in source.origin] == ["matplotlib", "networkx", "numpy"]
    assert sum(len(file.read()) for file in source.files) > 3_500_000
    # None of them is a file of the documentation window.
    assert not {file.name for file in source.files} & {file.name for file in installed_text.documentation().files}


def test_a_machine_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_text, "CODE_LIBRARIES", ("no-such-package",))
    with pytest.raises(RefusedError) as refused:
        collect(window_chars=200_000)
    assert "v4 (library code) has 0 of 200000 characters" in refused.value.what
    assert "Not installed: no-such-package" in refused.value.what
