"""What plans need of machines that are described here, GPUs and all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.launch.doctor.findings import FUSION, Finding, inventory, needs_of_run, needs_of_submit
from megatron_lrps.launch.doctor.machine import CONTAINERS, LIBRARIES, SLURM, Machine, Storage
from tests.plan.plans import tree_of
from tests.training.harness import write_tokens

ABSENT = {"error": "ModuleNotFoundError: No module named 'apex'"}
H100 = {"name": "H100", "bytes": 80 * 10**9, "capability": [9, 0]}
A100 = {"name": "A100", "bytes": 40 * 10**9, "capability": [8, 0]}
STORAGE = Storage(folder="/runs", kind="lustre", free_bytes=10**12)


def machine(*gpus: dict[str, Any], **modules: dict[str, Any]) -> Machine:
    """A node of NGC's image with these GPUs; modules by their first word."""
    found = {
        "torch": {"version": "2.13.0", "cuda": "13.0", "nccl": "2.29.7", "gpus": list(gpus)},
        "megatron.core": {"version": "0.19.2"},
        "transformer_engine.pytorch": {"version": "2.20"},
        "apex": {"version": "installed"},
        FUSION: {"version": "installed"},
        "flash_attn": {"error": "ModuleNotFoundError: No module named 'flash_attn'"},
    }
    for name, answer in modules.items():
        found[next(key for key in found if key.startswith(name))] = answer
    return Machine(
        python="3.12.1",
        modules=found,
        libraries=dict.fromkeys(LIBRARIES, "1.0"),
        commands={name: f"/usr/bin/{name}" for name in (*SLURM, *CONTAINERS)},
        infiniband=("mlx5_0",),
        cores=16,
        storage=STORAGE,
    )


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return campaign_at(tmp_path)


def campaign_at(folder: Path, launch: dict[str, Any] | None = None, **keys: Any) -> Campaign:
    """Two versions of 1000 iterations with data, in ``folder``."""
    names = ("v1", "v2")
    for name in names:
        write_tokens(folder / name, [[1, 2, 3]])
    return Campaign(
        tree_of(
            save=str(folder / "runs"),
            versions=[{"name": name, "iters": 1000, "train": [[1.0, str(folder / name)]]} for name in names],
            launch=launch or {"local": {"processes": 2}},
            **keys,
        )
    )


def lacking(findings: list[Finding]) -> list[str]:
    assert all(finding.fix for finding in findings if finding.fit is False)
    assert not any(finding.fix for finding in findings if finding.fit)
    return [finding.name for finding in findings if finding.fit is False]


def test_a_node_with_everything_is_fit(campaign: Campaign) -> None:
    assert lacking(needs_of_run(campaign, machine(H100, H100), ranks=2)) == []


def test_every_rank_needs_a_gpu(campaign: Campaign) -> None:
    findings = needs_of_run(campaign, machine(H100), ranks=2)
    assert lacking(findings) == ["GPUs"]
    assert Finding("GPUs", "1, 2 needed", False, findings[2].fix) in findings


@pytest.mark.parametrize(
    ("module", "answer", "names"),
    [
        ("torch", {"error": "ModuleNotFoundError: No module named 'torch'"}, ["torch", "GPUs", "NCCL"]),
        ("megatron", {"version": "0.15.0"}, ["megatron-core"]),
        ("megatron", {"error": "ModuleNotFoundError: No module named 'megatron'"}, ["megatron-core"]),
        ("transformer", {"error": "ImportError: libcudart.so.12 is not there"}, ["transformer_engine"]),
        ("fused", {"error": f"ModuleNotFoundError: No module named '{FUSION}'"}, [FUSION]),
    ],
)
def test_each_lack_is_named(campaign: Campaign, module: str, answer: dict[str, Any], names: list[str]) -> None:
    assert lacking(needs_of_run(campaign, machine(H100, H100, **{module: answer}), ranks=2)) == names


@pytest.mark.parametrize(
    ("version", "fit", "words"),
    [
        ("0.16.1", True, "0.16.1, a supported release"),
        ("0.20.0rc0", True, "0.20.0rc0, a supported release"),
        ("0.21.0", True, "0.21.0, newer than the tested releases (0.16.x to 0.20.x)"),
        ("0.15.2", False, "0.15.2"),
    ],
)
def test_megatrons_release_is_judged(campaign: Campaign, version: str, fit: bool, words: str) -> None:
    findings = needs_of_run(campaign, machine(H100, H100, megatron={"version": version}), ranks=2)
    found = next(finding for finding in findings if finding.name == "megatron-core")
    assert (found.fit, found.found) == (fit, words)
    assert bool(found.fix) is (version in ("0.21.0", "0.15.2"))


