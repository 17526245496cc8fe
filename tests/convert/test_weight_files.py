"""Which files of a folder are its weights, and headers that the safetensors library lets pass."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from megatron_lrps.convert.weight_files import read_config, read_folder, tensors_of
from megatron_lrps.errors import RefusedError


def write(path: Path, header: dict[str, Any] | str, values: bytes) -> Path:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


def entry(start: int, stop: int, **other: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(stop - start) // 4], "data_offsets": [start, stop], **other}


@pytest.mark.parametrize(
    ("header", "size", "says"),
    [
        ({"a": entry(0, 16), "b": entry(8, 24)}, 24, "'b' lie from byte 8 to 24, but those before end at 16"),
        ({"a": entry(0, 8), "b": entry(16, 24)}, 24, "'b' lie from byte 16"),
        ('{"a": %s, "a": %s}' % ((json.dumps(entry(0, 8)),) * 2), 8, "has 'a' twice"),
        ({"a": entry(0, 8, shape=[2.0])}, 8, "that is not a count"),
        ({"a": entry(0, 8, shape=[True, 2])}, 8, "that is not a count"),
        ({"a": entry(0, 8, shape=[-2])}, 8, "that is not a count"),
        ({"a": entry(0, 8, shape=[4])}, 8, "needs 16 bytes"),
        ({"a": entry(0, 8, more=1)}, 8, "exactly dtype, shape and data_offsets"),
        ({"a": entry(0, 8, data_offsets=[0])}, 8, "a broken dtype, shape or data_offsets"),
        ({"a": entry(0, 8, dtype=["F32"])}, 8, "a broken dtype"),
        ({"a": 7}, 8, "exactly dtype"),
        ({"a": entry(0, 8)}, 12, "has .* bytes, but its header describes"),
        ({"a": entry(0, 8, dtype="F8_E4M3", shape=[8])}, 8, "saved as 'F8_E4M3', .*import the model's unquantized"),
        ({"a": entry(0, 8, dtype="I64", shape=[1])}, 8, "a' is saved as 'I64', and only .*import another model"),
        ({"\x1b[31mred": entry(0, 8, shape=[4])}, 8, r"\\x1b\[31mred"),
        ("[1]", 0, "no whole safetensors file"),
        ('{"a": {"dtype"', 0, "no whole safetensors file"),
    ],
)
def test_a_header_that_is_not_as_the_format_says_is_refused(
    header: dict[str, Any] | str, size: int, says: str, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=says) as error:
        tensors_of(write(tmp_path / "x.safetensors", header, bytes(size)))
    assert str(error.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"\x20\0\0\0\0\0\0\0{}"])
def test_a_torn_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(RefusedError, match=r"x\.safetensors is no whole safetensors file"):
        tensors_of(tmp_path / "x.safetensors")


def test_a_pipe_or_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(RefusedError, match="is no regular file"):
        read_folder(tmp_path)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(RefusedError, match="is no regular file"):
        read_config(tmp_path / "config.json")


def index(folder: Path, placed: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


def test_the_index_says_which_files_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "model-2.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "consolidated.safetensors")
    index(tmp_path, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    assert {name: tensor.file.name for name, tensor in read_folder(tmp_path).items()} == {
        "a": "model-1.safetensors",
        "b": "model-2.safetensors",
    }
    index(tmp_path, {"a": "model-1.safetensors", "c": "model-1.safetensors"})
    with pytest.raises(RefusedError, match="does not hold 'c'"):
        read_folder(tmp_path)
    index(tmp_path, {"a": "model-1.safetensors", "c": "model-2.safetensors"})
    with pytest.raises(RefusedError, match=r"holds 'b', which .* does not name"):
        read_folder(tmp_path)
    for broken in ({}, [], {"a": "../model-1.safetensors"}, {"a": 7}):
        index(tmp_path, broken)
        with pytest.raises(RefusedError, match=r"weight_map|not a file beside it"):
            read_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "says", "fix"),
    [
        (["consolidated.safetensors"], "but consolidated.safetensors", "download the files named model"),
        (["adapter_model.safetensors"], "but an adapter", "merge it into its base model"),
        (["model.safetensors", "adapter_config.json"], "holds an adapter", "merge_and_unload"),
        (["pytorch_model.bin"], "but weights as a pickle", "save_pretrained, which writes safetensors"),
        (["model-00001-of-00002.safetensors"], "but 'model-00001-of", "download model.safetensors.index.json"),
        ([], "has neither", "give a Hugging Face folder"),
    ],
)
def test_a_folder_without_whole_weights_has_a_fix_that_helps(
    files: list[str], says: str, fix: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(RefusedError, match=f"{says}.* Fix: .*{fix}"):
        read_folder(tmp_path)


def test_a_config_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "rope_theta": 1, "rope_theta": 2}')
    with pytest.raises(RefusedError, match="has 'rope_theta' twice"):
        read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(RefusedError, match="is not a JSON object"):
        read_config(tmp_path / "config.json")
