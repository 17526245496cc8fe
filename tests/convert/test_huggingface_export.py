"""An export appears whole or not at all: killed, on a full disk, twice at a time; and what memory it takes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from megatron_lrps.convert.huggingface_export import plan_export, read_weight, shards_of, write_export
from megatron_lrps.convert.mapping import weights_of
from megatron_lrps.convert.staging import staged
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.errors import RefusedError, StorageError

EXPORT = """
import sys, time
from pathlib import Path
from megatron_lrps.convert import huggingface_export
from megatron_lrps.convert.torch_dist import open_checkpoint
read = huggingface_export.read_weight
def slow(checkpoint, weight):
    yield from read(checkpoint, weight)
    print("written", flush=True)
    time.sleep(float(sys.argv[3]))
huggingface_export.read_weight = slow
planned = huggingface_export.plan_export(open_checkpoint(Path(sys.argv[1])), vocab=111)
huggingface_export.write_export(planned, Path(sys.argv[2]), around=lambda hidden: None, shard_bytes=20_000)
"""


def start(saved: Path, target: Path, *, pause_s: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", EXPORT, str(saved), str(target), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_export_leaves_nothing_whole_and_the_same_command_finishes(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "exports" / "v1"
    with start(saved, target, pause_s=0.2) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    assert list(target.with_name(".v1.partial").iterdir())
    with start(saved, target, pause_s=0.0) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert [entry.name for entry in target.parent.iterdir()] == ["v1"]
    written = {name: value for file in target.glob("*.safetensors") for name, value in load_file(file).items()}
    assert len(written) == 39
    assert (target / "model.safetensors.index.json").exists()


def test_two_at_a_time_are_one(saved: Path, tmp_path: Path) -> None:
    with start(saved, tmp_path / "v1", pause_s=60) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(RefusedError, match="Another process is writing"), staged(tmp_path / "v1"):
            pass
        process.kill()


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    with pytest.raises(RefusedError, match="exists already"), staged(tmp_path / "v1"):
        pass


def fail(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text("x")
    raise KeyError


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), staged(tmp_path / "v1") as hidden:
        fail(hidden)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_found_before_and_during(saved: Path, disk: Path) -> None:
    planned = plan_export(open_checkpoint(saved), vocab=111, dtype="fp32")
    (disk / "filler").write_bytes(b"x" * 200_000)
    with pytest.raises(StorageError, match="GiB are free"):
        write_export(planned, disk / "v1", around=lambda hidden: None)
    (disk / "filler").unlink()

    def fill(hidden: Path) -> None:
        (disk / "filler").write_bytes(b"x" * 200_000)

    with pytest.raises(StorageError, match="No space left on device"):
        write_export(planned, disk / "v1", around=fill)
    assert [entry.name for entry in disk.iterdir()] == ["filler"]


def test_weights_are_dealt_to_files_in_order_and_by_size(saved: Path) -> None:
    planned = plan_export(open_checkpoint(saved), vocab=111)
    shards = shards_of(planned, 60_000)
    assert [weight for shard in shards for weight in shard] == weights_of(planned.model)
    sizes = [sum(planned.entry(weight).bytes for weight in shard) for shard in shards]
    assert max(sizes) <= 60_000
    assert [len(shard) for shard in shards_of(planned, 1)] == [1] * 39


def test_bf16_is_the_rounded_weight(saved: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(saved)
    planned = plan_export(opened, vocab=111, dtype="bf16")
    write_export(planned, tmp_path / "v1", around=lambda hidden: None)
    found = load_file(tmp_path / "v1" / "model.safetensors")
    for weight in weights_of(planned.model):
        assert torch.equal(found[weight.name], torch.cat(list(read_weight(opened, weight))).to(torch.bfloat16))
