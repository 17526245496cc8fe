"""``lrps gc``: which checkpoints of a campaign stay and why; with ``--yes`` it deletes the others."""

from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.keep import Verdict
from megatron_lrps.campaign.removal import folder_of, judge, size_on_disk, sweep
from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.cli.printing import print_json
from megatron_lrps.monitor.text_table import table
from megatron_lrps.storage.disk_space import size_words

_SHOWN = 8
"""Iterations on one line."""


def gc(
    plan: PlanArgument,
    as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it nothing is deleted.")] = False,
) -> None:
    """Show which checkpoints nothing needs, or delete them. Each checkpoint that stays has a reason."""
    campaign = Campaign.open(plan)
    verdicts = judge(campaign)
    sizes = {verdict: size_on_disk(folder_of(campaign, verdict)) for verdict in verdicts}
    doomed = [verdict for verdict in verdicts if not verdict.keep]
    if as_json:
        facts = {
            "campaign": campaign.plan.campaign,
            "save": str(campaign.folder.root),
            "dry_run": not yes,
            "freed_bytes": sum(sizes[verdict] for verdict in doomed),
            "checkpoints": [
                {
                    "path": verdict.path,
                    "iteration": verdict.iteration,
                    "folder": str(folder_of(campaign, verdict)),
                    "bytes": size,
                    "keep": verdict.keep,
                    "reason": verdict.reason,
                    "loses": verdict.loses,
                }
                for verdict, size in sizes.items()
            ],
        }
        print_json(facts)
    else:
        _print_verdicts(sizes)
    if not yes:
        if doomed and not as_json:
            typer.echo(f"Nothing is deleted yet; `lrps gc {plan} --yes` deletes them.")
        return
    freed = 0
    for verdict in sweep(campaign, doomed):
        freed += sizes[verdict]
        if not as_json:
            typer.echo(f"deleted {verdict.path} {verdict.iteration:,}")
    if doomed and not as_json:
        typer.echo(f"Freed {size_words(freed)}.")


def _print_verdicts(sizes: dict[Verdict, int]) -> None:
    rows = [
        (each.path, each.iteration, size_words(size).rjust(10), "keep" if each.keep else "delete", each.reason)
        for each, size in sizes.items()
    ]
    if rows:
        typer.echo(table(("path", "iteration", "size".rjust(10), "gc", "reason"), rows) + "\n")
    gone = [size for verdict, size in sizes.items() if not verdict.keep]
    typer.echo(f"{len(gone)} of {len(rows)} checkpoints to delete, {size_words(sum(gone))}.")
    lost: dict[tuple[str, str], list[str]] = {}
    for verdict in sizes:
        if verdict.loses:
            lost.setdefault((verdict.path, verdict.loses), []).append(f"{verdict.iteration:,}")
    for (path, loses), iterations in lost.items():
        shown = " ".join(iterations if len(iterations) <= _SHOWN else [*iterations[:_SHOWN], "..."])
        typer.echo(f"Without {path} {shown}: {loses}.")
