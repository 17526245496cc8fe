"""`lrps lr` as a process of its own."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import answer, refusal, write
from tests.conftest import Lrps
from tests.plan.plans import versions


def test_lr_csv_has_a_line_for_every_iteration(tmp_path: Path, lrps: Lrps) -> None:
    file = write(tmp_path, lr={"max": 3e-4, "min": 3e-5, "warmup_iters": 100}, decay={"alpha": 0.4})
    lines = answer(lrps, "lr", file, "--csv", "--path", "v1").splitlines()
    assert lines[0] == "path,iteration,lr"
    rows = [line.split(",") for line in lines[1:]]
    assert [(name, int(iteration)) for name, iteration, _ in rows] == [("v1", i) for i in range(601, 1001)]
    rates = [float(rate) for *_, rate in rows]
    assert rates[0] == 3e-4  # iteration 601 is the first after the fork at 600
    assert rates[200] == pytest.approx(1.65e-4)
    assert 3e-5 < rates[-1] < 3.001e-5  # min is reached after the last iteration
    everything = answer(lrps, "lr", file, "--csv").splitlines()
    assert len(everything) == 1 + 1600 + 400 + 400
    assert everything[1] == "main,1,0.0"
    assert everything[1601].startswith("v1,601,")


def test_lr_json_is_the_csv(tmp_path: Path, lrps: Lrps) -> None:
    file = write(tmp_path, versions=versions(10, 10), megatron={"lr-warmup-init": 1e-5}, lr={"warmup_iters": 2})
    curves = json.loads(answer(lrps, "lr", file, "--json"))
    assert list(curves) == ["main", "v1", "v2"]
    assert [point["iteration"] for point in curves["main"]] == list(range(1, 15))
    assert [point["lr"] for point in curves["main"][:3]] == pytest.approx([1e-5, 1.55e-4, 3e-4])
    lines = answer(lrps, "lr", file, "--csv").splitlines()[1:]
    assert lines == [f"{name},{p['iteration']},{p['lr']!r}" for name, curve in curves.items() for p in curve]


def test_lr_shows_landmarks_of_a_huge_campaign_at_once(tmp_path: Path, lrps: Lrps) -> None:
    file = write(tmp_path, versions=versions(10**12), decay={"alpha": 0.5})
    lines = answer(lrps, "lr", file).splitlines()
    assert len(lines) < 40
    assert any(re.fullmatch(r"v1 +500,000,000,001 +3\.000000e-04", line) for line in lines)
    assert any(re.fullmatch(r"v1 +1,000,000,000,000 +3\.000000e-05", line) for line in lines)


def test_lr_refuses(tmp_path: Path, lrps: Lrps) -> None:
    file = write(tmp_path)
    assert "path 'v9' is not in campaign c" in refusal(lrps, "lr", file, "--path", "v9")
    assert "path '' is not in campaign c" in refusal(lrps, "lr", file, "--path", "")
    assert "--json and --csv are both given" in refusal(lrps, "lr", file, "--json", "--csv")
    file = write(tmp_path, megatron={"lr-warmup-init": "abc"})
    assert "megatron.lr-warmup-init: 'abc'" in refusal(lrps, "lr", file, "--csv")


def test_lr_into_a_reader_that_has_enough(tmp_path: Path) -> None:
    file = write(tmp_path, versions=versions(100_000))
    command = f"{sys.executable} -m megatron_lrps.cli lr {shlex.quote(str(file))} --csv | head -n 2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "path,iteration,lr\nmain,1,0.0003\n"
    assert done.stderr == ""
