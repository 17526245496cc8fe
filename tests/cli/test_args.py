"""`lrps args` as a process of its own."""

import shlex
from pathlib import Path

from tests.cli.commands import PAPER, answer, refusal, write
from tests.conftest import Lrps


def test_args_is_a_line_for_a_shell(tmp_path: Path, lrps: Lrps) -> None:
    folder = tmp_path / "a b's"
    folder.mkdir()
    file = write(folder, **PAPER)
    line = answer(lrps, "args", file, "--path", "v2")
    assert line.count("\n") == 1
    words = shlex.split(line)
    given = {flag: words[words.index(flag) + 1] for flag in words if flag.startswith("--")}  # a switch's is its next
    expected = {
        "--lr": "0.0003",
        "--min-lr": "3e-05",
        "--lr-warmup-iters": "500",
        "--lr-decay-style": "constant",
        "--train-iters": "20000",
        "--seq-length": "2048",
        "--global-batch-size": "1024",
        "--num-layers": "24",
        "--save": str(folder / "runs/c/paths/v2/checkpoints"),
        "--lrps-plan": str(file),
        "--lrps-path": "v2",
    }
    assert expected.items() <= given.items()
    assert "--bf16" in words
    assert "--load" not in words


def test_args_takes_a_relative_plan(tmp_path: Path, lrps: Lrps) -> None:
    write(tmp_path)
    words = shlex.split(answer(lrps, "args", "plan.yaml", "--path", "main"))
    assert words[words.index("--lrps-plan") + 1] == str(tmp_path / "plan.yaml")


def test_args_refuses(tmp_path: Path, lrps: Lrps) -> None:
    assert "path 'v9' is not in campaign c" in refusal(lrps, "args", write(tmp_path), "--path", "v9")
    file = write(tmp_path, megatron={"mock-data": True})
    assert "megatron.mock-data" in refusal(lrps, "args", file, "--path", "v1")
    assert lrps("args", file).code == 2  # a usage error: --path is missing
