from pathlib import Path

import numpy as np
import pytest

from megatron_lrps.data.index_reader import index_facts, token_count
from megatron_lrps.errors import RefusedError
from tests.data.indexes import write


def test_tokens_are_counted_without_reading_the_lengths(tmp_path: Path) -> None:
    write(tmp_path / "small", ["abc", "z"])
    write(tmp_path / "large", ["abc", "z"], 150_000)
    assert [token_count(tmp_path / name) for name in ("small", "large")] == [6, 6]
    index = tmp_path / "small.idx"
    index.write_bytes(index.read_bytes()[:34])  # its header alone
    assert token_count(tmp_path / "small") == 6
    index.write_bytes(b"MMIDIDX")
    with pytest.raises(RefusedError, match=r"small\.idx is not a Megatron index"):
        token_count(tmp_path / "small")
    (tmp_path / "large.bin").unlink()
    with pytest.raises(RefusedError, match=r"large\.bin cannot be read"):
        token_count(tmp_path / "large")


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
        (whole[:20], "not a Megatron index"),
        (b"NOTIDX" + whole[6:], "not a Megatron index"),
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
