"""Faults in commands that do not train: one is killed at a random instant, and run again on what it has left.

The trained campaign is a copy each time. What a command makes is compared with what it makes when nothing happens.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.releases import releases_of
from tests.convert.models import write_llama_campaign

if TYPE_CHECKING:
    from tests.faults.fault import Fault

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "lrps export": ("export", "PLAN", "v1"),
    "lrps promote": ("promote", "PLAN", "v1"),
    "lrps gc": ("gc", "PLAN", "--yes"),
    "lrps eval": ("eval", "PLAN", "v1", "--engine", "megatron"),
    "a merge": ("run", "PLAN", "--path", "v2"),
}
"""Name of a command -> its arguments."""
_RUN_S = 900.0
_PROC = Path("/proc")


def strike_command(work: Path, fault: "Fault") -> dict[str, Any]:
    """Kill a command and all that it has started, run it again, and judge.

    Args:
        work: The folder of the campaigns.
        fault: The fault; its target is a key of ``COMMANDS``, its delay a share of the command's time.
    """
    wanted, seconds = _undisturbed(work, fault.target)
    dice = random.Random(f"again {fault.number}")
    while True:
        plan = _copied(_trained(work), work / "command-broken")
        before = _whole_checkpoints(plan)
        command = _start(plan, fault.target)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(fault.delay * seconds)
        if command.poll() is None:
            break
        said, _ = command.communicate()
        assert command.returncode == 0, said
        fault = replace(fault, delay=dice.uniform(0.0, fault.delay))  # it had ended before the kill
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)
    killed, code = time.monotonic(), command.wait()
    left = _left(plan)
    ended = round(time.monotonic() - killed, 1)
    kept = before if fault.target != "lrps gc" else wanted["checkpoints"]
    lost = [each for each in kept if each not in _whole_checkpoints(plan)]
    again = _start(plan, fault.target)
    said, _ = again.communicate(timeout=_RUN_S)
    return {
        **asdict(fault),
        "doing": fault.target,
        "after": round(fault.delay * seconds, 1),
        "ended": ended,
        "code": code,
        "left": left,
        "lost": 0,
        "kept": not lost,
        "equal": again.returncode == 0 and _made(plan, fault.target) == wanted["made"],
        "traceback": "Traceback (most recent call last)" in said,
    }


def _trained(work: Path) -> Path:
    """Return a campaign whose main path and v1 are trained, and whose v2 is to be merged; it is trained once."""
    plan = work / "command-trained" / "plan.yaml"
    if not (plan.parent / "trained").exists():
        shutil.rmtree(plan.parent, ignore_errors=True)
        plan.parent.mkdir(parents=True)
        text = write_llama_campaign(plan.parent).read_text().replace("save-interval: 100", "save-interval: 1")
        text = text.replace("{name: v2, ", "{name: v2, merge: {window: 0.9, checkpoints: 4}, ")
        plan.write_text(f"{text}keep: {{latest: 1}}\npromote: {{}}\n")
        for path in ("main", "v1"):
            done = subprocess.run(_line(plan, ("run", "PLAN", "--path", path)), capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        (plan.parent / "trained").touch()
    return plan


def _undisturbed(work: Path, target: str) -> tuple[dict[str, Any], float]:
    """Return what a command makes and leaves when nothing happens, and the seconds that it takes."""
    file = work / f"command-{COMMANDS[target][0]}.json"
    if not file.exists():
        plan = _copied(_trained(work), work / "command-undisturbed")
        begun = time.monotonic()
        command = _start(plan, target)
        said, _ = command.communicate(timeout=_RUN_S)
        assert command.returncode == 0, said
        wanted = {"made": _made(plan, target), "checkpoints": _whole_checkpoints(plan)}
        file.write_text(json.dumps([wanted, time.monotonic() - begun]))
    found, seconds = json.loads(file.read_text())
    return found, float(seconds)


def _made(plan: Path, target: str) -> dict[str, str]:
    """Return what a command has made, by name: hashes of files that hold no times, and states."""
    run, campaign = plan.parent / "run", Campaign.open(plan)
    if target == "lrps gc":
        return dict.fromkeys(_whole_checkpoints(plan), "")
    if target == "a merge":
        folder = Checkpoint(campaign.folder.path("v2").checkpoints, campaign.path("v2").end).folder
        return _hashes(folder, "*.distcp")
    if target == "lrps eval":
        scores = json.loads((run / "eval" / "v1" / "results.json").read_text())
        return {"scores": json.dumps(_without_times(scores), sort_keys=True)}
    made = _hashes(run / "exports" / "v1", "*.safetensors") | _hashes(run / "exports" / "v1", "config.json")
    if target == "lrps promote":
        made["releases"] = str(len(releases_of(campaign.folder.path("v1"), campaign.path("v1").end)))
    return made


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("time", "seconds", "date", "host", "command")
        return {key: _without_times(each) for key, each in value.items() if not any(word in key for word in times)}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob(pattern))}


def _whole_checkpoints(plan: Path) -> list[str]:
    """Return the checkpoints whose files have the content that their manifests say."""
    found = []
    for folder in sorted((plan.parent / "run" / "paths").glob("*/checkpoints")):
        for iteration in Checkpoints.in_folder(folder).complete:
            if not Checkpoint(folder, iteration).damaged_contents():
                found.append(f"{folder.parent.name} {iteration}")
    return found


def _copied(plan: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(plan.parent, folder)) / plan.name


def _line(plan: Path, arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "megatron_lrps.cli", *(str(plan) if each == "PLAN" else each for each in arguments)]


def _start(plan: Path, target: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _line(plan, COMMANDS[target]),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _left(plan: Path) -> int:
    """Return the number of processes that name the plan ten seconds after the kill."""
    end, named = time.monotonic() + 10, str(plan.parent).encode()
    while True:
        left = 0
        for entry in _PROC.iterdir():
            with contextlib.suppress(OSError):
                left += entry.name.isdigit() and named in (entry / "cmdline").read_bytes()
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)
