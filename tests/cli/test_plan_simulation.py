"""`lrps plan --check-layout` and `lrps plan --simulate` as processes of their own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.cli.plan_simulation import layout_text
from tests.cli.test_plan import answer, refusal, write
from tests.conftest import Lrps
from tests.plan.plans import versions

SLURM = {"slurm": {"nodes": 4, "gpus_per_node": 2, "time": "24:00:00"}}
MODEL = {
    "num-layers": 4,
    "hidden-size": 64,
    "num-attention-heads": 4,
    "max-position-embeddings": 16,
    "bf16": True,
    "save-interval": 50,
}


def plan(folder: Path, **keys: Any) -> Path:
    base = {"launch": SLURM, "megatron": MODEL, "tokenizer": {"type": "null", "vocab_size": 128}}
    return write(folder, **base | keys)


# --check-layout


@pytest.mark.training
def test_paths_of_one_layout_share_a_row(tmp_path: Path, lrps: Lrps) -> None:
    text = answer(lrps, "plan", plan(tmp_path, megatron=MODEL | {"tensor-model-parallel-size": 2}), "--check-layout")
    assert "Layout of 8 ranks: Megatron accepts every path" in text
    assert re.search(r"TP2 PP1 DP4 +2 .*main, v1, v2", text)  # 8 samples, 1 at a time, on 4 replicas
    assert "PTFS" in text  # what `lrps plan` says is still there


def test_a_layout_that_cannot_be_is_refused_without_asking_megatron(tmp_path: Path, lrps: Lrps) -> None:
    file = plan(tmp_path, megatron=MODEL | {"tensor-model-parallel-size": 8})
    code, stdout, stderr = lrps("plan", file, "--check-layout", "--json")
    assert (code, stderr.count("\n")) == (78, 1)
    assert "megatron.num-attention-heads: 4 is not a multiple of tensor-model-parallel-size 8" in stderr
    assert "layout" not in json.loads(stdout)


@pytest.mark.training
def test_what_megatron_alone_refuses_is_one_line_behind_the_plan(tmp_path: Path, lrps: Lrps) -> None:
    code, stdout, stderr = lrps("plan", plan(tmp_path, megatron=MODEL | {"fp16": True}), "--check-layout")
    assert (code, stderr.count("\n")) == (78, 1)
    assert "path main on 8 ranks is refused (so are 2 other paths): it needs not bf16; bf16 is True" in stderr
    assert "Fix: give one of bf16 and fp16." in stderr
    assert "PTFS" in stdout
    assert "Megatron accepts" not in stdout


def path_facts(weights_gb: int, activations_gb: int, **keys: Any) -> dict[str, Any]:
    return {
        "layout": {"TP": 1, "PP": 2, "VPP": 1, "CP": 4, "EP": 1, "DP": 1},
        "microbatches": 3,
        "vocabulary": 256,
        "shards": [{"stage": 0, "rank": 0, "parameters": 1000}, {"stage": 1, "rank": 4, "parameters": 2000}],
        "not_built": None,
        "memory": {"weights_and_optimizer": weights_gb * 10**9, "activations": activations_gb * 10**9},
        "unproven": [],
        **keys,
    }


def facts(**paths: Any) -> dict[str, Any]:
    return {"world_size": 8, "gpu_bytes": 80 * 10**9, "assumed_vocabulary": None, "paths": paths}


def test_a_layout_says_what_each_gpu_holds() -> None:
    text = layout_text(facts(main=path_facts(30, 50)))
    row = next(line for line in text.splitlines() if line.startswith("TP1"))
    assert re.split(r"\s{2,}", row) == ["TP1 PP2 CP4 DP1", "3", "1,000, 2,000", "30.0", "50.0", "80.0", "main"]
    assert "TOO LARGE" not in text
    assert "not tried" not in text
    assert "assumed" not in text


def test_a_layout_that_does_not_fit_in_a_gpu_says_so() -> None:
    assert "TOO LARGE: 81.0 GB are more than 80" in layout_text(facts(main=path_facts(30, 50), v1=path_facts(31, 50)))


def test_what_was_not_tried_is_named() -> None:
    path = path_facts(1, 1, unproven=["--fp8-format"], shards=[], not_built="no such module")
    text = layout_text(facts(main=path) | {"assumed_vocabulary": 32768})
    assert "Accepted, but not tried, as only Transformer Engine on a GPU can run it: --fp8-format" in text
    assert "The shards were not built: no such module" in text
    assert "a vocabulary of 32,768 tokens is assumed" in text


# --simulate


def test_a_simulation_is_the_plans_cluster(tmp_path: Path, lrps: Lrps) -> None:
    command = ("plan", plan(tmp_path), "--simulate", "--seconds-per-iter", "36", "--seeds", "5", "--json")
    text = answer(lrps, *command)
    found = json.loads(text)["simulation"]
    assert (found["nodes"], found["gpus"], found["seconds_per_iter"], found["seeds"]) == (4, 8, 36.0, 5)
    assert (found["mtbf_hours"], found["queue_hours"], found["save_minutes"]) == (6300, 0, 1)
    assert found["limit_hours"] == pytest.approx(24 - 300 / 3600)  # told five minutes before its limit
    # sqrt(2 x 1/60 h x 6300 h / 4) = 7.25 h, of 36 s each
    assert found["young_iterations"] == pytest.approx(724.6, abs=0.1)
    assert found["save_interval"] == 50
    assert {50, 181, 725} <= {each["interval"] for each in found["intervals"]}
    own = next(each for each in found["intervals"] if each["interval"] == 50)
    # main's two segments (1400) and v2 (600) after each other, 100 an hour: 40 saves of a minute, 3 starts of ten
    assert own["ends_hours"]["v2"]["median"] == pytest.approx(20 + 40 / 60 + 30 / 60)
    assert answer(lrps, *command) == text


def test_other_gpus_and_failures_can_be_asked_for(tmp_path: Path, lrps: Lrps) -> None:
    options = ("--gpus", "15", "--mtbf-hours", "100", "--queue-hours", "3", "--save-minutes", "6", "--seeds", "5")
    text = answer(lrps, "plan", plan(tmp_path), "--simulate", "--seconds-per-iter", "36", *options)
    assert "jobs of 8 nodes with 15 GPUs, 36 s an iteration" in text
    assert "A node fails every 100 h; a job waits 3 h in the queue" in text
    # sqrt(2 x 0.1 h x 12.5 h) = 1.58 h
    assert "By Young's formula a save every 158 iterations wastes least" in text
    assert re.search(r"^ +50 +30\.0 .* the plan's$", text, re.MULTILINE)
    assert len(re.findall("best$", text, re.MULTILINE)) == 1
    assert re.search(r"^v2 +[\d.]+ +[\d.]+$", text, re.MULTILINE)


def test_the_time_of_an_iteration_can_be_reckoned(tmp_path: Path, lrps: Lrps) -> None:
    file = plan(tmp_path, versions=versions(1000))
    found = json.loads(answer(lrps, "plan", file, "--simulate", "--tflops", "0.001", "--seeds", "1", "--json"))
    hours = found["gpu_hours"]["planned"]  # of 1000 iterations
    assert found["simulation"]["seconds_per_iter"] == pytest.approx(hours * 3600 / 1000 / 8)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--simulate",), "the time of an iteration is not known"),
        (("--mtbf-hours", "5"), "--mtbf-hours 5 is given without --simulate"),
        (("--simulate", "--seconds-per-iter", "1", "--mtbf-hours", "0.01"), "4 nodes that fail every 0.01 h each"),
        (("--simulate", "--seconds-per-iter", "90000"), "raise launch.slurm.time"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path: Path, lrps: Lrps, options: tuple[str, ...], says: str) -> None:
    assert says in refusal(lrps, "plan", plan(tmp_path), *options)
