import os
from pathlib import Path

import pytest

from megatron_lrps.data.fingerprint import fingerprint
from megatron_lrps.data.index_reader import IndexFacts, index_facts
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.storage import files
from tests.data.indexes import EOD, write


def read(prefix: Path) -> list[list[int]]:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(prefix))  # kept alive: slices of a temporary one point into freed memory
    return [dataset[index].tolist() for index in range(len(dataset))]


def test_documents_come_back_with_eod_and_the_empty_ones_without_a_sequence(tmp_path: Path) -> None:
    prefix = tmp_path / "v1.web" / "train"
    write(prefix, ["abc", "", "z"])
    assert read(prefix) == [[1, 2, 3, EOD], [26, EOD]]
    assert index_facts(prefix) == IndexFacts(documents=3, tokens=6)
    assert Path(f"{prefix}.bin").stat().st_size == 6 * 2  # uint16
    assert Path(f"{prefix}.idx").stat().st_size == 34 + 2 * 12 + 4 * 8
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["train.bin", "train.idx"]


@pytest.mark.parametrize(("vocab_size", "token_bytes"), [(65_499, 2), (65_500, 4), (150_000, 4)])
def test_dtype_is_megatrons_choice(tmp_path: Path, vocab_size: int, token_bytes: int) -> None:
    largest = chr(min(vocab_size - 1, 55_000))
    write(tmp_path / "x", ["a" + largest], vocab_size)
    assert (tmp_path / "x.bin").stat().st_size == 3 * token_bytes
    assert read(tmp_path / "x") == [[1, ord(largest), EOD]]
    assert index_facts(tmp_path / "x") == (1, 3)


def test_many_blocks_keep_the_order(tmp_path: Path) -> None:
    documents = [chr(97 + number % 26) * 30_000 for number in range(100)]
    write(tmp_path / "x", documents)
    assert index_facts(tmp_path / "x").tokens == 100 * 30_001
    assert [ids[0] for ids in read(tmp_path / "x")] == [1 + number % 26 for number in range(100)]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        write(tmp_path / "file" / "x", ["a"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("rewrite", [False, True])
def test_a_kill_between_the_two_renames_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewrite: bool
) -> None:
    prefix = tmp_path / "x"
    if rewrite:
        write(prefix, ["abc"])
    child = os.fork()
    if child == 0:
        publish = files.publish

        def publish_bin_only(temporary: Path, final: Path) -> None:
            publish(temporary, final)
            os._exit(9)  # like kill -9: no handler runs

        monkeypatch.setattr(files, "publish", publish_bin_only)
        write(prefix, ["xyz"])
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    assert Path(f"{prefix}.bin").exists()
    assert not Path(f"{prefix}.idx").exists()
    for check in (index_facts, fingerprint):
        with pytest.raises(RefusedError, match=r"x\.idx"):
            check(prefix)
    write(prefix, ["xyz"])  # the same command again fixes it
    assert read(prefix) == [[24, 25, 26, EOD]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bin", "x.idx"]
