"""A plan's layout, checked by Megatron for the plan's own world size; the plan and its refusals."""

import subprocess
from typing import Any

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import EXIT_REFUSED, LrpsError, RefusedError
from megatron_lrps.launch import layout_check
from megatron_lrps.launch.layout_check import SUBMIT_S, check_before_submit, check_layout
from megatron_lrps.plan.vocabulary import ASSUMED_VOCABULARY
from tests.plan.plans import tree_of

MODEL = {
    "num-layers": 4,
    "hidden-size": 64,
    "num-attention-heads": 4,
    "max-position-embeddings": 16,
    "bf16": True,
    "micro-batch-size": 1,
}


def campaign(launch: dict[str, Any], tokenizer: dict[str, Any] | None = None, **megatron: object) -> Campaign:
    flags = {key.replace("_", "-"): value for key, value in megatron.items()}
    tokenizer = tokenizer or {"type": "null", "vocab_size": 128}
    return Campaign(tree_of(launch=launch, tokenizer=tokenizer, megatron=MODEL | flags))


@pytest.mark.training
def test_every_path_of_an_accepted_plan_is_reported() -> None:
    facts = check_layout(
        campaign(
            {"slurm": {"nodes": 2, "gpus_per_node": 4}}, tensor_model_parallel_size=2, pipeline_model_parallel_size=2
        )
    )
    assert facts["world_size"] == 8
    assert facts["assumed_vocabulary"] is None
    assert list(facts["paths"]) == ["main", "v1", "v2"]
    for path in facts["paths"].values():
        assert path["layout"] == {"TP": 2, "PP": 2, "VPP": 1, "CP": 1, "EP": 1, "DP": 2}
        assert path["microbatches"] == 4  # 8 samples, 1 at a time, on 2 replicas
        assert len(path["shards"]) == 2


@pytest.mark.training
def test_a_wrong_layout_is_one_line_with_megatrons_message_and_the_fix() -> None:
    with pytest.raises(RefusedError) as refusal:
        check_layout(campaign({"slurm": {"nodes": 3, "gpus_per_node": 2}}, tensor_model_parallel_size=4))
    text = str(refusal.value)
    assert "\n" not in text
    assert refusal.value.exit_code == EXIT_REFUSED
    assert "path main on 6 ranks is refused (so are 2 other paths)" in text
    assert "world size (6) is not divisible by total_model_size" in text
    assert "Fix: let nodes x gpus_per_node (or processes) be a multiple of TP x PP x CP." in text


@pytest.mark.training
def test_a_tokenizer_that_is_not_there_yet_is_assumed_and_said() -> None:
    facts = check_layout(campaign({}, tokenizer={"type": "sentencepiece", "model": "not-there.model"}))
    assert facts["assumed_vocabulary"] == ASSUMED_VOCABULARY == 32768
    assert facts["paths"]["main"]["vocabulary"] == 32768


def answering(monkeypatch: pytest.MonkeyPatch, returncode: int, stdout: str = "", stderr: str = "") -> None:
    done = subprocess.CompletedProcess([], returncode, stdout, stderr)
    monkeypatch.setattr(layout_check.subprocess, "run", lambda *args, **kwargs: done)


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("num_query_groups (8) must be a multiple or divisor of tensor_model_parallel_size (3)", "num-query-groups"),
        ("Number of layers should be divisible by the pipeline-model-parallel size", "divides num-layers"),
        ("global batch size (5) is not divisible by micro batch size (2) times", "multiple of micro-batch-size x DP"),
        ("eval_global_batch_size (5) must be divisible by eval_micro_batch_size (2) *", "micro-batch-size x DP"),
        ("Number of experts should be a multiple of expert model parallel_size.", "divides num-experts"),
        ("Only transformer-engine>=1.7.0 supports MoE FP8 training", "where Transformer Engine is installed"),
        ("something new", "under `megatron:`"),
    ],
)
def test_each_kind_of_message_has_its_fix(monkeypatch: pytest.MonkeyPatch, message: str, fix: str) -> None:
    answering(monkeypatch, 0, f'{{"transformer_engine": false, "paths": {{"main": {{"error": "{message}"}}}}}}')
    with pytest.raises(RefusedError) as refusal:
        check_layout(campaign({}))
    assert refusal.value.what == f"path main on 1 ranks is refused: {message.rstrip('.')}."
    assert fix in refusal.value.fix


def test_a_machine_without_megatron_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 1, stderr="Traceback ...\nModuleNotFoundError: No module named 'torch'\n")
    with pytest.raises(RefusedError, match=r"No module named 'torch'.*pip install 'megatron-lrps\[megatron\]'"):
        check_layout(campaign({}))


def test_a_checker_that_dies_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, -9)
    with pytest.raises(LrpsError, match="exit code -9") as failure:
        check_layout(campaign({}))
    assert failure.value.exit_code == 1


def test_a_submit_is_refused_by_what_megatron_refuses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(error: str, engine: str = "false") -> None:
        answering(monkeypatch, 0, f'{{"transformer_engine": {engine}, "paths": {{"main": {{"error": "{error}"}}}}}}')

    answers("unrecognized arguments: --colour")
    with pytest.raises(RefusedError, match=r"unrecognized arguments: --colour.*Fix: correct them.*--no-check"):
        check_before_submit(campaign({}))
    answers("Only transformer-engine>=1.7.0 supports MoE FP8 training", "true")
    with pytest.raises(RefusedError, match="MoE FP8"):
        check_before_submit(campaign({}))
    answers("Only transformer-engine>=1.7.0 supports MoE FP8 training")  # which the cluster may have
    assert check_before_submit(campaign({})).startswith("Left to the jobs: path main on 1 ranks is refused: Only trans")
    answering(monkeypatch, 0, '{"transformer_engine": false, "paths": {"main": {}}}')
    assert check_before_submit(campaign({})) == ""


def test_a_submit_waits_for_no_megatron_that_cannot_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, -9)
    assert check_before_submit(campaign({})) == "Left to the jobs: The layout could not be checked: exit code -9."
    answering(monkeypatch, 1, stderr="ImportError: libcuda.so.1")
    assert (
        check_before_submit(campaign({}))
        == "Left to the jobs: The layout cannot be checked: ImportError: libcuda.so.1."
    )

    def slow(line: list[str], *, timeout: float, **given: Any) -> None:
        raise subprocess.TimeoutExpired(line, timeout)

    monkeypatch.setattr(layout_check.subprocess, "run", slow)
    said = check_before_submit(campaign({}))
    assert said == f"Left to the jobs: Megatron's checks took longer than {SUBMIT_S:.0f} s for 1 ranks."
    monkeypatch.setattr(layout_check.importlib.util, "find_spec", lambda name: None)
    assert check_before_submit(campaign({})).startswith("Megatron is not on this machine")
