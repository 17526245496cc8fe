from pathlib import Path

import pytest

from megatron_lrps.data import quickstart
from megatron_lrps.data.index_reader import index_facts
from megatron_lrps.data.quickstart import QuickstartFacts, prepare_quickstart
from megatron_lrps.errors import RefusedError

WINDOW_CHARS = 300_000


def prepare(folder: Path, vocab_size: int = 1000) -> tuple[QuickstartFacts, list[str]]:
    lines: list[str] = []
    facts = prepare_quickstart(folder, vocab_size=vocab_size, progress=lines.append, window_chars=WINDOW_CHARS)
    return facts, lines


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QuickstartFacts]:
    folder = tmp_path_factory.mktemp("quickstart")
    return folder, prepare(folder)[0]


def test_files_and_counts(prepared: tuple[Path, QuickstartFacts]) -> None:
    folder, facts = prepared
    pairs = [f"v{n}/{split}.{end}" for n in range(1, 5) for split in ("train", "valid") for end in ("bin", "idx")]
    assert sorted(contents(folder / "data")) == sorted([*pairs, "facts.json", "tokenizer.model"])
    assert facts.vocab_size == 1000
    for window in facts.windows:
        for split in (window.train, window.valid):
            assert index_facts(folder / "data" / split.prefix) == (split.documents, split.tokens)
            assert split.fingerprint.bin_bytes == 2 * split.tokens  # uint16
        assert 100_000 < window.train.tokens + window.valid.tokens < WINDOW_CHARS


def test_a_second_call_does_nothing(prepared: tuple[Path, QuickstartFacts], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, facts = prepared
    before = contents(folder)
    monkeypatch.setattr(quickstart, "collect", None)  # any work would call it
    again, lines = prepare(folder)
    assert again == facts
    assert lines == [f"{folder / 'data'} is whole: nothing to do"]
    assert contents(folder) == before


@pytest.mark.parametrize("torn", ["v2/valid.idx", "v3/train.bin", "facts.json"])
def test_a_torn_folder_is_rebuilt(prepared: tuple[Path, QuickstartFacts], torn: str) -> None:
    folder, _ = prepared
    before = contents(folder)
    path = folder / "data" / torn
    path.write_bytes(path.read_bytes()[:-2])  # of facts.json: the closing brace
    _, lines = prepare(folder)
    assert "nothing to do" not in lines[-1]
    if torn != "facts.json":  # without it nothing says what was there
        assert torn.split(".")[0] in lines[0]
    assert contents(folder) == before


def test_a_kill_while_rebuilding_is_seen(
    prepared: tuple[Path, QuickstartFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = prepared
    before = contents(folder)
    (folder / "data" / "v1" / "train.idx").unlink()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(quickstart, "_write_split", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder)
    assert not (folder / "data" / "facts.json").exists()
    prepare(folder)
    assert contents(folder) == before


def test_other_settings_are_refused(prepared: tuple[Path, QuickstartFacts]) -> None:
    folder, _ = prepared
    before = contents(folder)
    with pytest.raises(RefusedError, match="vocab_size 1000, but 2000"):
        prepare(folder, vocab_size=2000)
    assert contents(folder) == before
