"""The CPU backend and the GPT entry: real Megatron on gloo, two layers of 64."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from megatron_lrps.training.cpu import adam, rng
from megatron_lrps.training.cpu.device import is_cuda
from tests.training.harness import Trained, train, write_tokens

TP2 = "--tensor-model-parallel-size 2 --mock-data --train-iters 10"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


# Without a process of their own


def test_adam_first_step_moves_by_the_learning_rate() -> None:
    param = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    param.grad = torch.tensor([3.0, -0.5])
    adam.FusedAdam([param], lr=0.1, eps=0.0, weight_decay=0.5).step()
    # Decoupled decay takes 1 to 1 - 0.1 * 0.5; the step is the gradient's sign times the learning rate.
    torch.testing.assert_close(param.detach(), torch.tensor([0.85, 1.05]))


@pytest.mark.parametrize(("decoupled", "reference"), [(True, torch.optim.AdamW), (False, torch.optim.Adam)])
def test_adam_follows_torch(decoupled: bool, reference: type[torch.optim.Optimizer]) -> None:
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    one = adam.FusedAdam([ours], adam_w_mode=decoupled, **settings)
    other = reference([theirs], **settings)  # type: ignore[call-arg]
    for seed in range(20):
        ours.grad = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_adam_state_is_the_fused_ones() -> None:
    param = torch.nn.Parameter(torch.ones(2))
    param.grad = torch.ones(2)
    optimizer = adam.FusedAdam([{"params": [param]}, {"params": []}])
    optimizer.step()
    optimizer.step()
    assert set(optimizer.state[param]) == {"exp_avg", "exp_avg_sq"}
    assert optimizer.param_groups[0]["step"] == 2
    assert "step" not in optimizer.param_groups[1]


def test_apex_is_offered_for_the_optimizer_alone() -> None:
    with adam.offered_as_apex():
        from apex.optimizers import FusedAdam

        assert FusedAdam is adam.FusedAdam
        with pytest.raises(ImportError):
            import apex  # noqa: F401
    assert "apex.optimizers" not in sys.modules


def test_dropout_draws_from_the_device_stream_only() -> None:
    host = torch.get_rng_state()
    rng.manual_seed(1)
    ones = torch.ones(10_000, requires_grad=True)
    dropped = rng.dropout(ones, 0.25)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    dropped.sum().backward()
    assert ones.grad is not None
    torch.testing.assert_close(ones.grad, dropped.detach())
    rng.manual_seed(1)
    torch.testing.assert_close(rng.dropout(ones, 0.25), dropped)
    assert torch.equal(torch.get_rng_state(), host)
    assert rng.dropout(ones, 0.25, training=False) is ones
    assert rng.dropout(ones, 1.0).abs().max() == 0


def test_dropout_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1"):
        rng.dropout(torch.ones(1), 1.5)


@pytest.mark.parametrize("device", [0, "cuda", "cuda:1", torch.device("cuda", 3)])
def test_gpu_names(device: object) -> None:
    assert is_cuda(device)


@pytest.mark.parametrize("device", [None, "cpu", "meta", torch.device("cpu"), True, torch.float32])
def test_other_names(device: object) -> None:
    assert not is_cuda(device)


# With a process of their own


@pytest.mark.training
def test_refused_where_a_gpu_is() -> None:
    done = run(
        "import torch\n"
        "torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2\n"
        "from megatron_lrps.training.cpu import install\n"
        "install()"
    )
    assert done.returncode == 1
    assert "RefusedError" in done.stderr
    assert "2 CUDA GPU(s)" in done.stderr


@pytest.mark.training
def test_refused_after_megatron() -> None:
    done = run(
        "import sys, types; sys.modules['megatron.core'] = types.ModuleType('megatron.core')\n"
        "from megatron_lrps.training.cpu import install\n"
        "install()"
    )
    assert "RefusedError" in done.stderr
    assert "before anything imports megatron" in done.stderr


@pytest.mark.training
def test_installed_once_and_torch_still_imports_its_compiler() -> None:
    done = run(
        "from megatron_lrps.training.cpu import install, is_installed\n"
        "before = is_installed(); install(); install()\n"
        "import torch, torch._dynamo\n"
        "x = torch.rand(2, device='cuda').cuda(0).to('cuda:0', non_blocking=True)\n"
        "print(before, is_installed(), x.device, x.type(), torch.compile(len) is len)"
    )
    assert done.stderr == ""
    line, answers = done.stdout.splitlines()
    assert line.startswith("Megatron-LRPS: CPU backend")
    assert answers == "False True cpu torch.cuda.FloatTensor True"


@pytest.mark.training
def test_help_is_shown_although_a_text_has_a_percent_sign() -> None:
    done = run(
        "import sys; sys.argv[1:] = ['--help']\n"
        "from megatron_lrps.training import cpu; cpu.install()\n"
        "from megatron_lrps.training.megatron import gpt; gpt.main()"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "= 10%" in done.stdout


class Saved(NamedTuple):
    run: Trained
    checkpoints: Path


def save_at_5_and_10(folder: Path, flags: str) -> Saved:
    checkpoints = folder / "checkpoints"
    return Saved(train(folder, f"{flags} --save {checkpoints} --save-interval 5", ranks=2), checkpoints)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """TP=2, bf16, distributed optimizer, ten iterations, saved after five and ten."""
    return save_at_5_and_10(tmp_path_factory.mktemp("uninterrupted"), TP2)


def assert_resume_equals(saved: Saved, folder: Path, flags: str, whole: Trained) -> None:
    """Resume after iteration 5; all losses must be those of ``whole``, digit for digit."""
    resumed = train(folder, f"{flags} --load {saved.checkpoints} --ckpt-step 5", ranks=2)
    assert resumed.losses == {iteration: loss for iteration, loss in whole.losses.items() if iteration > 5}
    assert resumed.validation == whole.validation


@pytest.mark.training
def test_trains_quietly(uninterrupted: Saved) -> None:
    run = uninterrupted.run
    assert sorted(run.losses) == list(range(1, 11))
    assert run.losses[10] < run.losses[1] - 0.5
    assert [log.count("CPU backend") for log in run.logs] == [1, 0]
    for log in run.logs:
        assert "Apex is not installed" not in log
        assert "pin_memory" not in log.replace("pin_memory .", "")


@pytest.mark.training
def test_evaluates(uninterrupted: Saved) -> None:
    # On the validation set and the test set, after the last iteration.
    assert uninterrupted.run.validation == pytest.approx([uninterrupted.run.losses[10]] * 2, abs=0.3)


@pytest.mark.training
def test_resumed_equals_uninterrupted(uninterrupted: Saved, tmp_path: Path) -> None:
    assert_resume_equals(uninterrupted, tmp_path, TP2, uninterrupted.run)


@pytest.mark.training
def test_resumed_equals_uninterrupted_with_dropout(uninterrupted: Saved, tmp_path: Path) -> None:
    flags = f"{TP2} --attention-dropout 0.1 --hidden-dropout 0.1"
    saved = save_at_5_and_10(tmp_path, flags)
    assert saved.run.losses[1] != uninterrupted.run.losses[1]
    assert all("CPU RNG state changed" not in log for log in saved.run.logs)
    assert_resume_equals(saved, tmp_path / "resumed", flags, saved.run)


@pytest.mark.training
def test_saved_in_the_background_equals_uninterrupted(uninterrupted: Saved, tmp_path: Path) -> None:
    flags = f"{TP2} --async-save --async-strategy mcore --use-persistent-ckpt-worker"
    # By default the writers give way to everything else, which takes minutes where the cores are busy.
    flags += " --async-ckpt-cpu-priority 0 --async-ckpt-io-priority 0"
    saved = save_at_5_and_10(tmp_path, flags)
    assert "scheduled an async checkpoint save at iteration       5" in saved.run.logs[0]
    assert saved.run.losses == uninterrupted.run.losses
    # The weights moved on while the writer wrote: it has to have its own copy of iteration 5's.
    assert_resume_equals(saved, tmp_path / "resumed", TP2, uninterrupted.run)


@pytest.mark.training
def test_data_parallel_ranks_share_the_batch(tmp_path: Path) -> None:
    flags = "--mock-data --train-iters 6"
    one = train(tmp_path / "one", flags)
    two = train(tmp_path / "two", flags, ranks=2)
    # The same samples, added up in another order.
    assert list(two.losses.values()) == pytest.approx(list(one.losses.values()), rel=1e-3)


@pytest.mark.training
def test_virtual_pipeline_learns_from_files(tmp_path: Path) -> None:
    prefix = tmp_path / "data" / "count"
    write_tokens(prefix, [[*range(first, 100), 127] for first in range(50)])
    paths = " ".join(f"--{split}-data-path {prefix}" for split in ("train", "valid", "test"))
    flags = f"{paths} --data-cache-path {tmp_path}/cache --train-iters 20 --lr 1e-2"
    stages = "--num-layers 4 --pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 1"
    run = train(tmp_path, f"{flags} {stages} --dataloader-type single", ranks=2)
    # Every token has one successor: from log(128) = 4.85 the loss falls fast.
    assert run.losses[1] == pytest.approx(4.85, abs=0.2)
    assert run.losses[20] < 3.6
    assert run.validation[0] < 3.6


@pytest.mark.training
def test_one_rank_of_64_steps_in_a_fake_world(tmp_path: Path) -> None:
    flags = "--mock-data --train-iters 1 --fake-process-group --num-layers 4 --micro-batch-size 1"
    layout = "--tensor-model-parallel-size 4 --pipeline-model-parallel-size 4"
    run = train(tmp_path, f"{flags} {layout}", world_size=64)
    assert "data-parallel size: 4" in run.logs[0]
    assert "after training is done" in run.logs[0]


@pytest.mark.training
def test_refuses_flags_of_other_scripts(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"RefusedError: --dataloader-inter-document-masking is"):
        train(tmp_path, "--mock-data --train-iters 1 --dataloader-inter-document-masking")
