"""Trains a small campaign with some flags in its plan: main, and a version that forks off it, on real ranks."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.preflight import refusals
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.parallel_layout import ranks_of
from tests.training.campaigns import losses, train_path, write_campaign

BASE: dict[str, Any] = {
    "num-layers": 2,
    "hidden-size": 64,
    "num-attention-heads": 4,
    "micro-batch-size": 2,
    "attention-dropout": 0.0,
    "hidden-dropout": 0.1,
    "use-distributed-optimizer": True,
    "bf16": True,
}
FORK, END = 2, 5


class FailedTrialError(Exception):
    """What a trial ended with; its text is the last lines of the log."""


def write_trial(folder: Path, flags: dict[str, Any], ranks: int, base: dict[str, Any] = BASE) -> Path:
    """Write the campaign: main trains (0, 5], v1 forks after 2 and ends after 4; return the plan's file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan = write_campaign(folder, processes=ranks)
    keys = yaml.safe_load(plan.read_text())
    keys["versions"][0]["iters"], keys["versions"][1]["iters"] = 4, 2
    keys["lr"]["warmup_iters"] = 0
    keys["megatron"] = base | {"eval-interval": 100, "save-interval": 100} | flags
    plan.write_text(yaml.safe_dump(keys, sort_keys=False))
    return plan


def refused_by_plan(plan: Path) -> RefusedError | None:
    """Return what `lrps plan` refuses the plan with, without Megatron; None if it passes."""
    try:
        campaign = Campaign.open(plan)
        for path in campaign.paths:
            path_flags(campaign.tree, path)
        return next(iter(refusals(campaign, ranks_of(campaign.plan), None)), None)
    except RefusedError as refusal:
        return refusal


def trained(plan: Path, ranks: int) -> dict[int, float]:
    """Train main and v1; return main's losses.

    Raises:
        RefusedError: a rank refuses the run in one sentence.
        FailedTrialError: a rank ends otherwise, or the version does not fork where main was.
    """
    for path in ("main", "v1"):
        ended = train_path(plan, path, ranks=ranks, timeout=120)
        if any(ended.codes):
            raise ended_by(path, ended.codes, ended.log)
    main, branch = losses(plan, "main"), losses(plan, "v1")
    if branch.get(FORK + 1) != main.get(FORK + 1) or FORK + 1 not in main:
        raise FailedTrialError(f"the first loss of the branch is {branch.get(FORK + 1)}, main's {main.get(FORK + 1)}")
    return main


def ended_by(path: str, codes: list[int | None], log: str) -> Exception:
    """Return what a run that failed said."""
    lines = [line for line in log.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("lrps: ") and "Fix:" in line]
    if 78 in codes and own and "Traceback" not in log:
        return RefusedError(own[-1].removeprefix("lrps: "), "")
    errors = [line for line in lines if "Error" in line.partition(":")[0]]
    return FailedTrialError(f"{path} ended with {codes}: {(errors or lines or [''])[-1][:300]}")
