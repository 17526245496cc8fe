from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_lrps.data import index_writer
from megatron_lrps.data.index_reader import index_facts
from megatron_lrps.data.quickstart import corpus
from megatron_lrps.data.quickstart.corpus import prepare_quickstart
from megatron_lrps.errors import RefusedError

WINDOW_CHARS = 300_000


def prepare(folder: Path, vocab_size: int = 1000) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    facts = prepare_quickstart(
        folder, vocab_size=vocab_size, progress=lines.append, window_chars=WINDOW_CHARS, mixed=True
    )
    return facts, lines


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("quickstart")
    return folder, prepare(folder)[0]


def test_files_and_counts(prepared: tuple[Path, dict[str, Any]]) -> None:
    folder, facts = prepared
    prefixes = ["valid", *(f"v{number}/{split}" for number in range(1, 5) for split in ("train", "valid"))]
    pairs = [f"{prefix}.{end}" for prefix in prefixes for end in ("bin", "idx")]
    assert sorted(contents(folder / "data")) == sorted([*pairs, "facts.json", "tokenizer.model"])
    assert facts["vocab_size"] == 1000
    pairs_of = [window[split] for window in facts["windows"] for split in ("train", "valid")]
    assert sorted(pair["prefix"] for pair in [*pairs_of, facts["valid"]]) == sorted(prefixes)
    for pair in [*pairs_of, facts["valid"]]:
        assert index_facts(folder / "data" / pair["prefix"])[1] == pair["tokens"]
        assert pair["fingerprint"]["bin_bytes"] == 2 * pair["tokens"]  # uint16
    for window in facts["windows"]:
        assert 100_000 < window["train"]["tokens"] + window["valid"]["tokens"] < WINDOW_CHARS


def test_the_shared_validation_set_is_all_that_is_held_out(prepared: tuple[Path, dict[str, Any]]) -> None:
    data = prepared[0] / "data"
    parts = [(data / f"v{number}" / "valid.bin").read_bytes() for number in range(1, 5)]
    assert (data / "valid.bin").read_bytes() == b"".join(parts)


def test_the_windows_have_one_distribution(prepared: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """A window's tokens are as frequent in every other one; windows of a kind each are far from that."""

    def distance(folder: Path) -> float:
        counts = [
            np.bincount(np.fromfile(folder / "data" / f"v{number}" / "train.bin", np.uint16), minlength=1000)
            for number in range(1, 5)
        ]
        shares = [count / count.sum() for count in counts]
        return max(float(np.abs(one - other).sum() / 2) for one, other in combinations(shares, 2))

    prepare_quickstart(tmp_path, vocab_size=1000, progress=lambda line: None, window_chars=WINDOW_CHARS, mixed=False)
    mixed, shifted = distance(prepared[0]), distance(tmp_path)
    assert mixed < 0.1
    assert shifted > 3 * mixed


def test_a_second_call_does_nothing(prepared: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, facts = prepared
    before = contents(folder)
    monkeypatch.setattr(corpus, "collect", None)  # any work would call it
    again, lines = prepare(folder)
    assert again == facts
    assert lines == [f"{folder / 'data'} is whole: nothing to do"]
    assert contents(folder) == before


@pytest.mark.parametrize("torn", ["v2/valid.idx", "v3/train.bin", "valid.bin", "facts.json"])
def test_a_torn_folder_is_rebuilt(prepared: tuple[Path, dict[str, Any]], torn: str) -> None:
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
    prepared: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = prepared
    before = contents(folder)
    (folder / "data" / "v1" / "train.idx").unlink()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_writer, "write_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder)
    assert not (folder / "data" / "facts.json").exists()
    prepare(folder)
    assert contents(folder) == before


def test_other_settings_are_refused(prepared: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = prepared
    before = contents(folder)
    with pytest.raises(RefusedError, match="vocab_size 1000, but 2000"):
        prepare(folder, vocab_size=2000)
    assert contents(folder) == before