def test_a_library_that_does_not_import_is_not_called_absent(campaign: Campaign) -> None:
    broken = machine(H100, H100, transformer={"error": "ImportError: libcudart.so.12 is not there"})
    found = {finding.name: finding for finding in needs_of_run(campaign, broken, ranks=2)}["transformer_engine"]
    assert found.found == "does not import: ImportError: libcudart.so.12 is not there"
    assert found.fix == "install a build for this torch."


def test_flags_can_do_without_transformer_engine_and_apex(tmp_path: Path) -> None:
    flags = {"transformer-impl": "local", "no-gradient-accumulation-fusion": True}
    bare = machine(A100, A100, transformer=ABSENT, fused=ABSENT)
    assert lacking(needs_of_run(campaign_at(tmp_path, megatron=flags), bare, ranks=2)) == []


@pytest.mark.parametrize(
    ("recipe", "gpu", "fit"),
    [
        ("delayed", H100, True),
        ("delayed", H100 | {"capability": [8, 9]}, True),
        ("delayed", A100, False),
        ("blockwise", H100, True),
        ("blockwise", H100 | {"capability": [8, 9]}, False),
        ("mxfp8", H100, False),
        ("mxfp8", H100 | {"capability": [10, 0]}, True),
    ],
)
def test_fp8_needs_gpus_that_have_it(tmp_path: Path, recipe: str, gpu: dict[str, Any], fit: bool) -> None:
    plan = campaign_at(tmp_path, megatron={"fp8-format": "hybrid", "fp8-recipe": recipe})
    assert lacking(needs_of_run(plan, machine(gpu, gpu), ranks=2)) == ([] if fit else [f"FP8 {recipe}"])


def test_blockwise_needs_a_newer_cuda_than_hopper_does(tmp_path: Path) -> None:
    plan = campaign_at(tmp_path, megatron={"fp8-format": "hybrid", "fp8-recipe": "blockwise"})
    old = {"version": "2.7.0", "cuda": "12.8", "nccl": "2.26", "gpus": [H100, H100]}
    found = {finding.name: finding.found for finding in needs_of_run(plan, machine(torch=old), ranks=2)}
    assert found["FP8 blockwise"] == "torch has CUDA 12.8, 12.9 needed"


def test_the_weakest_gpu_decides(tmp_path: Path) -> None:
    plan = campaign_at(tmp_path, megatron={"fp8-format": "hybrid"})
    found = {finding.name: finding.found for finding in needs_of_run(plan, machine(H100, A100), ranks=2)}
    assert found["FP8 delayed"] == "sm_80, sm_89 needed"


def test_the_cpu_backend_wants_no_gpu(tmp_path: Path) -> None:
    plan = campaign_at(tmp_path, launch={"device": "cpu"})
    assert lacking(needs_of_run(plan, machine(transformer=ABSENT), ranks=1)) == []
    assert lacking(needs_of_run(plan, machine(H100), ranks=1)) == ["GPUs"]


def test_data_and_tokenizer_must_be_there(tmp_path: Path) -> None:
    plan = campaign_at(tmp_path, tokenizer={"type": "sentencepiece", "model": str(tmp_path / "t.model")})
    (tmp_path / "v2.bin").unlink()
    node = replace(machine(H100, H100), libraries=dict.fromkeys(LIBRARIES))
    findings = needs_of_run(plan, node, ranks=2)
    assert lacking(findings) == ["data", "sentencepiece", "tokenizer", "tensorboard"]
    assert "v2 has no .bin" in {finding.name: finding for finding in findings}["data"].found


