"""Checkpoints that are torn, foreign, hostile or unfinished are refused by name."""

import pickle
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader

from megatron_lrps.convert.huggingface_export import plan_export
from megatron_lrps.convert.torch_dist import OpenCheckpoint, open_checkpoint
from megatron_lrps.errors import RefusedError

QKV = "decoder.layers.self_attention.linear_qkv.weight"


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return (Path.touch, (self.marker,))


def test_rows_are_those_that_torch_reads(saved: Path) -> None:
    opened = open_checkpoint(saved)
    assert opened.args["num_layers"] == 4
    assert opened.tensors[QKV].shape == (4, 128, 64)
    whole = opened.read(QKV, (2,), 0, 128)
    assert torch.equal(opened.read(QKV, (2,), 5, 9), whole[5:9])
    assert not torch.equal(opened.read(QKV, (1,), 5, 9), whole[5:9])


def test_columns_of_several_ranks_are_put_together(saved: Path) -> None:
    """Chunks of columns, and one that does not lie row by row, as its tensor was a transpose."""
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

    from megatron_lrps.convert.chunks import Chunk
    from megatron_lrps.convert.torch_dist import Stored

    parts = [torch.arange(6.0).view(1, 2, 3), torch.arange(10.0, 14.0).view(1, 2, 2).transpose(1, 2)]
    chunks, at = [], 0
    for part in parts:
        file = saved / f"{at}.distcp"
        torch.save(part, file)
        sizes = ChunkStorageMetadata(torch.Size((0, 0, at)), part.size()).sizes
        chunks.append(
            Chunk(offsets=(0, 0, at), sizes=tuple(sizes), file=file.name, begin=0, length=file.stat().st_size)
        )
        at += part.shape[2]
    stored = Stored(shape=(1, 2, 5), dtype=torch.float32, chunks=tuple(chunks))
    opened = OpenCheckpoint(saved, {}, {"x": stored})
    assert opened.read("x", (0,), 0, 2).tolist() == [[0, 1, 2, 10, 12], [3, 4, 5, 11, 13]]
    assert opened.read("x", (0,), 1, 2).tolist() == [[3, 4, 5, 11, 13]]
    holey = OpenCheckpoint(saved, {}, {"x": Stored(shape=(1, 2, 5), dtype=torch.float32, chunks=tuple(chunks[:1]))})
    with pytest.raises(RefusedError, match="hold 6 of 10 values"):
        holey.read("x", (0,), 0, 2)


@pytest.mark.parametrize("name", [".metadata", "metadata.json"])
def test_an_unfinished_checkpoint_is_refused(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(RefusedError, match=r"is unfinished: it has no \.metadata or metadata\.json"):
        open_checkpoint(saved)


def test_a_torn_file_is_refused_with_both_sizes(saved: Path) -> None:
    file = next(saved.glob("*.distcp"))
    with file.open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(RefusedError, match=r"has 1000 bytes, and \d+ are needed: it is torn"):
        open_checkpoint(saved)


def test_damaged_bytes_of_a_header_are_refused(saved: Path) -> None:
    opened = open_checkpoint(saved)
    chunk = opened.tensors[QKV].chunks[0]
    with (saved / chunk.file).open("r+b") as stream:
        stream.seek(chunk.begin)
        stream.write(b"\0" * chunk.length)
    with pytest.raises(RefusedError, match=f"is damaged at byte {chunk.begin}"):
        open_checkpoint(saved).read(QKV, (0,), 0, 1)


def test_code_in_the_metadata_does_not_run(saved: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (saved / ".metadata").write_bytes(pickle.dumps(_Runs(marker)))
    with pytest.raises(RefusedError, match="could run foreign code"):
        open_checkpoint(saved)
    assert not marker.exists()


def test_code_in_the_arguments_and_in_a_tensor_does_not_run(saved: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    metadata = FileSystemReader(saved).read_metadata()
    for index, info in metadata.storage_data.items():
        if index.fqn in ("common_state/shard_0_1", QKV):
            torch.save([_Runs(marker)], saved / "evil.distcp")
            info.relative_path, info.offset, info.length = "evil.distcp", 0, (saved / "evil.distcp").stat().st_size
    (saved / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(RefusedError, match=r"is no torch_dist checkpoint of megatron-core"):
        open_checkpoint(saved)
    assert not marker.exists()


def test_a_file_outside_the_folder_is_not_read(saved: Path) -> None:
    metadata = FileSystemReader(saved).read_metadata()
    for info in metadata.storage_data.values():
        info.relative_path = f"../saved/{info.relative_path}"
    (saved / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(RefusedError, match=r"'\.\./saved/__0_0\.distcp', which is no file of its own"):
        open_checkpoint(saved)


def test_what_no_weight_stands_for_is_refused_by_name(saved: Path) -> None:
    opened = open_checkpoint(saved)
    stored = opened.tensors[QKV]
    surplus = OpenCheckpoint(saved, opened.args, {**opened.tensors, "decoder.layers.gate.weight": stored})
    with pytest.raises(RefusedError, match=r"holds decoder\.layers\.gate\.weight, but LlamaForCausalLM has no weight"):
        plan_export(surplus, vocab=111)
    missing = OpenCheckpoint(saved, opened.args, {key: value for key, value in opened.tensors.items() if key != QKV})
    with pytest.raises(RefusedError, match=r"linear_qkv\.weight is missing"):
        plan_export(missing, vocab=111)
    with pytest.raises(RefusedError, match=r"The tokenizer has 2000 tokens, but the word embedding .* has 1024 rows"):
        plan_export(opened, vocab=2000)
