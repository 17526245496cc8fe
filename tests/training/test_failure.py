"""The word that a rank which fails by itself leaves for the scripts in slurm/."""

from pathlib import Path

import pytest
import torch

from megatron_lrps.errors import RefusedError
from megatron_lrps.training import entry
from megatron_lrps.training.megatron import hooks

LOST = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242"


@pytest.fixture
def word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file; this process is rank 3, and has no hooks in Megatron."""
    monkeypatch.setattr(entry, "tie_children", lambda: None)
    monkeypatch.setattr(hooks, "install", lambda **_: None)
    monkeypatch.setenv("RANK", "3")
    file = tmp_path / "failure-7-0"
    monkeypatch.setenv("LRPS_FAILURE", str(file))
    return file


def fails(error: BaseException) -> int:
    """The exit code of a script that ends with it."""

    def script() -> None:
        raise error

    return entry._run(script)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("5 experts\non 2 ranks"), "1 rank 3: ValueError: 5 experts\n"),
        (torch.OutOfMemoryError("CUDA out of memory."), "1 rank 3: OutOfMemoryError: CUDA out of memory.\n"),
        (RefusedError("lr.max is 1.", "lower it."), "78 rank 3: RefusedError: lr.max is 1. Fix: lower it.\n"),
        (SystemExit(2), "2 rank 3: SystemExit: 2\n"),
    ],
)
def test_the_first_rank_says_why(word: Path, error: BaseException, said: str) -> None:
    assert fails(error) == int(said.split()[0])
    assert word.read_text() == said
    fails(KeyError("of a rank that fails later"))
    assert word.read_text() == said


def test_a_hooks_refusal_is_left_in_its_own_words(word: Path) -> None:
    leaving = SystemExit(78)
    leaving.__cause__ = RefusedError("lr.max is 1.", "lower it.")
    assert fails(leaving) == 78
    assert word.read_text() == "78 rank 3: RefusedError: lr.max is 1. Fix: lower it.\n"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(LOST),
        torch.distributed.DistBackendError("NCCL error in: NCCLUtils.cpp, remote process exited"),
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_a_lost_rank_link_or_gpu_is_not_the_failure_of_who_sees_it(word: Path, error: Exception) -> None:
    assert fails(error) == 1
    wrapped = RuntimeError("the save failed")
    wrapped.__cause__ = error
    assert fails(wrapped) == 1
    assert not word.exists()


@pytest.mark.parametrize("code", [0, 75])
def test_an_end_that_is_none_of_failure_leaves_no_word(word: Path, code: int) -> None:
    assert fails(SystemExit(code)) == code
    assert not word.exists()


def test_without_the_scripts_nothing_is_left(word: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRPS_FAILURE")
    assert fails(ValueError("5 experts")) == 1
    assert not word.exists()