def test_checkpoints_to_come_must_fit(tmp_path: Path) -> None:
    # 2 fork points of main (one is its end) and 2 ends of branches, each of 14 bytes a parameter: 24 layers of 2048
    # wide are 1.34 G parameters with their embeddings, 75 GB in all.
    model = {"num-layers": 24, "hidden-size": 2048, "num-attention-heads": 16}
    plan = campaign_at(tmp_path, megatron=model)
    node = machine(H100, H100)
    assert lacking(needs_of_run(plan, replace(node, storage=replace(STORAGE, free_bytes=76 * 10**9)), ranks=2)) == []
    small = replace(node, storage=replace(STORAGE, free_bytes=60 * 10**9))
    findings = needs_of_run(plan, small, ranks=2)
    assert lacking(findings) == ["storage"]
    assert "60 GB free" in findings[-1].found


@pytest.mark.parametrize(("ability", "fit"), [("rename", False), ("fsync", False), ("hard links", True)])
def test_checkpoints_need_rename_and_fsync(campaign: Campaign, ability: str, fit: bool) -> None:
    node = replace(machine(H100, H100), storage=replace(STORAGE, missing=(ability,)))
    assert lacking(needs_of_run(campaign, node, ranks=2)) == ([] if fit else ["storage"])


@pytest.mark.parametrize(
    ("adapters", "nodes", "ethernet", "names"),
    [
        (("mlx5_0", "mlx5_1"), 4, False, []),
        ((), 4, False, ["fabric"]),
        ((), 4, True, []),
        ((), 1, False, []),
    ],
)
def test_nodes_of_a_job_need_a_fabric(
    campaign: Campaign, adapters: tuple[str, ...], nodes: int, ethernet: bool, names: list[str]
) -> None:
    node = replace(machine(H100, H100), infiniband=adapters)
    findings = needs_of_run(campaign, node, ranks=2, nodes=nodes, ethernet=ethernet)
    assert lacking(findings) == names
    said = [finding.found for finding in findings if finding.name == "fabric"]
    words = ", ".join(adapters) or ("Ethernet, chosen for NCCL" if ethernet else "no InfiniBand adapter")
    assert said == ([f"{words}, for 4 nodes"] if nodes > 1 else [])


def test_the_cpu_backend_needs_no_fabric(tmp_path: Path) -> None:
    cpu = campaign_at(tmp_path, launch={"device": "cpu"})
    assert lacking(needs_of_run(cpu, replace(machine(), infiniband=()), ranks=2, nodes=4)) == []


def test_submitting_needs_slurm_and_no_gpu(campaign: Campaign) -> None:
    login = machine(transformer=ABSENT)
    assert lacking(needs_of_submit(campaign, login)) == []
    without = replace(login, commands=login.commands | {"sbatch": None, "scontrol": None})
    findings = needs_of_submit(campaign, without)
    assert lacking(findings) == ["Slurm"]
    assert findings[0].found == "no sbatch, scontrol"


def test_an_inventory_judges_nothing() -> None:
    bare = replace(
        machine(torch={"error": "ModuleNotFoundError: No module named 'torch'"}),
        libraries=dict.fromkeys(LIBRARIES),
        commands=dict.fromkeys((*SLURM, *CONTAINERS)),
        infiniband=(),
    )
    findings = inventory(bare)
    assert {finding.fit for finding in findings} == {None}
    words = {finding.name: finding.found for finding in findings}
    assert words["torch"] == words["gigatoken"] == "not installed"
    assert words["GPUs"] == "none (torch is built without CUDA)"
    assert words["InfiniBand"] == "no adapters"


def test_gpus_of_a_kind_are_counted() -> None:
    words = {finding.name: finding.found for finding in inventory(machine(H100, H100, A100))}
    assert words["GPUs"] == "2 x H100 of 80 GB, sm_90, 1 x A100 of 40 GB, sm_80"
    assert words["InfiniBand"] == "mlx5_0"


def test_asynchronous_saves_need_nvidias_library_and_no_run_starts_beside_an_old_one(tmp_path: Path) -> None:
    def with_library(version: str | None, **keys: Any) -> list[str]:
        found = machine(H100, H100)
        found = replace(found, libraries={**found.libraries, "nvidia-resiliency-ext": version})
        return lacking(needs_of_run(campaign_at(tmp_path, **keys), found, ranks=2))

    saves = {"megatron": {"async-save": True, "use-persistent-ckpt-worker": True}}
    assert with_library(None, **saves) == ["nvidia-resiliency-ext"]
    assert with_library("0.6.0", **saves) == []
    assert with_library(None) == []
    assert with_library("0.4.1") == ["nvidia-resiliency-ext"]
