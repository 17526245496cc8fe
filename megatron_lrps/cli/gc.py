"""``lrps gc``, ``lrps pin`` and ``lrps verify``: which checkpoints of a campaign stay, and whether they are whole."""

import json
from pathlib import Path

import typer

from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.integrity import MEANING, verify
from megatron_lrps.campaign.keep import Verdict
from megatron_lrps.campaign.pins import add_pin, drop_pin
from megatron_lrps.campaign.removal import folder_of, judge, size_on_disk, sweep, trees_of
from megatron_lrps.errors import StorageError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.storage.disk_space import size_words

_SHOWN = 8
"""Iterations on one line."""


def show_gc(plan_file: Path, *, as_json: bool, yes: bool) -> None:
    """Print what is kept and what is not, with the reasons; then, if told to, delete what is not."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    verdicts = judge(tree)
    sizes = {verdict: size_on_disk(folder_of(campaign, verdict)) for verdict in verdicts}
    doomed = [verdict for verdict in verdicts if not verdict.keep]
    if as_json:
        facts = {
            "campaign": tree.plan.campaign,
            "save": str(campaign.root),
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
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print_verdicts(sizes)
    if not yes:
        if doomed and not as_json:
            typer.echo(f"Nothing is deleted yet; `lrps gc {plan_file} --yes` deletes them.")
        return
    freed = 0
    for verdict in sweep(tree, doomed):
        freed += sizes[verdict]
        if not as_json:
            typer.echo(f"deleted {verdict.path} {verdict.iteration:,}")
    if doomed and not as_json:
        typer.echo(f"Freed {size_words(freed)}.")


def _print_verdicts(sizes: dict[Verdict, int]) -> None:
    rows = [
        (
            verdict.path,
            verdict.iteration,
            size_words(size).rjust(10),
            "keep" if verdict.keep else "delete",
            verdict.reason,
        )
        for verdict, size in sizes.items()
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


def set_pin(plan_file: Path, path: str, iteration: int, note: str) -> None:
    """Protect a checkpoint from gc."""
    add_pin(_folder(plan_file, path), iteration, note)
    typer.echo(f"pinned {path} {iteration:,}")


def remove_pin(plan_file: Path, path: str, iteration: int) -> None:
    """Take a checkpoint's pin away; whether it stays is gc's again."""
    drop_pin(_folder(plan_file, path), iteration)
    typer.echo(f"unpinned {path} {iteration:,}")


def _folder(plan_file: Path, path: str) -> PathFolder:
    """A path's folder; its name may be one of the accepted plan's alone, since gc looks at those too."""
    tree = expand(load_plan(plan_file))
    if not any(path in each.by_name for each in trees_of(tree)):
        tree.path(path)  # refuses it, naming those that exist
    return CampaignFolder(tree.plan.folder).path(path)


def show_verify(plan_file: Path, path: str | None, *, as_json: bool) -> None:
    """Read every checkpoint against its manifest; raises StorageError where one is not as it was saved."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    names = [tree.path(path).name] if path else list(tree.by_name)
    findings = []
    for finding in verify(campaign, names):
        findings.append(finding)
        if not as_json:  # one line at a time: large checkpoints take minutes
            what = "; ".join(map(str, finding.damages)) or MEANING[finding.state]
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
        typer.echo(json.dumps({"campaign": tree.plan.campaign, "checkpoints": facts}, indent=2))
    damaged = [finding for finding in findings if finding.state == "damaged"]
    if damaged:
        raise StorageError(
            f"{len(damaged)} of {len(findings)} checkpoints are not as they were saved.",
            "a run skips them and uses the one before; restore their files from a copy, or move them away.",
        )
    if not as_json:
        typer.echo(f"{len(findings)} checkpoints, none damaged.")
