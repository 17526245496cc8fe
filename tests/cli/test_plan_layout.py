"""`lrps plan --check-layout` as a process of its own, and its text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.cli.plan_layout import layout_text
from tests.cli.commands import answer
from tests.cli.test_plan_simulation import MODEL, plan
from tests.conftest import Lrps


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
    code, stdout, stderr = lrps("plan", plan(tmp_path, megatron=MODEL | {"fp4-param-gather": True}), "--check-layout")
    assert (code, stderr.count("\n")) == (78, 1)
    assert "path main on 8 ranks is refused (so are 2 other paths): --fp4-param-gather" in stderr
    assert "must be used together with --fp4-format. Fix: change these flags under `megatron:`." in stderr
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
