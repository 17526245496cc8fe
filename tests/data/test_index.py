import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megatron_lrps.data.fingerprint import fingerprint
from megatron_lrps.data.index import Written, write_index
from megatron_lrps.data.index_reader import IndexFacts, index_facts, token_count
from megatron_lrps.errors import LrpsError, RefusedError, StorageError
from megatron_lrps.storage import publish

EOD = 0


def letters(texts: Sequence[str]) -> list[list[int]]:
    """a is 1, b is 2, ..., and any other character is its code point."""
    return [[ord(c) - 96 if "a" <= c <= "z" else ord(c) for c in text] for text in texts]


def write(prefix: Path, documents: Sequence[str], vocab_size: int = 100) -> Written:
    return write_index(prefix, documents, letters, vocab_size=vocab_size, eod=EOD)


def read(prefix: Path) -> list[list[int]]:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(prefix))  # kept alive: slices of a temporary one point into freed memory
    return [dataset[index].tolist() for index in range(len(dataset))]


def test_documents_come_back_with_eod_and_without_the_empty_ones(tmp_path: Path) -> None:
    prefix = tmp_path / "v1.web" / "train"
    written = write(prefix, ["abc", "", "z"])
    assert written == Written(documents=2, tokens=6, empty_documents=1)
    assert read(prefix) == [[1, 2, 3, EOD], [26, EOD]]
    assert index_facts(prefix) == IndexFacts(documents=2, tokens=6)
    assert Path(f"{prefix}.bin").stat().st_size == 6 * 2  # uint16
    assert Path(f"{prefix}.idx").stat().st_size == 34 + 2 * 12 + 3 * 8
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["train.bin", "train.idx"]


@pytest.mark.parametrize(("vocab_size", "token_bytes"), [(65_499, 2), (65_500, 4), (150_000, 4)])
def test_dtype_is_megatrons_choice(tmp_path: Path, vocab_size: int, token_bytes: int) -> None:
    largest = chr(min(vocab_size - 1, 55_000))
    write(tmp_path / "x", ["a" + largest], vocab_size)
    assert (tmp_path / "x.bin").stat().st_size == 3 * token_bytes
    assert read(tmp_path / "x") == [[1, ord(largest), EOD]]
    assert index_facts(tmp_path / "x") == (1, 3)


def test_tokens_are_counted_without_reading_the_lengths(tmp_path: Path) -> None:
    write(tmp_path / "small", ["abc", "z"])
    write(tmp_path / "large", ["abc", "z"], 150_000)
    assert [token_count(tmp_path / name) for name in ("small", "large")] == [6, 6]
    index = tmp_path / "small.idx"
    index.write_bytes(index.read_bytes()[:34])  # its header alone
    assert token_count(tmp_path / "small") == 6
    index.write_bytes(b"MMIDIDX")
    with pytest.raises(RefusedError, match=r"small\.idx is no Megatron index"):
        token_count(tmp_path / "small")
    (tmp_path / "large.bin").unlink()
    with pytest.raises(RefusedError, match=r"large\.bin cannot be read"):
        token_count(tmp_path / "large")


def test_many_batches_keep_the_order(tmp_path: Path) -> None:
    documents = [chr(97 + number % 26) * 30_000 for number in range(100)]  # 3 M characters, 3 batches
    assert write(tmp_path / "x", documents).tokens == 100 * 30_001
    assert [ids[0] for ids in read(tmp_path / "x")] == [1 + number % 26 for number in range(100)]


def test_index_facts_against_megatron(tmp_path: Path) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

    rng = np.random.default_rng(0)
    builder = IndexedDatasetBuilder(str(tmp_path / "x.bin"), dtype=np.int32)
    for _ in range(500):  # documents of several sequences, which write_index does not make
        lengths = rng.integers(1, 40, size=rng.integers(1, 4)).tolist()
        builder.add_document(rng.integers(0, 1000, sum(lengths)), lengths)
    builder.finalize(str(tmp_path / "x.idx"))
    dataset = IndexedDataset(str(tmp_path / "x"))
    assert index_facts(tmp_path / "x") == (500, int(dataset.sequence_lengths.sum()))
    assert len(dataset.document_indices) - 1 == 500


def test_index_facts_refuses_what_is_torn(tmp_path: Path) -> None:
    write(tmp_path / "x", ["abc", "z"])
    idx, data = tmp_path / "x.idx", tmp_path / "x.bin"
    whole = idx.read_bytes()
    for broken, reason in [
        (whole[:20], "no Megatron index"),
        (b"NOTIDX" + whole[6:], "no Megatron index"),
        (whole[:-1], "has 81 bytes"),
    ]:
        idx.write_bytes(broken)
        with pytest.raises(RefusedError, match=reason):
            index_facts(tmp_path / "x")
    idx.write_bytes(whole)
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(RefusedError, match=r"has 10 bytes.*12 bytes"):
        index_facts(tmp_path / "x")
    data.unlink()
    with pytest.raises(RefusedError, match=r"x\.bin"):
        index_facts(tmp_path / "x")


def test_nothing_to_write_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="none of 2 documents"):
        write(tmp_path / "x", ["", ""])
    assert list(tmp_path.iterdir()) == []


def test_an_id_outside_the_vocabulary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LrpsError, match="id 26, but vocab_size is 26"):
        write(tmp_path / "x", ["az"], vocab_size=26)
    assert list(tmp_path.iterdir()) == []


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

        def publish_bin_only(temporary: Path, final: Path) -> None:
            publish.publish(temporary, final)
            os._exit(9)  # like kill -9: no handler runs

        monkeypatch.setattr("megatron_lrps.data.index.publish", publish_bin_only)
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
