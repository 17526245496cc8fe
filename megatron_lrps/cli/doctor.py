"""``lrps doctor``: what this machine has and lacks, and whether a plan can run on it.

It leaves with 78 if the plan can neither run nor be submitted here; inside of a Slurm job, if it cannot run.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption
from megatron_lrps.cli.printing import print_json
from megatron_lrps.errors import EXIT_REFUSED
from megatron_lrps.launch.doctor.findings import Finding, inventory, needs_of_run, needs_of_submit
from megatron_lrps.launch.doctor.machine import look
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import Plan
from megatron_lrps.plan.flags import path_flags


def doctor(
    plan: Annotated[
        Path | None, typer.Argument(metavar="[PLAN]", help="A plan to check against this machine.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what this machine has and lacks, with the fixes.

    It looks at torch, CUDA, NCCL, Megatron, TE, FP8 and Slurm. With a plan it checks what the plan needs.
    """
    campaign = Campaign.open(plan) if plan else None
    if campaign is not None:
        for path in campaign.paths:
            path_flags(campaign.tree, path)  # refuses what could not be launched
    machine = look(campaign.plan.folder if campaign else Path.cwd())
    found = inventory(machine)
    ways: dict[str, list[Finding]] = {}
    if campaign is not None:
        ranks, nodes = _size_here(campaign.plan)
        ethernet = bool(os.environ.get("NCCL_SOCKET_IFNAME")) or os.environ.get("NCCL_IB_DISABLE") == "1"
        ways["run"] = needs_of_run(campaign, machine, ranks=ranks, nodes=nodes, ethernet=ethernet)
        if campaign.plan.launch.slurm is not None:
            ways["submit"] = needs_of_submit(campaign, machine)
    fit = {way: all(finding.fit is not False for finding in needs) for way, needs in ways.items()}
    if as_json:
        facts: dict[str, Any] = {"machine": [_facts(finding) for finding in found]}
        facts |= {way: {"fit": fit[way], "needs": [_facts(finding) for finding in ways[way]]} for way in ways}
        print_json(facts)
    else:
        typer.echo(_text(found))
        for way, needs in ways.items():
            verdict = "can" if fit[way] else "cannot"
            typer.echo(f"\n`lrps {way}` {verdict} work here\n\n{_text(needs, verdicts=True)}")
        if "submit" in ways:
            typer.echo("\nWhat the jobs need on their nodes is seen there: srun lrps doctor PLAN")
    if ways and not (fit["run"] or (fit.get("submit") and not _in_job())):
        sys.exit(EXIT_REFUSED)


def _in_job() -> bool:
    return "SLURM_JOB_ID" in os.environ


def _size_here(plan: Plan) -> tuple[int, int]:
    """The ranks on this machine and the number of machines: a Slurm job's inside of one, else those of `lrps run`."""
    slurm = plan.launch.slurm
    if slurm is not None and _in_job():
        return slurm.gpus_per_node, slurm.nodes
    return plan.launch.local.processes, 1


def _text(findings: list[Finding], *, verdicts: bool = False) -> str:
    words = {True: "ok", False: "LACKING", None: ""}
    rows = [
        (finding.name, *([words[finding.fit]] if verdicts else []), finding.found, finding.fix) for finding in findings
    ]
    return table(("what", *(["fit"] if verdicts else []), "here", "fix"), rows)


def _facts(finding: Finding) -> dict[str, Any]:
    """A finding as ``--json`` gives it."""
    return {"name": finding.name, "found": finding.found, "fit": finding.fit, "mend": finding.fix}
