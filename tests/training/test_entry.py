"""The three ways in: the package's own entry, an unmodified script, and register() in a user's script.

A rank that fails by itself leaves a word for the scripts in slurm/.
"""

from pathlib import Path

import pytest
import torch
from megatron.training import training as megatron_training

from megatron_lrps.errors import RefusedError
from megatron_lrps.training import entry
from megatron_lrps.training.megatron import hooks
from tests.training.campaigns import losses, run_ranks, train_path, write_campaign

MODULE = "import runpy; runpy.run_module('megatron_lrps', run_name='__main__', alter_sys=True)"
SCRIPT = """\
import torch
from megatron.core.enums import ModelType
from megatron.training import get_args, pretrain
from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
from megatron.training.arguments import parse_and_validate_args
from megatron_lrps.training.megatron import gpt
from megatron_lrps.training.megatron.gpt import get_embedding_ranks, stock_datasets

def forward_step(data_iterator, model, *rest):
    print("training" if torch.is_grad_enabled() else "evaluation", "in batches of", get_args().micro_batch_size)
    return gpt.forward_step(data_iterator, model, *rest)

if __name__ == "__main__":
    args = parse_and_validate_args()
    pretrain(
        pretrain_cfg_container_from_args(args, gpt_config_from_args(args)),
        stock_datasets,
        ModelType.encoder_or_decoder,
        forward_step,
        get_embedding_ranks=get_embedding_ranks,
    )
"""
"""Laid out as Megatron-LM's pretrain_gpt.py, which the wheel does not ship: nothing in it calls the plugin."""


@pytest.mark.training
def test_an_unmodified_script_trains_a_plans_path(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    script = tmp_path / "pretrain script.py"
    script.write_text(SCRIPT)
    flags = ["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-cpu"]
    ended = run_ranks([str(script), *flags], cwd=tmp_path, code=MODULE)
    assert ended.codes == [0], ended.log[-3000:]
    through_script = losses(plan, "main")
    # Upstream's script tells receiving ranks this size, whatever is being read.
    assert "training in batches of 2" in ended.log
    assert "evaluation in batches of 1" in ended.log
    assert "evaluation in batches of 2" not in ended.log
    other = tmp_path / "other"
    other.mkdir()
    assert train_path(write_campaign(other), "main").codes == [0]
    assert through_script == losses(other / "plan.yaml", "main")
    assert sorted(through_script) == list(range(1, 12))


@pytest.mark.training
def test_a_script_that_registers_refuses_with_78(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    gpt = "from megatron_lrps.training.megatron import gpt; gpt.main()"
    code = f"from megatron_lrps import register; register(cpu=True); {gpt}"
    flags = ["--lrps-plan", str(plan), "--lrps-path", "v3", "--lrps-cpu"]
    ended = run_ranks(flags, cwd=tmp_path, code=code)
    assert ended.codes == [78]
    assert "path 'v3' is not in campaign tiny" in ended.log
    assert "Traceback" not in ended.log


@pytest.mark.training
def test_the_plugins_flags_stand_in_help(tmp_path: Path) -> None:
    ended = run_ranks(["--help"], cwd=tmp_path, code="from megatron_lrps.pretrain import main; main()")
    assert ended.codes == [0], ended.log[-2000:]
    assert "learning-rate path switching (Megatron-LRPS):" in ended.log
    assert "--lrps-fork-iter F" in ended.log


@pytest.mark.training
def test_a_missing_script_is_one_line(tmp_path: Path) -> None:
    ended = run_ranks(["nowhere.py", "--lr", "1"], cwd=tmp_path, code=MODULE)
    assert ended.codes == [78]
    assert ended.log.startswith("lrps: The script nowhere.py is no file.")


@pytest.mark.training
def test_a_script_that_is_no_python_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("lr = 1\ndef (:\n")
    ended = run_ranks(["bad.py"], cwd=tmp_path, code=MODULE)
    assert ended.codes == [78]
    assert ended.log == "lrps: The script bad.py is no Python: line 2: invalid syntax. Fix: fix it.\n"


@pytest.mark.training
def test_a_scripts_own_error_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "bug.py").write_text("assert 1 > 2, 'a bug of the script'\n")
    ended = run_ranks(["bug.py"], cwd=tmp_path, code=MODULE)
    assert ended.codes == [1]
    assert ended.log.endswith("AssertionError: a bug of the script\n")


@pytest.mark.training
def test_without_a_launcher_one_line_says_how_to_start(tmp_path: Path) -> None:
    flags = ["--lrps-plan", str(write_campaign(tmp_path)), "--lrps-path", "main", "--lrps-cpu"]
    code = "import os; del os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']; "
    ended = run_ranks(flags, cwd=tmp_path, code=code + "from megatron_lrps.pretrain import main; main()")
    assert ended.codes == [78]
    assert "lrps: MASTER_ADDR and MASTER_PORT are not set. Fix: let a launcher start the ranks" in ended.log
    assert "Traceback" not in ended.log


@pytest.mark.training
def test_a_wrong_flag_beside_a_plan_is_one_line_without_usage(tmp_path: Path) -> None:
    flags = ["--lrps-plan", str(write_campaign(tmp_path)), "--lrps-path", "main", "--lrps-cpu", "--num-worker", "0"]
    ended = run_ranks(flags, cwd=tmp_path)
    assert ended.codes == [78]
    assert "usage:" not in ended.log
    assert "unrecognized arguments: --num-worker 0. Fix: did you mean --num-workers?" in ended.log


def test_another_signature_is_refused_before_anything_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(megatron_training, "train", lambda model, data: None)
    before = megatron_training.initialize_megatron
    with pytest.raises(RefusedError, match=r"train of megatron-core .* takes \(model, data\)"):
        hooks.install()
    assert megatron_training.initialize_megatron is before


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
