"""What is written is what the safetensors library reads, to the byte."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_lrps.convert.safetensors import TensorEntry, write_file
from megatron_lrps.convert.weight_files import tensors_of
from megatron_lrps.errors import RefusedError, StorageError


def test_the_library_reads_what_is_written_in_pieces(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).view(3, 2), "a": torch.ones(5, dtype=torch.bfloat16)}
    entries = [TensorEntry(name, tuple(value.shape), value.dtype) for name, value in tensors.items()]
    write_file(tmp_path / "x.safetensors", entries, [tensors["b"][:1], tensors["b"][1:], tensors["a"]])
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    # Eight bytes of length, the header padded to eight, 24 bytes of b and 10 of a.
    size = (tmp_path / "x.safetensors").stat().st_size
    assert (size - 34) % 8 == 0


def test_missing_values_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="8 bytes are missing"):
        write_file(tmp_path / "x.safetensors", [TensorEntry("a", (4,), torch.float32)], [torch.zeros(2)])


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(4, dtype=torch.float16), "b": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    found = {tensor.name: tensor for tensor in tensors_of(tmp_path / "x.safetensors")}
    assert found["a"].read().tolist() == [0, 1, 2, 3]
    assert found["a"].read(1, 3).tolist() == [1, 2]
    assert found["b"].shape == (2, 2)
    assert found["b"].read(1, 2).tolist() == [[1, 1]]


def test_a_file_that_is_cut_off_later_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4)}, tmp_path / "x.safetensors")
    (found,) = tensors_of(tmp_path / "x.safetensors")
    with (tmp_path / "x.safetensors").open("r+b") as file:
        file.truncate(70)
    with pytest.raises(RefusedError, match=r"x\.safetensors ends at byte 70"):
        found.read()
    (tmp_path / "x.safetensors").unlink()
    with pytest.raises(StorageError, match=r"x\.safetensors could not be read: No such file"):
        found.read()
