"""The converter without a plan: to torch_dist, back, and refusals with their exit code."""

import subprocess
import sys
from pathlib import Path

import torch
from convert.hugging_face import save_model
from safetensors.torch import load_file

from megatron_lrps.convert.torch_dist import open_checkpoint

TOOL = Path(__file__).resolve().parents[2] / "tools" / "convert_checkpoint.py"


def convert(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_and_back(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "qwen3")
    there = ("--loader", "huggingface", "--saver", "torch_dist", "--load-dir", source, "--save-dir", tmp_path / "start")
    done = convert(*there)
    assert done.returncode == 0, done.stderr
    back = ("--loader", "torch_dist", "--saver", "huggingface", "--load-dir", tmp_path / "start")
    back = (*back, "--save-dir", tmp_path / "back")
    done = convert(*back)
    assert done.returncode == 78
    assert "--tokenizer-type is not given" in done.stderr
    done = convert(*back, "--tokenizer-type", "NullTokenizer", "--vocab-size", "111")
    assert done.returncode == 0, done.stderr
    tokens = ("--tokenizer-type", "NullTokenizer", "--vocab-size", "111")
    from_start = ("--loader", "torch_dist", "--load-dir", tmp_path / "start", *tokens)
    done = convert(
        *from_start, "--saver", "torch_dist", "--save-dir", tmp_path / "tp2", "--target-tensor-parallel-size", "2"
    )
    assert done.returncode == 0, done.stderr
    assert "Megatron loads it with " in done.stdout
    assert open_checkpoint(tmp_path / "tp2" / "release").args["tensor_model_parallel_size"] == 2
    done = convert(*from_start, "--saver", "torch", "--save-dir", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "one" / "model.pt", weights_only=True)
    done = convert(
        *from_start, "--saver", "torch", "--save-dir", tmp_path / "two", "--target-tensor-parallel-size", "2"
    )
    assert done.returncode == 2
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    norm = before["model.norm.weight"]
    assert torch.equal(one["model"]["decoder.final_layernorm.weight"], norm)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    done = convert(*there)
    assert done.returncode == 78
    assert "exists already" in done.stderr
