"""`lrps plan --simulate` as a process of its own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import answer, refusal, write
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
