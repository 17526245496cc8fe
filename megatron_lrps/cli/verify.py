"""``lrps verify``: reads every checkpoint against the hashes that were taken when it was saved."""

import typer

from megatron_lrps.campaign import integrity
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption, PathOption, PlanArgument
from megatron_lrps.cli.printing import print_json
from megatron_lrps.errors import StorageError
from megatron_lrps.wording import counted


def verify(plan: PlanArgument, path: PathOption = None, as_json: JsonOption = False) -> None:
    """Check every checkpoint's files against their hashes. Damaged files are named."""
    campaign = Campaign.open(plan)
    names = [campaign.path(path).name] if path else [each.name for each in campaign.paths]
    findings = []
    for finding in integrity.verify(campaign, names):
        findings.append(finding)
        if not as_json:  # one line at a time: large checkpoints take minutes
            what = "; ".join(map(str, finding.damages)) or integrity.MEANING[finding.state]
            typer.echo(f"{finding.path} {finding.checkpoint.iteration:,}: {finding.state}: {what}")
    if as_json:
        facts = [
            {
                "path": finding.path,
                "iteration": finding.checkpoint.iteration,
                "folder": str(finding.checkpoint),
                "state": finding.state,
                "damages": [{"file": damage.file, "what": damage.what} for damage in finding.damages],
            }
            for finding in findings
        ]
        print_json({"campaign": campaign.plan.campaign, "checkpoints": facts})
    damaged = [finding for finding in findings if finding.state == "damaged"]
    if damaged:
        raise StorageError(
            f"{len(damaged)} of {len(findings)} checkpoints are not as they were saved.",
            "a run skips them and uses the one before; restore their files from a copy, or move them away.",
        )
    if not as_json:
        typer.echo(f"{counted(len(findings), 'checkpoint')}, none damaged.")
