"""Scores without a plan: Megatron and transformers agree on one model, and refusals have their exit code."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from convert.hugging_face import VOCAB, save_model
from training.harness import write_tokens

from megatron_lrps.convert.huggingface_import import plan_import, write_import

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate_branch.py"


def evaluate(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_megatron_and_transformers_agree(tmp_path: Path) -> None:
    source = save_model(tmp_path / "hf", "llama")
    write_import(plan_import(source), tmp_path / "start")
    write_tokens(tmp_path / "web", [[number % VOCAB for number in range(start, start + 50)] for start in (0, 7)])
    flags = ["--seq-length", "32", "--valid-data-path", "web", tmp_path / "web"]
    tokenizer = ["--tokenizer-type", "NullTokenizer", "--vocab-size", str(VOCAB)]
    found = {}
    for source_flag, folder in (("--load", tmp_path / "start"), ("--hf", source)):
        done = evaluate(source_flag, folder, *flags, *tokenizer, "--eval-tokens", "70")
        assert done.returncode == 0, done.stderr
        found[source_flag] = json.loads(done.stdout)["perplexity"]["web"]
    assert found["--load"]["loss"] == pytest.approx(found["--hf"]["loss"], abs=1e-5)
    assert found["--hf"]["tokens"] == 70
    assert found["--hf"]["perplexity"] == pytest.approx(math.exp(found["--hf"]["loss"]))
    assert found["--hf"]["bits_per_byte"] is None
    done = evaluate("--hf", source, *flags)
    assert done.returncode == 78
    assert "--tokenizer-type is None" in done.stderr


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    done = evaluate("--load", tmp_path, "--tasks", "arc_easy")
    assert done.returncode == 78
    assert "--tasks needs --hf" in done.stderr
    done = evaluate("--hf", tmp_path)
    assert done.returncode == 78
    assert "is given" in done.stderr
